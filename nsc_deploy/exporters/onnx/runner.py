"""The written ONNX models in onnxruntime, every layer shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.manifest import StateRecord
from nsc_deploy.exporters.onnx.models import INPUT, OUTPUT
from nsc_deploy.exporters.onnx.operators import charged_name, spikes_name
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.network import SPIKING, Network
from nsc_deploy.graphs.onnx_run import open_session
from nsc_deploy.graphs.operators.coefficients import coefficients
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names

Arrays = Mapping[str, NDArray[Any]]


class SequenceRunner:
    """Runs the Scan model; its layers are read as further outputs of the Scan.

    Args:
        path: the model.
        network: the graph it was made from.
    """

    name = "onnx"

    def __init__(self, path: Path, network: Network) -> None:
        self._layers = _Layers(network)
        self._session = open_session(_opened(read_onnx(path), self._layers.values))

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        feeds = {INPUT: np.ascontiguousarray(values, dtype=np.float32)}
        found = _run(self._session, feeds)
        return RunTrace(found[OUTPUT], self._layers.traces(found))


class StepRunner:
    """Runs the single-step model step by step, feeding its states back.

    Args:
        path: the model.
        states: what lives from step to step.
        network: the graph it was made from.
    """

    name = "onnx-step"

    def __init__(self, path: Path, states: tuple[StateRecord, ...], network: Network) -> None:
        self._states = states
        self._layers = _Layers(network)
        self._session = open_session(_with_outputs(read_onnx(path), self._layers.values))

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        frames = np.ascontiguousarray(values, dtype=np.float32)
        held = {one.input: np.zeros((frames.shape[1], *one.shape), np.float32) for one in self._states}
        kept: dict[str, list[NDArray[Any]]] = {}
        for frame in frames:
            found = _run(self._session, {INPUT: frame, **held})
            held = {one.input: found[one.output] for one in self._states}
            for name in (OUTPUT, *self._layers.values):
                kept.setdefault(name, []).append(found[name])
        stacked = {name: np.stack(rows) for name, rows in kept.items()}
        return RunTrace(stacked[OUTPUT], self._layers.traces(stacked))


class _Layers:
    """The values of a model that show the layers of a graph."""

    def __init__(self, network: Network) -> None:
        nodes = [network.node(name) for name in layer_names(network)]
        self._nodes = nodes
        self._thresholds = {node.name: coefficients(node, network).threshold for node in nodes}
        self.values = tuple(
            value
            for node in nodes
            for value in (charged_name(node.name), *([spikes_name(node.name)] * (node.primitive in SPIKING)))
        )

    def traces(self, found: Arrays) -> dict[str, LayerTrace]:
        return {
            node.name: LayerTrace(
                found[spikes_name(node.name)] if node.primitive in SPIKING else None,
                found[charged_name(node.name)],
                self._thresholds[node.name],
            )
            for node in self._nodes
        }


def _opened(model: onnx.ModelProto, values: tuple[str, ...]) -> onnx.ModelProto:
    """The same model with values of the body of its Scan as further outputs."""
    for node in model.graph.node:
        if node.op_type == "Scan":
            body = next(attribute.g for attribute in node.attribute if attribute.name == "body")
            for value in values:
                body.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
                node.output.append(value)
    return _with_outputs(model, values)


def _with_outputs(model: onnx.ModelProto, values: tuple[str, ...]) -> onnx.ModelProto:
    for value in values:
        model.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    return model


def _run(session: Any, feeds: Arrays) -> dict[str, NDArray[Any]]:
    names = [output.name for output in session.get_outputs()]
    if OUTPUT not in names:
        raise BackendError(
            f"the ONNX graph has no output '{OUTPUT}'",
            hint="Another tool may have written or changed it: export it anew.",
        )
    try:
        return dict(zip(names, session.run(names, dict(feeds)), strict=True))
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise BackendError(f"onnxruntime cannot run it ({reason})") from error
