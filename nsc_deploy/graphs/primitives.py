"""The NIR primitives: what their parameters look like, and the shapes they take in and give out.

Worked out here and not read from `nir`, which takes square kernels and one group for granted. Shapes are
those of one sample at one step.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.connectivity import kernel_axes
from nsc_deploy.graphs.network import Shape
from nsc_deploy.io.text import shown

Shapes = tuple[Shape, Shape]
MAX_ELEMENTS = 2**28
_LARGEST_SIZE = 2**20


def normalise(parameters: Any) -> Any:
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
    _RULES[primitive].normalise(clean)
    return clean


def node_shapes(primitive: str, parameters: Any, arriving: Shape | None) -> Shapes:
    """Input and output shape of a node.

    Args:
        primitive: the NIR class name.
        parameters: the normalised `nir` node.
        arriving: shape of what its inputs deliver, or None where that is not known (yet).

    Raises:
        GraphError: the shapes do not fit, or cannot be known.
    """
    shapes = _RULES[primitive].shapes(parameters, arriving)
    for shape in shapes:
        if any(size < 1 for size in shape) or int(np.prod([*shape, 1], dtype=object)) > MAX_ELEMENTS:
            raise GraphError(f"has the impossible shape {shape}")
    if arriving is not None and arriving != shapes[0]:
        raise GraphError(f"takes in the shape {shapes[0]} but is given {arriving}")
    return shapes


def array_fields(primitive: str) -> tuple[str, ...]:
    """Names of the array parameters of a primitive."""
    return _RULES[primitive].arrays if primitive in _RULES else ()


def as_shape(value: Any) -> Shape | None:
    """A shape as `nir` keeps it (an array, a scalar, a sequence or None) as a tuple of int.

    Raises:
        GraphError: anything but whole numbers.
    """
    if value is None:
        return None
    sizes = np.atleast_1d(np.asarray(value))
    if sizes.ndim != 1 or not _whole(sizes):
        raise GraphError(f"states the shape {shown(value)} where whole numbers are wanted")
    return tuple(int(size) for size in sizes)


def _whole(numbers: NDArray[Any]) -> bool:
    """Whether all are whole numbers; infinity equals itself when it is rounded, and is none."""
    return (
        numbers.dtype.kind in "iuf"
        and bool(np.isfinite(numbers).all())
        and np.array_equal(numbers, np.rint(numbers))
    )


def wanted_dimensions(parameters: Any) -> int | None:
    """How many dimensions a node takes in; None where it does not tell."""
    primitive = type(parameters).__name__
    if hasattr(parameters, "weight"):
        return int(parameters.weight.ndim) - 1
    if primitive in {"SumPool2d", "AvgPool2d"}:
        return 3
    if _RULES[primitive].shapes is _elementwise and not _is_one_number(parameters):
        return int(_layer(parameters).ndim)
    return None


def without_batch(node: Any, arriving: Shape, batch: int | None = None) -> Any:
    """A node without the batch in front of a shape that it states, where the rest is what arrives.

    A batch is one dimension of any size, or several of 1; where the Input had one, it is 1 or that one. A
    node that fits, or differs otherwise, is given back as it is.
    """
    primitive = type(node).__name__
    if primitive in {"Output", "Flatten"}:
        stated = as_shape(node.input_type["input"])
        if stated is None or not _has_batch(stated, arriving, batch):
            return node
        return _of_arriving(node, len(stated) - len(arriving), arriving)
    if _RULES[primitive].shapes is not _elementwise or _is_one_number(node):
        return node
    shape = tuple(_layer(node).shape)
    if not _has_batch(shape, arriving, batch) or shape[0] != 1:
        return node
    fitting = copy.copy(node)
    for field in array_fields(primitive):
        array = getattr(node, field).reshape(arriving)
        array.flags.writeable = False
        setattr(fitting, field, array)
    return fitting


def _has_batch(stated: Shape, arriving: Shape, batch: int | None) -> bool:
    extra = len(stated) - len(arriving)
    if extra <= 0 or stated[extra:] != arriving:
        return False
    return set(stated[:extra]) == {1} or (extra == 1 and batch in {None, stated[0]})


def _of_arriving(node: Any, extra: int, arriving: Shape) -> Any:
    """An Output or Flatten that states what arrives; dimensions of a Flatten no longer count the batch."""
    fitting = copy.copy(node)
    fitting.input_type = {"input": np.array(arriving)}
    if type(node).__name__ == "Output":
        fitting.output_type = {"output": np.array(arriving)}
    else:
        for field in ("start_dim", "end_dim"):
            place = getattr(node, field)
            setattr(fitting, field, place if place < 0 else max(place - extra, 0))
    return fitting


def widen(node: Any, shape: Shape) -> Any:
    """An elementwise node whose one number stands for a whole layer, with arrays of the layer's shape.

    Any other node is given back as it is.
    """
    fields = array_fields(type(node).__name__)
    if not _is_one_number(node) or _layer(node).shape == shape:
        return node
    full = copy.copy(node)
    for field in fields:
        array = np.full(shape, getattr(node, field).reshape(()))
        array.flags.writeable = False
        setattr(full, field, array)
    return full


def _is_one_number(node: Any) -> bool:
    """Whether an elementwise node states one number, which holds for a layer of any shape."""
    return _RULES[type(node).__name__].shapes is _elementwise and _layer(node).size == 1


def _layer(node: Any) -> NDArray[Any]:
    """A parameter of an elementwise node; all of them have the shape of the layer."""
    array: NDArray[Any] = getattr(node, array_fields(type(node).__name__)[0])
    return array


_LARGEST = float(np.finfo(np.float32).max)


def _array(value: Any, field: str) -> Any:
    array = np.array(value)
    if array.dtype.kind not in "fiub":
        raise GraphError(f"parameter {field} holds {array.dtype} where numbers are wanted")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise GraphError(f"parameter {field} holds NaN or infinity", hint=_endless(array, field))
    if array.size and np.abs(array.astype(np.float64)).max() > _LARGEST:
        raise GraphError(f"parameter {field} holds a number beyond {_LARGEST:.3g}, the largest of float32")
    array.flags.writeable = False
    return array


def _endless(array: NDArray[Any], field: str) -> str | None:
    """A way out where a time constant is infinite, as snnTorch writes a Leaky with beta = 1."""
    if not field.startswith("tau") or not np.isinf(array).any():
        return None
    return (
        "A neuron without a leak is an IF (r = 1 / dt). snnTorch writes beta = 1 like this: keep it below 1."
    )


def _sizes(value: Any, count: int, field: str, least: int) -> tuple[int, ...]:
    """A number or `count` numbers as a tuple of `count` ints."""
    array = np.atleast_1d(np.asarray(value))
    if array.size not in {1, count} or not _whole(array):
        raise GraphError(f"has the {field} {shown(value)} where {count} whole numbers are wanted")
    sizes = tuple(int(size) for size in np.broadcast_to(array.reshape(-1), (count,)))
    if min(sizes) < least or max(sizes) > _LARGEST_SIZE:
        raise GraphError(f"has the {field} {sizes}, out of range")
    return sizes


def _known(arriving: Shape | None) -> Shape:
    if arriving is None:
        raise GraphError(
            "has a shape that only its inputs can tell, and they lie in a cycle",
            hint="State its input_shape in the file.",
        )
    return arriving


# Input and Output


def _normalise_terminal(node: Any) -> None:
    as_shape(node.input_type["input"])


def _terminal(node: Any, arriving: Shape | None) -> Shapes:
    stated = as_shape(node.input_type["input"])
    shape = _known(arriving) if stated is None else stated
    return shape, shape


# Primitives that act on each element alone


def _normalise_elementwise(node: Any) -> None:
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


def _elementwise(node: Any, arriving: Shape | None) -> Shapes:
    shape = arriving if arriving is not None and _is_one_number(node) else tuple(_layer(node).shape)
    return shape, shape


# Linear and Affine


def _normalise_dense(node: Any) -> None:
    if node.weight.ndim < 2:
        raise GraphError(
            f"has weights of the shape {node.weight.shape} where at least two dimensions are wanted"
        )
    expected = node.weight.shape[:-1]
    if hasattr(node, "bias") and node.bias.shape != expected:
        raise GraphError(f"has a bias of the shape {node.bias.shape} where {expected} is wanted")


def _dense(node: Any, arriving: Shape | None) -> Shapes:
    *lead, rows, columns = node.weight.shape
    return (*lead, columns), (*lead, rows)


# Convolutions and pools


def _normalise_convolution(node: Any) -> None:
    dimensions = 1 if type(node).__name__ == "Conv1d" else 2
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


def _padding(value: Any, dimensions: int) -> tuple[int, ...] | str:
    text = value.decode() if isinstance(value, bytes) else value
    if isinstance(text, str):
        if text not in {"same", "valid"}:
            raise GraphError(f"has the padding '{text}' where 'same', 'valid' or numbers are wanted")
        return text
    return _sizes(value, dimensions, "padding", 0)


def _convolution(node: Any, arriving: Shape | None) -> Shapes:
    out_channels, in_per_group, *kernel = node.weight.shape
    channels = in_per_group * node.groups
    stated = as_shape(node.input_shape)
    shape = (channels, *stated) if stated is not None else _known(arriving)
    if len(shape) != 1 + len(kernel):
        raise GraphError(f"takes in channels and {len(kernel)} further dimensions but is given {shape}")
    if shape[0] != channels:
        raise GraphError(f"has weights for {channels} channels but is given the shape {shape}")
    return shape, (out_channels, *(axis.outputs for axis in kernel_axes(node, shape[1:])))


def _normalise_pool(node: Any) -> None:
    node.kernel_size = _sizes(node.kernel_size, 2, "kernel_size", 1)
    node.stride = _sizes(node.stride, 2, "stride", 1)
    node.padding = _sizes(node.padding, 2, "padding", 0)
    if any(2 * zeros > width for zeros, width in zip(node.padding, node.kernel_size, strict=True)):
        raise GraphError(f"pads {node.padding} for a window of {node.kernel_size}")


def _pool(node: Any, arriving: Shape | None) -> Shapes:
    shape = _known(arriving)
    if len(shape) != 3:
        raise GraphError(f"pools [channels, height, width] but is given the shape {shape}")
    return shape, (shape[0], *(axis.outputs for axis in kernel_axes(node, shape[1:])))


# Flatten


def _normalise_flatten(node: Any) -> None:
    as_shape(node.input_type["input"])
    node.start_dim = _sizes(node.start_dim, 1, "start_dim", -8)[0]
    node.end_dim = _sizes(node.end_dim, 1, "end_dim", -8)[0]


def _flatten(node: Any, arriving: Shape | None) -> Shapes:
    shape = as_shape(node.input_type["input"]) or _known(arriving)
    start, end = (_dimension(value, len(shape)) for value in (node.start_dim, node.end_dim))
    if start > end:
        raise GraphError(f"flattens from dimension {start} to {end} of the shape {shape}")
    middle = int(np.prod(shape[start : end + 1], dtype=object))
    return shape, (*shape[:start], middle, *shape[end + 1 :])


def _dimension(value: int, dimensions: int) -> int:
    if not -dimensions <= value < dimensions:
        raise GraphError(
            f"flattens dimension {value} of a shape with {dimensions} dimensions",
            hint="In NIR the dimensions do not count the batch: an exporter may have left it in.",
        )
    return value % dimensions


@dataclass(frozen=True)
class _Rules:
    """What is known of a primitive.

    Attributes:
        arrays: names of its array parameters.
        normalise: checks the other parameters and brings them into one form, in place.
        shapes: input and output shape.
    """

    arrays: tuple[str, ...]
    normalise: Callable[[Any], None]
    shapes: Callable[[Any, Shape | None], Shapes]


def _of_each_element(*arrays: str) -> _Rules:
    return _Rules(arrays, _normalise_elementwise, _elementwise)


_RULES: Mapping[str, _Rules] = {
    "Input": _Rules((), _normalise_terminal, _terminal),
    "Output": _Rules((), _normalise_terminal, _terminal),
    "Linear": _Rules(("weight",), _normalise_dense, _dense),
    "Affine": _Rules(("weight", "bias"), _normalise_dense, _dense),
    "Conv1d": _Rules(("weight", "bias"), _normalise_convolution, _convolution),
    "Conv2d": _Rules(("weight", "bias"), _normalise_convolution, _convolution),
    "SumPool2d": _Rules((), _normalise_pool, _pool),
    "AvgPool2d": _Rules((), _normalise_pool, _pool),
    "Flatten": _Rules((), _normalise_flatten, _flatten),
    "Scale": _of_each_element("scale"),
    "Threshold": _of_each_element("threshold"),
    "Delay": _of_each_element("delay"),
    "LIF": _of_each_element("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "IF": _of_each_element("r", "v_threshold", "v_reset"),
    "CubaLIF": _of_each_element("tau_syn", "tau_mem", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "LI": _of_each_element("tau", "r", "v_leak"),
    "CubaLI": _of_each_element("tau_syn", "tau_mem", "r", "v_leak", "w_in"),
    "I": _of_each_element("r"),
}
PRIMITIVES = frozenset(_RULES)
