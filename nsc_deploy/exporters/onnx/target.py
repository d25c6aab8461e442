"""The target "onnx", and the written models in onnxruntime with every layer shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from nsc_deploy.errors import BackendError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest, Status
from nsc_deploy.exporters.float32 import (
    Written,
    check_exact,
    open_exact_deployment,
    write_exact_deployment,
)
from nsc_deploy.exporters.manifest import StateRecord
from nsc_deploy.exporters.onnx.models import INPUT, OUTPUT, sequence_model, step_model
from nsc_deploy.exporters.onnx.operators import charged_name, spikes_name
from nsc_deploy.graphs.formats.onnx import read_onnx, write_onnx
from nsc_deploy.graphs.network import SPIKING, Network
from nsc_deploy.graphs.onnx_run import open_session
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.io.npz import save_npz
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names

SEQUENCE = "sequence.onnx"
STEP = "step.onnx"
STATES = "initial-states.npz"

_NATIVE, _SUBSTITUTED = Status.NATIVE, Status.SUBSTITUTED
_BECOMES = {
    "Input": (_NATIVE, "the input"),
    "Output": (_NATIVE, "the output"),
    "Linear": (_NATIVE, "MatMul"),
    "Affine": (_NATIVE, "MatMul and Add"),
    "Conv1d": (_NATIVE, "Conv and Add"),
    "Conv2d": (_NATIVE, "Conv and Add"),
    "Scale": (_NATIVE, "Mul"),
    "Flatten": (_NATIVE, "Reshape"),
    "SumPool2d": (_SUBSTITUTED, "a Conv of each channel with ones"),
    "AvgPool2d": (_SUBSTITUTED, "a Conv of each channel with ones, divided by the size of the window"),
    "Delay": (_SUBSTITUTED, "a state that holds the last inputs"),
    "Threshold": (_SUBSTITUTED, "Greater"),
    **dict.fromkeys(
        ("LIF", "IF", "CubaLIF", "LI", "CubaLI", "I"), (_SUBSTITUTED, "its equations, as states")
    ),
}


class OnnxTarget:
    """ONNX, opset 18, standard operators: a whole sequence in one Scan, and a single step."""

    name = "onnx"
    summary = "ONNX in float32: one Scan over time, and a single step with its states for streaming"

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        return check_exact(network, _BECOMES)

    def export(self, request: ExportRequest) -> Path:
        """Write both models, run both in onnxruntime, and let the folder appear where both are right."""
        return write_exact_deployment(
            request, self.name, ("onnxruntime", "onnx"), lambda folder: _write(folder, request.network)
        )

    def open(self, folder: Path) -> Deployment:
        """Read the folder; the model of the whole sequence runs in onnxruntime."""
        return open_exact_deployment(
            folder, self.name, lambda network, _settings: SequenceRunner(folder / SEQUENCE, network)
        )


def _write(folder: Path, network: Network) -> Written:
    """Fill a folder with both models, and open them."""
    step, states = step_model(network)
    write_onnx(folder / SEQUENCE, sequence_model(network))
    write_onnx(folder / STEP, step)
    save_npz(folder / STATES, {one.input: np.zeros((1, *one.shape), np.float32) for one in states})
    files = (
        (SEQUENCE, "the whole sequence [T, N, ...] in one Scan, from rest"),
        (STEP, "one step [N, ...] with its states as inputs and outputs"),
        (STATES, "the states of one sample at rest, by the name of the input"),
    )
    runners = SequenceRunner(folder / SEQUENCE, network), StepRunner(folder / STEP, states, network)
    return Written(files, runners, states=states)


TARGET = OnnxTarget()


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
