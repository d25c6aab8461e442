"""The parameters of one node, checked and brought into one form before anything computes with them.

Shapes that a writer stated too small or too large: one number for a whole layer, a batch in an Input.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Shape
from nsc_deploy.graphs.shapes import PRIMITIVES, as_shape, one_number, wanted_dimensions
from nsc_deploy.io.text import shown

_ARRAYS = {
    "Linear": ("weight",),
    "Affine": ("weight", "bias"),
    "Conv1d": ("weight", "bias"),
    "Conv2d": ("weight", "bias"),
    "Scale": ("scale",),
    "Threshold": ("threshold",),
    "Delay": ("delay",),
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "IF": ("r", "v_threshold", "v_reset"),
    "CubaLIF": ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "LI": ("tau", "r", "v_leak"),
    "CubaLI": ("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "I": ("r",),
}


def array_fields(primitive: str) -> tuple[str, ...]:
    """Names of the array parameters of a primitive."""
    return _ARRAYS.get(primitive, ())


def checked(parameters: Any) -> Any:
    """A copy of a `nir` node with finite, read-only arrays and plain tuples and ints.

    Raises:
        GraphError: an unknown primitive, NaN, infinity, a parameter of the wrong form or shape.
    """
    primitive = type(parameters).__name__
    if parameters is None:
        raise GraphError(
            "is None: the exporter found no NIR node for a module and left a hole",
            hint="Give it a rule for that module (Norse has none for Flatten, pools and recurrent cells).",
        )
    if primitive not in PRIMITIVES:
        raise GraphError(f"is a {primitive}, which this tool does not know")
    clean = copy.copy(parameters)
    for field in array_fields(primitive):
        setattr(clean, field, _array(getattr(parameters, field), field))
    _FORMS.get(primitive, _uniform)(clean)
    return clean


def _array(value: Any, field: str) -> Any:
    array = np.array(value)
    if array.dtype.kind not in "fiub":
        raise GraphError(f"parameter {field} holds {array.dtype} where numbers are wanted")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise GraphError(f"parameter {field} holds NaN or infinity", hint=_endless(array, field))
    array.flags.writeable = False
    return array


def _endless(array: NDArray[Any], field: str) -> str | None:
    """A way out where a time constant is infinite, as snnTorch writes a Leaky with beta = 1."""
    if not field.startswith("tau") or not np.isinf(array).any():
        return None
    return (
        "A neuron without a leak is an IF (r = 1 / dt). snnTorch writes beta = 1 like this: keep it below 1."
    )


def _uniform(node: Any) -> None:
    fields = array_fields(type(node).__name__)
    shapes = {field: getattr(node, field).shape for field in fields}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{field} {shape}" for field, shape in shapes.items())
        raise GraphError(f"has parameters of different shapes: {listed}")
    for field in fields:
        if field.startswith("tau") and not (getattr(node, field) > 0).all():
            raise GraphError(f"has a time constant {field} that is not positive")
    if "delay" in fields and not (node.delay >= 0).all():
        raise GraphError("has a negative delay")


def _dense(node: Any) -> None:
    if node.weight.ndim < 2:
        raise GraphError(
            f"has weights of the shape {node.weight.shape} where at least two dimensions are wanted"
        )
    expected = node.weight.shape[:-1]
    if hasattr(node, "bias") and node.bias.shape != expected:
        raise GraphError(f"has a bias of the shape {node.bias.shape} where {expected} is wanted")


def _convolution(dimensions: int) -> Callable[[Any], None]:
    def check(node: Any) -> None:
        if node.weight.ndim != 2 + dimensions:
            raise GraphError(
                f"has weights of the shape {node.weight.shape}, {2 + dimensions} dimensions are wanted"
            )
        if node.bias.shape != node.weight.shape[:1]:
            raise GraphError(f"has a bias of the shape {node.bias.shape} for {node.weight.shape[0]} channels")
        node.stride = _sizes(node.stride, dimensions, "stride", 1)
        node.dilation = _sizes(node.dilation, dimensions, "dilation", 1)
        as_shape(node.input_shape)
        node.groups = _sizes(node.groups, 1, "groups", 1)[0]
        if node.weight.shape[0] % node.groups:
            raise GraphError(f"splits {node.weight.shape[0]} output channels into {node.groups} groups")
        node.padding = _padding(node.padding, dimensions)
        if node.padding == "same" and set(node.stride) != {1}:
            raise GraphError("has padding 'same' with a stride, which has no agreed meaning")

    return check


def _pool(node: Any) -> None:
    node.kernel_size = _sizes(node.kernel_size, 2, "kernel_size", 1)
    node.stride = _sizes(node.stride, 2, "stride", 1)
    node.padding = _sizes(node.padding, 2, "padding", 0)
    if any(2 * zeros > width for zeros, width in zip(node.padding, node.kernel_size, strict=True)):
        raise GraphError(f"pads {node.padding} for a window of {node.kernel_size}")


def _terminal(node: Any) -> None:
    as_shape(node.input_type["input"])


def _flatten(node: Any) -> None:
    as_shape(node.input_type["input"])
    node.start_dim = _sizes(node.start_dim, 1, "start_dim", -8)[0]
    node.end_dim = _sizes(node.end_dim, 1, "end_dim", -8)[0]


def _padding(value: Any, dimensions: int) -> tuple[int, ...] | str:
    text = value.decode() if isinstance(value, bytes) else value
    if isinstance(text, str):
        if text not in {"same", "valid"}:
            raise GraphError(f"has the padding '{text}' where 'same', 'valid' or numbers are wanted")
        return text
    return _sizes(value, dimensions, "padding", 0)


def _sizes(value: Any, count: int, field: str, least: int) -> tuple[int, ...]:
    """A number or `count` numbers as a tuple of `count` ints."""
    array = np.atleast_1d(np.asarray(value))
    if (
        array.dtype.kind not in "iuf"
        or array.size not in {1, count}
        or not np.array_equal(array, array.round())
    ):
        raise GraphError(f"has the {field} {shown(value)} where {count} whole numbers are wanted")
    sizes = tuple(int(size) for size in np.broadcast_to(array.reshape(-1), (count,)))
    if min(sizes) < least or max(sizes) > 2**20:
        raise GraphError(f"has the {field} {sizes}, out of range")
    return sizes


_FORMS: dict[str, Callable[[Any], None]] = {
    "Linear": _dense,
    "Affine": _dense,
    "Conv1d": _convolution(1),
    "Conv2d": _convolution(2),
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    "Input": _terminal,
    "Output": _terminal,
}


def widened(node: Any, shape: Shape) -> Any:
    """A node whose one number stands for a whole layer, with arrays of the layer's shape; else the node."""
    if not one_number(node) or getattr(node, array_fields(type(node).__name__)[0]).shape == shape:
        return node
    full = copy.copy(node)
    for field in array_fields(type(node).__name__):
        array = np.full(shape, getattr(node, field).reshape(()))
        array.flags.writeable = False
        setattr(full, field, array)
    return full


def without_batch(
    parameters: Mapping[str, Any], inputs: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, Any], int | None]:
    """Take one leading dimension off Inputs that have one more than every node behind them takes in.

    Output nodes that state a shape with the same dimension in front lose it too. Nothing is taken where the
    nodes behind an Input do not tell how many dimensions they want.

    Returns:
        The nodes, and the size of the batch or None.
    """
    shapes = {
        name: as_shape(node.input_type["input"])
        for name, node in parameters.items()
        if type(node).__name__ == "Input"
    }
    wanted: dict[str, set[int | None]] = {name: set() for name in shapes}
    for target, sources in inputs.items():
        for source in shapes.keys() & set(sources):
            wanted[source].add(wanted_dimensions(parameters[target]))
    sizes = {_batch(shape, wanted[name]) for name, shape in shapes.items()}
    batch = sizes.pop() if len(sizes) == 1 else None
    if batch is None:
        return dict(parameters), None
    trimmed = dict(parameters)
    for name, node in parameters.items():
        shape = as_shape(node.input_type["input"]) if type(node).__name__ in {"Input", "Output"} else None
        if shape is not None and shape[:1] == (batch,):
            trimmed[name] = _of_shape(node, shape[1:])
    return trimmed, batch


def _batch(shape: Shape | None, wanted: set[int | None]) -> int | None:
    """The size of the leading dimension, where exactly that one is too many."""
    return shape[0] if shape is not None and wanted == {len(shape) - 1} else None


def _of_shape(node: Any, shape: Shape) -> Any:
    trimmed = copy.copy(node)
    trimmed.input_type = {"input": np.array(shape)}
    trimmed.output_type = {"output": np.array(shape)}
    return trimmed
