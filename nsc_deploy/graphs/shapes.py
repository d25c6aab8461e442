"""The shape a node takes in and the shape it gives out, for one sample at one step.

Worked out here and not read from nir, which takes square kernels and one group for granted.

What flows from node to node: shapes and signals, followed through a graph in the order of computation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import SPIKING, Shape, Signal, joined
from nsc_deploy.io.text import shown

Shapes = tuple[Shape, Shape]
MAX_ELEMENTS = 2**28
ELEMENTWISE = {
    "LIF": "tau",
    "LI": "tau",
    "IF": "r",
    "I": "r",
    "CubaLIF": "tau_mem",
    "CubaLI": "tau_mem",
    "Threshold": "threshold",
    "Delay": "delay",
    "Scale": "scale",
}
"""Primitives that act on each element alone, with a parameter that has the shape of the layer."""


def node_shapes(primitive: str, parameters: Any, arriving: Shape | None) -> Shapes:
    """Input and output shape of a node.

    Args:
        primitive: the NIR class name.
        parameters: the checked `nir` node.
        arriving: shape of what its inputs deliver, or None where that is not known (yet).

    Raises:
        GraphError: the shapes do not fit, or cannot be known.
    """
    shapes = _RULES[primitive](parameters, arriving)
    for shape in shapes:
        if any(size < 1 for size in shape) or int(np.prod([*shape, 1], dtype=object)) > MAX_ELEMENTS:
            raise GraphError(f"has the impossible shape {shape}")
    if arriving is not None and arriving != shapes[0]:
        raise GraphError(f"takes in the shape {shapes[0]} but is given {arriving}")
    return shapes


def as_shape(value: Any) -> Shape | None:
    """A shape as nir keeps it (an array, a scalar, a sequence or None) as a tuple of int.

    Raises:
        GraphError: anything but whole numbers.
    """
    if value is None:
        return None
    sizes = np.atleast_1d(np.asarray(value))
    if sizes.ndim != 1 or sizes.dtype.kind not in "iuf" or not np.array_equal(sizes, np.rint(sizes)):
        raise GraphError(f"states the shape {shown(value)} where whole numbers are wanted")
    return tuple(int(size) for size in sizes)


def _same(shape: Shape) -> Shapes:
    return shape, shape


def _elementwise(field: str) -> Callable[[Any, Shape | None], Shapes]:
    def shapes(parameters: Any, arriving: Shape | None) -> Shapes:
        if arriving is not None and one_number(parameters):
            return _same(arriving)
        return _same(tuple(getattr(parameters, field).shape))

    return shapes


def one_number(parameters: Any) -> bool:
    """Whether an elementwise node states one number, which holds for a layer of any shape."""
    field = ELEMENTWISE.get(type(parameters).__name__)
    return field is not None and getattr(parameters, field).size == 1


def wanted_dimensions(parameters: Any) -> int | None:
    """How many dimensions a node takes in; None where it does not tell."""
    primitive = type(parameters).__name__
    if hasattr(parameters, "weight"):
        return int(parameters.weight.ndim) - 1
    if primitive in {"SumPool2d", "AvgPool2d"}:
        return 3
    if primitive in ELEMENTWISE and not one_number(parameters):
        return len(getattr(parameters, ELEMENTWISE[primitive]).shape)
    return None


def _terminal(parameters: Any, arriving: Shape | None) -> Shapes:
    shape = as_shape(parameters.input_type["input"])
    return _same(_known(arriving) if shape is None else shape)


def _dense(parameters: Any, arriving: Shape | None) -> Shapes:
    *lead, rows, columns = parameters.weight.shape
    return (*lead, columns), (*lead, rows)


def _convolution(parameters: Any, arriving: Shape | None) -> Shapes:
    out_channels, in_per_group, *kernel = parameters.weight.shape
    channels = in_per_group * parameters.groups
    stated = as_shape(parameters.input_shape)
    shape = (channels, *stated) if stated is not None else _known(arriving)
    if len(shape) != 1 + len(kernel):
        raise GraphError(f"takes in channels and {len(kernel)} further dimensions but is given {shape}")
    if shape[0] != channels:
        raise GraphError(f"has weights for {channels} channels but is given the shape {shape}")
    low, high = zip(*padding_pairs(parameters.padding, kernel, parameters.dilation), strict=True)
    spatial = tuple(
        (size + before + after - dilation * (width - 1) - 1) // stride + 1
        for size, before, after, width, stride, dilation in zip(
            shape[1:], low, high, kernel, parameters.stride, parameters.dilation, strict=True
        )
    )
    return shape, (out_channels, *spatial)


def _pool(parameters: Any, arriving: Shape | None) -> Shapes:
    shape = _known(arriving)
    if len(shape) != 3:
        raise GraphError(f"pools [channels, height, width] but is given the shape {shape}")
    spatial = tuple(
        (size + 2 * padding - width) // stride + 1
        for size, padding, width, stride in zip(
            shape[1:], parameters.padding, parameters.kernel_size, parameters.stride, strict=True
        )
    )
    return shape, (shape[0], *spatial)


def _flatten(parameters: Any, arriving: Shape | None) -> Shapes:
    shape = as_shape(parameters.input_type["input"]) or _known(arriving)
    start, end = (_dimension(value, len(shape)) for value in (parameters.start_dim, parameters.end_dim))
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


def _known(arriving: Shape | None) -> Shape:
    if arriving is None:
        raise GraphError(
            "has a shape that only its inputs can tell, and they lie in a cycle",
            hint="State its input_shape in the file.",
        )
    return arriving


def padding_pairs(
    padding: tuple[int, ...] | str, kernel: tuple[int, ...] | list[int], dilation: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Zeros before and after each dimension; "same" puts the odd one after, as torch does."""
    if padding == "valid":
        return [(0, 0) for _ in kernel]
    if padding == "same":
        totals = [step * (width - 1) for step, width in zip(dilation, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(zeros), int(zeros)) for zeros in padding]


_RULES: dict[str, Callable[[Any, Shape | None], Shapes]] = {
    "Input": _terminal,
    "Output": _terminal,
    "Linear": _dense,
    "Affine": _dense,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
    **{primitive: _elementwise(field) for primitive, field in ELEMENTWISE.items()},
}
PRIMITIVES = frozenset(_RULES)


def all_shapes(
    primitives: Mapping[str, str], inputs: Mapping[str, tuple[str, ...]], parameters: Mapping[str, Any]
) -> dict[str, tuple[Shape, Shape]]:
    """Input and output shape of each node.

    Args:
        primitives: of each node, in the order of computation.
        inputs: the sources of each node.
        parameters: the checked `nir` nodes.

    Raises:
        GraphError: shapes that do not fit together, or that nothing tells.
    """
    shapes: dict[str, tuple[Shape, Shape]] = {}
    for name, primitive in primitives.items():
        known = [source for source in inputs[name] if source in shapes]
        arriving = shapes[known[0]][1] if known else None
        shapes[name] = at_node(name, node_shapes, primitive, parameters[name], arriving)
    for name in primitives:
        for source in inputs[name]:
            given, wanted = shapes[source][1], shapes[name][0]
            if given != wanted:
                raise GraphError(
                    f"takes in the shape {wanted} but '{source}' gives {given}", where=f"node '{name}'"
                )
    return shapes


def all_signals(
    primitives: Mapping[str, str],
    inputs: Mapping[str, tuple[str, ...]],
    parameters: Mapping[str, Any],
    asked: Signal | None,
) -> dict[str, Signal]:
    """What each node emits, as the metadata of the Input nodes state it; arguments as for `all_shapes`.

    Args:
        primitives: as above.
        inputs: as above.
        parameters: as above.
        asked: what enters where the file does not say.

    Raises:
        GraphError: the file states something else, or something unknown.
    """
    entering = {
        name: at_node(name, _input_signal, parameters[name].metadata, asked)
        for name, primitive in primitives.items()
        if primitive == "Input"
    }
    return settled_signals(primitives, inputs, entering)


def settled_signals(
    primitives: Mapping[str, str], inputs: Mapping[str, tuple[str, ...]], entering: Mapping[str, Signal]
) -> dict[str, Signal]:
    """What each node emits; a cycle of passing nodes is settled by repeating until nothing changes.

    Args:
        primitives: of each node, in the order of computation.
        inputs: the sources of each node.
        entering: what the Input nodes emit.
    """
    emits = dict.fromkeys(primitives, Signal.EVENTS) | dict(entering)
    settled = False
    while not settled:
        settled = True
        for name, primitive in primitives.items():
            if primitive == "Input":
                continue
            found = _emitted(primitive, [emits[source] for source in inputs[name]])
            settled &= found is emits[name]
            emits[name] = found
    return emits


def at_node(name: str, call: Any, *arguments: Any) -> Any:
    """Call, and put the node's name on a complaint."""
    try:
        return call(*arguments)
    except GraphError as error:
        raise GraphError(error.problem, where=f"node '{name}'", hint=error.hint) from error


def _emitted(primitive: str, arriving: list[Signal]) -> Signal:
    if primitive in SPIKING:
        return Signal.EVENTS
    carried = joined(arriving)
    if primitive in {"Output", "Delay", "Flatten"}:
        return carried
    if primitive == "SumPool2d" and carried is not Signal.REAL:
        return Signal.GRADED
    return Signal.REAL


_WORDS = {Signal.EVENTS: "events", Signal.GRADED: "graded values", Signal.REAL: "real values"}


def _input_signal(metadata: Any, asked: Signal | None) -> Signal:
    stated = metadata.get("signal") if isinstance(metadata, Mapping) else None
    if stated is None:
        return asked or Signal.REAL
    try:
        signal = Signal(stated)
    except ValueError as error:
        raise GraphError(
            f"its metadata 'signal' is {shown(stated)}", hint="It is events, graded or real."
        ) from error
    if asked is not None and asked is not signal:
        raise GraphError(
            f"takes in {_WORDS[signal]} by the file, and {_WORDS[asked]} are given",
            hint="Give it what it takes in, or leave out the option that says otherwise.",
        )
    return signal
