"""What a graph file holds, as values that text, JSON and a picture are made from."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.connectivity import synapse_count
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.network import STATEFUL, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import array_fields

Size = int | str


@dataclass(frozen=True)
class Range:
    """An array of parameters in four figures."""

    name: str
    shape: tuple[int, ...]
    minimum: float
    maximum: float


@dataclass(frozen=True)
class NodeView:
    """One node.

    Attributes:
        name: of the node.
        primitive: NIR class or ONNX operator.
        inputs: names of the nodes it takes in.
        delayed_inputs: those of them that arrive one step late, because they close a cycle.
        input_shape: of one sample at one step; for ONNX the whole tensor, T and N open.
        output_shape: likewise.
        emits: events, graded or real; None where the format does not tell.
        neurons: number of neurons with a membrane or a threshold.
        synapses: connections of a Linear, Affine or convolution; weights of 0 and padding are none.
        zero_weights: share of weights that are 0; None without weights.
        parameters: its arrays.
        settings: stride, padding and the like, and what follows from dt.
    """

    name: str
    primitive: str
    inputs: tuple[str, ...]
    delayed_inputs: tuple[str, ...]
    input_shape: tuple[Size, ...]
    output_shape: tuple[Size, ...]
    emits: str | None
    neurons: int
    synapses: int
    zero_weights: float | None
    parameters: tuple[Range, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Description:
    """A whole graph file; `warnings` holds what looks like a fault of the program that wrote it."""

    file: str
    format: str
    dt: float | None
    reset: str | None
    metadata: dict[str, Any]
    neurons: int
    synapses: int
    parameters: int
    nodes: tuple[NodeView, ...]
    warnings: tuple[Diagnostic, ...] = ()


def range_of(name: str, array: NDArray[Any]) -> Range:
    """The figures of one array."""
    if not array.size:
        return Range(name, tuple(array.shape), 0.0, 0.0)
    return Range(name, tuple(array.shape), float(array.min()), float(array.max()))


def plain(value: Any) -> Any:
    """Metadata as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, str | int | float | bool) else str(value)


def describe(
    path: Path, *, dt: float | None = None, reset: Reset | None = None, signal: Signal | None = None
) -> Description:
    """Read and describe a .nir or .onnx file.

    Args:
        path: the file; the name decides the format.
        dt: for a NIR file that does not state it.
        reset: for a NIR file that does not state it.
        signal: for a NIR file that does not state it.

    Raises:
        GraphError: as the readers do.
    """
    if path.suffix.lower() == ".onnx":
        from nsc_deploy.graphs.inspect.describe_onnx import describe_onnx

        return describe_onnx(path)
    return describe_network(read_network(path, dt=dt, reset=reset, signal=signal), str(path))


def describe_network(network: Network, file: str) -> Description:
    """Describe a network that was read already."""
    views = tuple(_view(node, network) for node in network.nodes)
    return Description(
        file=file,
        format="NIR",
        dt=network.dt,
        reset=None if network.reset is None else network.reset.value,
        metadata={key: plain(value) for key, value in network.metadata.items()},
        neurons=sum(view.neurons for view in views),
        synapses=sum(view.synapses for view in views),
        parameters=sum(prod(array.shape) for view in views for array in view.parameters),
        nodes=views,
        warnings=network.diagnostics,
    )


def _view(node: Node, network: Network) -> NodeView:
    neural = node.spiking or (node.stateful and node.primitive != "Delay")
    weight = getattr(node.parameters, "weight", None)
    return NodeView(
        name=node.name,
        primitive=node.primitive,
        inputs=node.inputs,
        delayed_inputs=tuple(source for source in node.inputs if (source, node.name) in network.back_edges),
        input_shape=node.input_shape,
        output_shape=node.output_shape,
        emits=node.emits.value,
        neurons=prod(node.output_shape) if neural else 0,
        synapses=synapse_count(node),
        zero_weights=None if weight is None else float((weight == 0).mean()),
        parameters=tuple(
            range_of(name, getattr(node.parameters, name)) for name in array_fields(node.primitive)
        ),
        settings=_settings(node, network.dt),
    )


def _settings(node: Node, dt: float | None) -> dict[str, Any]:
    """What is no array, and what the time step makes of the time constants."""
    names = ("stride", "padding", "dilation", "groups", "kernel_size", "start_dim", "end_dim")
    settings = {
        name: plain(getattr(node.parameters, name)) for name in names if hasattr(node.parameters, name)
    }
    if dt is None or node.primitive not in STATEFUL:
        return settings
    for field, label in (("tau", "decay"), ("tau_mem", "decay"), ("tau_syn", "synaptic decay")):
        if hasattr(node.parameters, field):
            settings[label] = _span(1 - dt / getattr(node.parameters, field))
    if node.primitive == "Delay":
        settings["steps"] = _span(node.parameters.delay / dt)
    return settings


def _span(values: NDArray[Any]) -> float | list[float]:
    low, high = round(float(values.min()), 9), round(float(values.max()), 9)
    return low if low == high else [low, high]
