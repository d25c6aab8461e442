"""Along which axis the output of an ONNX operator holds the samples, if it keeps them apart.

A rule is told where the samples lie in the inputs. It answers None where the operator mixes samples, or
may do so, or is not known well enough: such a graph is run one sample at a time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import attribute_of
from nsc_deploy.energy.onnx_binary import TRUTH
from nsc_deploy.energy.onnx_elementwise import FUNCTIONS


@dataclass(frozen=True)
class Held:
    """Where a tensor holds the samples.

    Attributes:
        axis: from the end, so that it is the same behind a broadcast and inside a scan: -1 is the last.
        rank: number of axes.
    """

    axis: int
    rank: int

    @property
    def first(self) -> bool:
        """Whether it is the first axis."""
        return self.axis == -self.rank


@dataclass(frozen=True)
class Inputs:
    """The inputs of an operator.

    Attributes:
        node: the NodeProto.
        held: for each input, where it holds the samples; None for one that is the same for all samples.
        known: for each input, its value where it is a constant.
    """

    node: Any
    held: tuple[Held | None, ...]
    known: tuple[NDArray[Any] | None, ...]

    def alone(self) -> Held | None:
        """The first input, where the others are constants."""
        others = zip(self.held[1:], self.known[1:], self.node.input[1:], strict=True)
        constant = all(held is None and (value is not None or not name) for held, value, name in others)
        return self.held[0] if constant else None

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator."""
        return attribute_of(self.node, name, default)

    def axes(self, index: int) -> tuple[int, ...] | None:
        """The axes that the attribute `axes` or a constant input gives; None where they are not told."""
        known = self.known[index] if index < len(self.known) else None
        given = self.attribute("axes", None if known is None else known.ravel().tolist())
        return None if given is None else tuple(int(axis) for axis in given)


Rule = Callable[[Inputs], Held | None]


def pointwise(one: Inputs) -> Held | None:
    """Values meet those of the same sample alone, and constants that are the same for all samples."""
    carrying = {held.axis for held in one.held if held is not None}
    if len(carrying) != 1:
        return None
    axis, ranks = carrying.pop(), [held.rank for held in one.held if held is not None]
    for name, held, value in zip(one.node.input, one.held, one.known, strict=True):
        if held is None and name:
            if value is None or (value.ndim >= -axis and value.shape[axis] != 1):
                return None
            ranks.append(value.ndim)
    return Held(axis, max(ranks))


def transposed(one: Inputs) -> Held | None:
    """The axis goes where it is put."""
    given = one.held[0]
    if given is None:
        return None
    order = list(one.attribute("perm", range(given.rank)[::-1]))
    return Held(order.index(given.rank + given.axis) - given.rank, given.rank)


def leading(one: Inputs) -> Held | None:
    """Convolutions, pools and normalisations keep the first axis apart."""
    given = one.alone()
    return given if given is not None and given.first and given.rank > 2 else None


def matmul(one: Inputs) -> Held | None:
    """Samples are rows, or stacks of matrices, against one matrix of weights."""
    left, right = one.held
    if left is not None and right is None and one.known[1] is not None:
        return left if one.known[1].ndim == 2 and left.axis <= -2 else None
    return left if left is not None and left == right and left.axis < -2 else None


def gemm(one: Inputs) -> Held | None:
    """Samples are the rows."""
    given = one.alone()
    bias = one.known[2] if len(one.known) > 2 else None
    shared = bias is None or bias.ndim < 2 or bias.shape[0] == 1
    rows = given is not None and given.axis == (-1 if one.attribute("transA", 0) else -2)
    return Held(-2, 2) if rows and shared else None


def recurrent(one: Inputs) -> Held | None:
    """[T, N, C] -> [T, directions, N, hidden]; the last states have an axis less."""
    given = one.alone()
    states = [value for value in one.known[5:7] if value is not None]
    return Held(-2, 4) if given == Held(-2, 3) and not one.attribute("layout", 0) and not states else None


def reduced(one: Inputs) -> Held | None:
    """The axes that are reduced are others; without keepdims those behind the samples fall away."""
    given, axes = one.held[0], one.axes(1)
    if one.node.op_type.startswith("Arg"):
        axes = (one.attribute("axis", 0),)
    if given is None or not axes:
        return None
    ends = {axis - given.rank if axis >= 0 else axis for axis in axes}
    if given.axis in ends:
        return None
    return given if one.attribute("keepdims", 1) else _without(given, ends)


def squeezed(one: Inputs) -> Held | None:
    """Axes of length one fall away."""
    given, axes = one.held[0], one.axes(1)
    if given is None or not axes:
        return None
    ends = {axis - given.rank if axis >= 0 else axis for axis in axes}
    return None if given.axis in ends else _without(given, ends)


def unsqueezed(one: Inputs) -> Held | None:
    """Axes of length one come in between."""
    given, axes = one.held[0], one.axes(1)
    if given is None or axes is None:
        return None
    rank = given.rank + len(axes)
    made = {axis % rank for axis in axes}
    free = [axis for axis in range(rank) if axis not in made]
    return Held(free[given.rank + given.axis] - rank, rank)


def _without(given: Held, ends: set[int]) -> Held:
    return Held(given.axis + sum(end > given.axis for end in ends), given.rank - len(ends))


def along(default: int) -> Rule:
    """The attribute `axis` is another one than that of the samples, which all inputs hold alike."""

    def rule(one: Inputs) -> Held | None:
        given = one.held[0]
        if given is None or any(held != given for held in one.held):
            return None
        axis = one.attribute("axis", default)
        return None if given.axis == (axis - given.rank if axis >= 0 else axis) else given

    return rule


def gathered(one: Inputs) -> Held | None:
    """Of another axis, one entry (the axis falls away) or a list of them."""
    given, indices, axis = one.held[0], one.known[1], one.attribute("axis", 0)
    if given is None or indices is None or indices.ndim > 1:
        return None
    end = axis - given.rank if axis >= 0 else axis
    if end == given.axis:
        return None
    return given if indices.ndim else _without(given, {end})


def normalized(one: Inputs) -> Held | None:
    """LayerNormalization works over the axes from `axis` on: all behind the samples."""
    given, axis = one.alone(), one.attribute("axis", -1)
    if given is None:
        return None
    return given if (axis - given.rank if axis >= 0 else axis) > given.axis else None


def flattened(one: Inputs) -> Held | None:
    """Of the first axis the samples stay the rows."""
    given = one.held[0]
    return Held(-2, 2) if given is not None and given.first and one.attribute("axis", 1) == 1 else None


RECURRENT = frozenset({"LSTM", "GRU", "RNN"})

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(FUNCTIONS | TRUTH, pointwise),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "Sum", "Mean", "Max", "Min"), pointwise),
    **dict.fromkeys(("Cast", "Identity", "Where"), pointwise),
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool"), leading),
    **dict.fromkeys(("BatchNormalization", "InstanceNormalization", "LRN"), leading),
    **dict.fromkeys(RECURRENT, recurrent),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ArgMax", "ArgMin"), reduced),
    **dict.fromkeys(("Softmax", "LogSoftmax"), along(-1)),
    "Transpose": transposed,
    "MatMul": matmul,
    "Gemm": gemm,
    "Squeeze": squeezed,
    "Unsqueeze": unsqueezed,
    "Concat": along(0),
    "Gather": gathered,
    "LayerNormalization": normalized,
    "Flatten": flattened,
}
