"""What a graph file holds, as values that text, JSON and a picture are made from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.diagnostics import Diagnostic

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
