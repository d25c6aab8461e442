"""Along which axis the tensors of an ONNX graph hold the samples, and along which the steps.

Nothing in an ONNX file says so. The axis of what enters is followed from operator to operator, by a rule
for each, on the shapes that the operators meet; where an operator mixes samples, or may do so, the graph
is run one sample at a time. The shapes are inferred for another number of samples too: one that does not
grow in step with them holds none.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from nsc_deploy.energy.counting.onnx.operators import (
    OPERATORS,
    SOFTMAX_OVER_ONE_AXIS,
    Axis,
    AxisRule,
    Known,
    Operands,
    Shape,
    attribute_of,
    body_of,
    opset_of,
)
from nsc_deploy.graphs.onnx_shapes import infer_shapes, shapes_of

_BROADCAST_FROM_THE_END = 7
"""Before this opset, shapes met along an axis that an attribute named."""


def samples_in(model: Any, known: Known, entering: Sequence[int]) -> Mapping[str, Axis]:
    """Where the tensors of the main graph hold the samples, of all that depend on what enters.

    Args:
        model: a checked ModelProto.
        known: its constants.
        entering: shape [steps, samples, ...] of what enters its first input.

    Returns:
        Nothing where the graph may mix samples, or takes a number of its own.
    """
    steps, samples, *rest = entering
    walk = _walk(model, known, entering, 1, (samples, 1), (steps, 1, *rest))
    return {} if walk is None or walk.lost or walk.fixed else walk.held


def steps_in(model: Any, known: Known, entering: Sequence[int]) -> Mapping[str, Axis]:
    """Where the tensors of the main graph hold the steps, of those in which steps can be told apart.

    A convolution over time takes in several steps at once: there the trace ends, for its output and all
    that is made from it.

    Args:
        model: a checked ModelProto.
        known: its constants.
        entering: shape [steps, samples, ...] of what enters its first input.
    """
    steps, *rest = entering
    walk = _walk(model, known, entering, 0, (steps, 2 * steps), (2 * steps, *rest))
    return {} if walk is None else walk.held


def _walk(
    model: Any,
    known: Known,
    entering: Sequence[int],
    axis: int,
    numbers: tuple[int, int],
    other: Sequence[int],
) -> "_Walk | None":
    if opset_of(model) < _BROADCAST_FROM_THE_END:
        return None
    first = next(value for value in model.graph.input if value.name not in known.names)
    held = {first.name: Axis(axis - len(entering))}
    walk = _Walk(known, held, numbers, ordered=axis == 0, opset=opset_of(model))
    sizes = first.type.tensor_type.shape.dim
    walk.fixed = len(sizes) > axis and bool(sizes[axis].dim_value)
    walk.through(model.graph, infer_shapes(model, entering), infer_shapes(model, other))
    return walk


class _Walk:
    """Which tensors of a graph hold the samples (or steps), and where.

    Args:
        known: the constants of the graph.
        held: of what enters.
        numbers: of samples, in the shapes of the walk and in the others that they are compared with.
        ordered: whether one may depend on those before it: steps do, samples do not.
        opset: version of the standard operators.

    Attributes:
        held: where each tensor holds them.
        counts: tensors of sizes, their number among them.
        lost: tensors in which they may be mixed.
        fixed: whether the file states their number.
    """

    fixed = False

    def __init__(
        self, known: Known, held: Mapping[str, Axis], numbers: tuple[int, int], *, ordered: bool, opset: int
    ) -> None:
        self._known = known
        self._constants = known.unsized
        self._numbers = numbers
        self._ordered = ordered
        self._opset = opset
        self._shapes: dict[str, Shape] = {}
        self._others: dict[str, Shape] = {}
        self.held = dict(held)
        self.counts: set[str] = set()
        self.lost: set[str] = set()

    def inside(self, known: Known, entering: Mapping[str, Axis]) -> "_Walk":
        """A walk through the body of a node, which sees the tensors around it."""
        held = self.held | dict(entering)
        walk = _Walk(known, held, self._numbers, ordered=self._ordered, opset=self._opset)
        walk._shapes, walk._others = dict(self._shapes), dict(self._others)
        walk.counts = set(self.counts)
        return walk

    def through(self, graph: Any, inferred: Any, other: Any) -> None:
        """Follow them through all nodes.

        Args:
            graph: as it is in the model.
            inferred: with the shapes of the walk.
            other: with the shapes for another number of them.
        """
        self._shapes |= _whole(shapes_of(inferred))
        self._others |= _whole(shapes_of(other))
        for index, (node, one, another) in enumerate(zip(graph.node, inferred.node, other.node, strict=True)):
            taken = {*node.input, *_captured(node)} - {""}
            if not taken & (self.held.keys() | self.counts | self.lost):
                continue
            if node.op_type == "Shape" and node.input[0] in self.held:
                if self._describes(node):
                    self.counts.add(node.output[0])
                continue
            found: Mapping[str, Axis | None] = {}
            if node.op_type == "Scan":
                inside = self._known.bodies[index]
                found = self._past(node) if self._ordered else self._scanned(node, inside, one, another)
            elif not taken & (self.held.keys() | self.lost) and body_of(node) is None:
                if node.op_type != "ConstantOfShape":
                    self.counts.update(filter(None, node.output))
                    continue
                found = {node.output[0]: self._made(node.output[0])}
            elif not taken & self.lost and body_of(node) is None:
                found = self._outputs(node)
            for name in filter(None, node.output):
                axis = found.get(name)
                if axis is not None and self._grows(name, axis):
                    self.held[name] = axis
                else:
                    self.lost.add(name)

    def _describes(self, node: Any) -> bool:
        """Whether the sizes that a Shape node asks for count them."""
        rank = len(self._shapes.get(node.input[0], ()))
        start, end, _ = slice(attribute_of(node, "start", 0), attribute_of(node, "end", None)).indices(rank)
        return start <= rank + self.held[node.input[0]].index < end

    def _grows(self, name: str, axis: Axis) -> bool:
        """Whether a tensor has as many times the entries for as many times the samples, on that axis."""
        shape, other = self._shapes.get(name), self._others.get(name)
        if shape is None or other is None or len(shape) != len(other) or -axis.index > len(shape):
            return False
        number, of_others = self._numbers
        at = axis.index % len(shape)
        # Blocks of steps have the size of what stands behind them, which does not grow.
        return shape[at] * of_others == other[at] * number and (
            shape[:at] + shape[at + 1 :] == other[:at] + other[at + 1 :]
        )

    def _made(self, name: str) -> Axis | None:
        """Of a constant spread over sizes: the one axis that grows."""
        shape, other = self._shapes.get(name, ()), self._others.get(name, ())
        grown = [at for at, sizes in enumerate(zip(shape, other, strict=False)) if sizes[0] != sizes[1]]
        return Axis(grown[0] - len(shape)) if len(grown) == 1 else None

    def _outputs(self, node: Any) -> Mapping[str, Axis | None]:
        operator = OPERATORS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
        shapes = tuple(self._shapes.get(name) for name in node.input)
        result = self._shapes.get(node.output[0])
        if operator is None or result is None:
            return {}
        if self._opset < SOFTMAX_OVER_ONE_AXIS and node.op_type in {"Softmax", "LogSoftmax"}:
            return {}
        if operator.axes is not regrouped and any(name in self.counts for name in node.input):
            # The number of samples itself may enter a value.
            return {}
        axes = tuple(self.held.get(name) for name in node.input)
        if any(shape is None for shape, axis in zip(shapes, axes, strict=True) if axis is not None):
            return {}
        known = tuple(self._constants.get(name) for name in node.input)
        axis = operator.axes(
            Operands(node, axes, shapes, known, result, self._numbers[0], ordered=self._ordered)
        )
        # The last states of a recurrent layer are those of each sample, and of all steps.
        further = axis if operator.axes is recurrent and not self._ordered else None
        return dict.fromkeys(node.output[1:], further) | {node.output[0]: axis}

    def _scanned(self, node: Any, known: Known, inferred: Any, other: Any) -> Mapping[str, Axis | None]:
        """Samples in a scan over the first axis: along another one, and kept apart in the body."""
        body, states = body_of(node), len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        entering = {}
        for index, (inner, outer) in enumerate(zip(body.input, node.input, strict=True)):
            axis = self.held.get(outer)
            if axis is None or (index >= states and -axis.index == len(self._shapes.get(outer, ()))):
                return {}
            entering[inner.name] = axis
        if _turned(node, ("scan_input_axes", "scan_output_axes")):
            return {}
        within = self.inside(known, entering)
        within.through(body, body_of(inferred), body_of(other))
        leaving = [within.held.get(value.name) for value in body.output]
        before = [entering[value.name] for value in body.input][:states]
        # A state has to lie in the next turn as it did in this one.
        return (
            {} if within.lost or leaving[:states] != before else dict(zip(node.output, leaving, strict=False))
        )

    def _past(self, node: Any) -> Mapping[str, Axis | None]:
        """Steps in a scan that takes in one a turn, and nothing of other steps but its own states."""
        states = len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        scanned = node.input[states:]
        straight = not _turned(
            node,
            ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions"),
        )
        if not straight or not all(self._first(name) for name in scanned):
            return {}
        seen = {*node.input[:states], *_captured(node)}
        if seen & (self.held.keys() | self.counts | self.lost):
            return {}
        return {name: Axis(-len(self._shapes.get(name, ()))) for name in node.output[states:]}

    def _first(self, name: str) -> bool:
        """Whether the first axis of a tensor is that of the steps, and of nothing else."""
        shape = self._shapes.get(name, ())
        return self.held.get(name) == Axis(-len(shape)) and shape[0] == self._numbers[0]


def _whole(shapes: Mapping[str, Any]) -> dict[str, Shape]:
    return {name: shape for name, shape in shapes.items() if shape is not None and None not in shape}


def _captured(node: Any) -> Iterator[str]:
    """Names of tensors that the bodies of a node take in from outside, and their own."""
    body = body_of(node)
    if body is not None:
        for inner in body.node:
            yield from inner.input
            yield from _captured(inner)
        yield from (value.name for value in body.output)


def _turned(node: Any, names: Sequence[str]) -> bool:
    return any(any(attribute_of(node, name, [])) for name in names)


# The rules that operators are registered with.


def pointwise(one: Operands) -> Axis | None:
    """Values meet those of the same sample alone, and what is the same for all samples."""
    carrying = {
        (axis, shape[axis.index])
        for axis, shape in zip(one.axes, one.shapes, strict=True)
        if axis is not None and shape is not None
    }
    if len(carrying) != 1:
        return None
    [(axis, _)] = carrying
    others = zip(one.node.input, one.axes, one.shapes, strict=True)
    shared = all(held is not None or not name or _shared(shape, axis.index) for name, held, shape in others)
    return axis if shared else None


def _shared(shape: Shape | None, index: int) -> bool:
    """Whether a tensor has one value for all samples that lie along an axis."""
    return shape is not None and (len(shape) < -index or shape[index] == 1)


def alone(one: Operands) -> Axis | None:
    """That of the first input, where the others are the same for all samples."""
    return one.axes[0] if all(axis is None for axis in one.axes[1:]) else None


def regrouped(one: Operands) -> Axis | None:
    """Values stay in their order (Reshape): samples are as far apart as before, along another axis."""
    axis, shape = one.axes[0], one.shapes[0]
    if axis is None or shape is None or 0 in one.result:
        return None
    stride = axis.block * prod(shape[len(shape) + axis.index + 1 :])
    behind = prod(one.result)
    for at, size in enumerate(one.result):
        behind //= size
        if stride % behind == 0 and behind * size % (stride * one.number) == 0:
            return Axis(at - len(one.result), stride // behind)
    return None


def transposed(one: Operands) -> Axis | None:
    """The axis goes where it is put."""
    axis, rank = one.axes[0], len(one.result)
    if axis is None:
        return None
    order = list(one.attribute("perm", range(rank)[::-1]))
    return Axis(order.index(rank + axis.index) - rank, axis.block)


def leading(one: Operands) -> Axis | None:
    """Convolutions, pools and normalisations keep the first axis apart."""
    axis, rank = alone(one), len(one.result)
    return axis if axis is not None and -axis.index == rank == len(one.shapes[0] or ()) > 2 else None


def stacked(one: Operands) -> Axis | None:
    """MatMul: samples are rows, or stacks of matrices, against weights that are the same for all."""
    (left, right, *zero_points), shape = one.axes, one.shapes[1]
    if left is None or shape is None or any(axis is not None for axis in zero_points):
        return None
    if any(prod(size or ()) > 1 for size in one.shapes[2:3]):  # zero points of rows, which may be samples
        return None
    if right is None:
        rows = len(shape) >= 2 and (left.index == -2 or (left.index < -2 and _shared(shape, left.index)))
        return left if rows else None
    same = left == right and (one.shapes[0] or ())[left.index] == shape[left.index]
    return left if same and left.index < -2 else None


def rows(one: Operands) -> Axis | None:
    """Gemm: samples are the rows."""
    axis = alone(one)
    shared = len(one.shapes) < 3 or one.shapes[2] is None or _shared(one.shapes[2], -2)
    if axis is None or not shared or axis.index != (-1 if one.attribute("transA", 0) else -2):
        return None
    return Axis(-2, axis.block)


def recurrent(one: Operands) -> Axis | None:
    """[T, N, C] -> [T, directions, N, hidden]: steps in their order; samples apart, without first states."""
    axis, shape = alone(one), one.shapes[0] or ()
    if axis is None or one.attribute("layout", 0) or len(shape) != 3:
        return None
    if one.ordered:
        return Axis(-4) if axis == Axis(-3) and shape[0] == one.number else None
    return axis if axis.index == -2 and not any(one.node.input[5:7]) else None


def _ends(one: Operands, axes: Sequence[int] | None) -> set[int]:
    """Axes, from the end."""
    rank = len(one.shapes[0] or ())
    return {axis - rank if axis >= 0 else axis for axis in axes or ()}


def _named_axes(one: Operands, index: int) -> set[int]:
    """The axes that the attribute `axes` or a constant input gives; none where they are not told."""
    known = one.known[index] if index < len(one.known) else None
    return _ends(one, one.attribute("axes", None if known is None else known.ravel().tolist()))


def reduced(one: Operands) -> Axis | None:
    """The axes that are reduced are others; without keepdims those behind the samples fall away."""
    by_attribute = one.node.op_type.startswith("Arg")
    ends = _ends(one, [one.attribute("axis", 0)]) if by_attribute else _named_axes(one, 1)
    axis = alone(one)
    if axis is None or not ends or axis.index in ends:
        return None
    fallen = 0 if one.attribute("keepdims", 1) else sum(end > axis.index for end in ends)
    return Axis(axis.index + fallen, axis.block)


def sliced(one: Operands) -> Axis | None:
    """Parts of other axes are taken."""
    axis, ends = alone(one), _named_axes(one, 3)
    return axis if axis is not None and ends and axis.index not in ends else None


def along(default: int) -> AxisRule:
    """The attribute `axis` is another one than that of the samples, which all inputs hold alike."""

    def rule(one: Operands) -> Axis | None:
        axis = one.axes[0]
        if any(other != axis for other in one.axes):
            return None
        ends = _ends(one, [one.attribute("axis", default)])
        return axis if axis is not None and axis.index not in ends else None

    return rule


def chosen(one: Operands) -> Axis | None:
    """Gather: of another axis, one entry (the axis falls away) or a list of them."""
    axis, indices = alone(one), one.shapes[1]
    [end] = _ends(one, [one.attribute("axis", 0)])
    if axis is None or indices is None or axis.index == end:
        return None
    return Axis(axis.index - (len(indices) - 1 if axis.index < end else 0), axis.block)


def behind(one: Operands) -> Axis | None:
    """LayerNormalization works over the axes from `axis` on: all behind the samples."""
    axis = alone(one)
    [end] = _ends(one, [one.attribute("axis", -1)])
    return axis if axis is not None and end > axis.index else None
