"""Along which axis the tensors of an ONNX graph hold the samples, proven from the graph alone.

Nothing in an ONNX file says so. Here the axis of the input is followed from operator to operator; where
one of them mixes samples, or may do so, there is no answer.

Along which axis the output of an ONNX operator holds the samples, if it keeps them apart.

A rule is told where the samples lie in the inputs. It answers None where the operator mixes samples, or
may do so, or is not known well enough: such a graph is run one sample at a time.

Along which axis the tensors of an ONNX graph hold the steps, as far as steps can be told apart.

A tensor that is made from each step alone has such an axis, and so has what a recurrent layer or a scan
gives out that takes in one step after the other. A convolution over time takes in several steps at once:
there the trace ends, for its output and all that is made from it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operator_costs import FUNCTIONS
from nsc_deploy.energy.counting.onnx.operators import (
    SOFTMAX_OVER_ONE_AXIS,
    TRUTH,
    attribute_of,
    constants_of,
    opset_of,
)

Constants = Mapping[str, NDArray[Any]]


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


def samples_held(model: Any, rank: int) -> dict[str, Held] | None:
    """Where each tensor of the main graph that depends on what enters holds the samples.

    Args:
        model: a checked ModelProto; its first input holds the samples along its second axis.
        rank: number of axes of what enters.

    Returns:
        None where the graph may mix samples.
    """
    constants, entering = entrance(model)
    sizes = entering.type.tensor_type.shape.dim
    if opset_of(model) < SOFTMAX_OVER_ONE_AXIS or (len(sizes) > 1 and sizes[1].dim_value):
        return None
    return _SampleWalk(constants, {entering.name: Held(1 - rank, rank)}, {}).through(model.graph)


def entrance(model: Any) -> tuple[Constants, Any]:
    """The constants of the main graph, and the first input that is none of them."""
    constants = constants_of(model.graph, {})
    return constants, next(value for value in model.graph.input if value.name not in constants)


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


class _SampleWalk:
    """Where the tensors of one graph hold the samples, and which of its tensors are shapes."""

    def __init__(self, constants: Constants, held: Mapping[str, Held], shapes: Mapping[str, Held]) -> None:
        self._constants = constants
        self._held = dict(held)
        self._shapes = dict(shapes)

    def through(self, graph: Any) -> dict[str, Held] | None:
        """Follow the samples through all nodes; None where they may meet."""
        for node in graph.node:
            if node.op_type == "Shape" and node.input[0] in self._held:
                described = described_by(node, self._held[node.input[0]])
                if described is not None:
                    self._shapes[node.output[0]] = described
            elif any(name in self._held or name in self._shapes for name in node.input):
                if not self._step(node):
                    return None
            elif body_of(node) is not None:
                return None
        return self._held

    def _step(self, node: Any) -> bool:
        if node.op_type == "Scan":
            return self._scan(node)
        if node.op_type == "ConstantOfShape":
            found = self._shapes.get(node.input[0])
        elif body_of(node) is not None or any(name in self._shapes for name in node.input):
            # The number of samples itself may enter a value.
            return False
        else:
            rule = RULES.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
            found = None if rule is None else rule(self._inputs(node))
        if found is None:
            return False
        self._held[node.output[0]] = found
        for name in filter(None, node.output[1:]):
            if node.op_type not in RECURRENT:
                return False
            self._held[name] = Held(found.axis, found.rank - 1)
        return True

    def _inputs(self, node: Any) -> Inputs:
        held = tuple(self._held.get(name) for name in node.input)
        return Inputs(node, held, tuple(self._constants.get(name) for name in node.input))

    def _scan(self, node: Any) -> bool:
        """A scan over the first axis, with the samples along another one."""
        body, states = body_of(node), len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        directions = ("scan_input_axes", "scan_output_axes")
        if any(any(attribute_of(node, name, [])) for name in directions):
            return False
        entering = {}
        for index, (inner, outer) in enumerate(zip(body.input, node.input, strict=True)):
            held = self._held.get(outer)
            if held is None or (index >= states and held.first):
                return False
            entering[inner.name] = held if index < states else Held(held.axis, held.rank - 1)
        inside = _SampleWalk(
            constants_of(body, self._constants), self._held | entering, self._shapes
        ).through(body)
        if inside is None:
            return False
        for index, (leaves, outer) in enumerate(zip(body.output, node.output, strict=False)):
            held = inside.get(leaves.name)
            if held is None or (index < states and held != entering[body.input[index].name]):
                return False
            if outer:
                self._held[outer] = held if index < states else Held(held.axis, held.rank + 1)
        return True


def body_of(node: Any) -> Any:
    """The graph inside a node; None for most."""
    return next((attribute.g for attribute in node.attribute if attribute.HasField("g")), None)


def described_by(node: Any, held: Held) -> Held | None:
    """Where a tensor of the shape that a Shape node asks for holds the axis; None where it has none such."""
    start, end, _ = slice(attribute_of(node, "start", 0), attribute_of(node, "end", None)).indices(held.rank)
    return Held(held.axis + held.rank - end, end - start) if start <= held.rank + held.axis < end else None


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


@dataclass(frozen=True)
class Axes:
    """Where the tensors of the main graph hold samples and steps, from the end.

    Attributes:
        samples: of every tensor that depends on what enters; None where the graph may mix samples.
        steps: of those in which steps can be told apart.
    """

    samples: Mapping[str, int] | None
    steps: Mapping[str, int]


def axes_of(model: Any, rank: int) -> Axes:
    """Follow samples and steps through a graph.

    Args:
        model: a checked ModelProto; its first input is [steps, samples, ...].
        rank: number of axes of what enters.
    """
    if opset_of(model) < SOFTMAX_OVER_ONE_AXIS:
        return Axes(None, {})
    samples = samples_held(model, rank)
    constants, entering = entrance(model)
    ranks = {name: one.rank for name, one in (samples or {}).items()}
    steps = _StepWalk(constants, {entering.name: Held(-rank, rank)}, ranks).through(model.graph)
    return Axes(None if samples is None else _axes(samples), _axes(steps))


def _axes(held: Mapping[str, Held]) -> dict[str, int]:
    return {name: one.axis for name, one in held.items()}


def _in_order(one: Inputs) -> Held | None:
    """A recurrent layer takes in one step after the other: [T, N, C] -> [T, directions, N, hidden]."""
    given = one.alone()
    return Held(-4, 4) if given == Held(-3, 3) and not one.attribute("layout", 0) else None


_RULES: Mapping[str, Rule] = {**RULES, **dict.fromkeys(RECURRENT, _in_order)}


class _StepWalk:
    """Which tensors hold the steps, which are shapes, and in which the steps are lost.

    Args:
        constants: of the graph.
        held: of what enters.
        ranks: number of axes of other tensors, where it is known.
    """

    def __init__(self, constants: Constants, held: Mapping[str, Held], ranks: Mapping[str, int]) -> None:
        self._constants = constants
        self._held = dict(held)
        self._ranks = ranks
        self._shapes: dict[str, Held] = {}
        self._lost: set[str] = set()

    def through(self, graph: Any) -> dict[str, Held]:
        """Follow the steps through all nodes of the main graph."""
        for node in graph.node:
            if not any(self._depends(name) for name in (*node.input, *_captured(node))):
                continue
            if node.op_type == "Shape" and node.input[0] in self._held:
                described = described_by(node, self._held[node.input[0]])
                if described is not None:
                    self._shapes[node.output[0]] = described
                continue
            found = self._outputs(node)
            for name in filter(None, node.output):
                if found.get(name) is None:
                    self._lost.add(name)
            self._held.update({name: one for name, one in found.items() if one is not None})
        return self._held

    def _depends(self, name: str) -> bool:
        return name in self._held or name in self._shapes or name in self._lost

    def _outputs(self, node: Any) -> dict[str, Held | None]:
        if node.op_type == "Scan":
            return self._scan(node)
        if node.op_type == "ConstantOfShape":
            return {node.output[0]: self._shapes.get(node.input[0])}
        known = not any(name in self._lost or name in self._shapes for name in node.input)
        rule = _RULES.get(node.op_type)
        if rule is None or not known or body_of(node) is not None:
            return {}
        held = tuple(self._held.get(name) for name in node.input)
        return {
            node.output[0]: rule(Inputs(node, held, tuple(self._constants.get(one) for one in node.input)))
        }

    def _scan(self, node: Any) -> dict[str, Held | None]:
        """A scan that takes in one step a turn, and nothing of other steps but its own states."""
        states = len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        turned = ("scan_input_axes", "scan_output_axes", "scan_input_directions", "scan_output_directions")
        straight = not any(any(attribute_of(node, name, [])) for name in turned)
        stepwise = all(
            (held := self._held.get(name)) is not None and held.first for name in node.input[states:]
        )
        apart = not any(self._depends(name) for name in (*node.input[:states], *_captured(node)))
        if not (straight and stepwise and apart):
            return {}
        ranks = {name: self._ranks.get(name) for name in node.output[states:]}
        return {name: Held(-rank, rank) for name, rank in ranks.items() if name and rank is not None}


def _captured(node: Any) -> Iterator[str]:
    """Names of tensors that the bodies of a node take in from outside, and their own."""
    body = body_of(node)
    if body is not None:
        for inner in body.node:
            yield from inner.input
            yield from _captured(inner)
        yield from (value.name for value in body.output)
