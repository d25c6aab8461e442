"""One operator of an ONNX graph, and what one execution of it costs.

Which tensors of an ONNX graph hold nothing but 0 and 1, proven from the graph alone.

Binary tensors start at a cast from a truth value, at a choice between the constants 1 and 0, or at an
input that is declared to carry events. Operators that move values keep them binary, and so do the
complement `1 - x` and the product of two binary tensors.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Kind

Shape = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]
# Before this opset, it went over all axes from one on.
SOFTMAX_OVER_ONE_AXIS = 13
WEIGHTED = frozenset({"MatMul", "Gemm", "Conv"})


@dataclass(frozen=True)
class Site:
    """One operator of a graph, with what is known of it.

    Attributes:
        path: names of the enclosing bodies and of the operator.
        node: the NodeProto.
        constants: known values by tensor name.
        binary: tensors proven binary.
    """

    path: str
    node: Any
    constants: Values
    binary: frozenset[str]

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator as Python values."""
        return attribute_of(self.node, name, default)

    def given(self, index: int) -> str | None:
        """The name of an input, or None where the operator goes without it."""
        names = self.node.input
        return names[index] if index < len(names) and names[index] else None

    def constant(self, index: int) -> NDArray[Any] | None:
        """The value of an input, or None where it is not there or changes."""
        name = self.given(index)
        return None if name is None else self.constants.get(name)

    def nonzero(self, *indices: int) -> int:
        """Values that are not zero among the inputs that are constant."""
        known = (self.constant(index) for index in indices)
        return sum(int(np.count_nonzero(values)) for values in known if values is not None)

    @property
    def events(self) -> tuple[str, ...]:
        """Its inputs that carry events, of those that meet weights."""
        if self.node.op_type not in WEIGHTED:
            return ()
        return tuple(name for name in self.node.input[:2] if name in self.binary)


@dataclass(frozen=True)
class Cost:
    """One execution of one operator.

    Attributes:
        operations: number of each kind, every value taken for real.
        weights: non-zero weights among its constants.
        neurons: recurrent cells it holds.
    """

    operations: Mapping[Kind, int] = field(default_factory=dict)
    weights: int = 0
    neurons: int = 0


Rule = Callable[[Site, Mapping[str, Shape]], Cost]


def attribute_of(node: Any, name: str, default: Any) -> Any:
    """An attribute of a NodeProto as Python values."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def constants_of(graph: Any, outer: Values) -> dict[str, NDArray[Any]]:
    """The values that a graph writes down, by tensor name, and those of the graphs around it."""
    from onnx import numpy_helper

    known = dict(outer)
    known.update({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Constant":
            held = {attribute.name: attribute for attribute in node.attribute}
            if "value" in held:
                known[node.output[0]] = numpy_helper.to_array(held["value"].t)
            elif "value_float" in held:
                known[node.output[0]] = np.asarray(held["value_float"].f, dtype=np.float32)
    return known


def opset_of(model: Any) -> int:
    """The version of the standard operators that a ModelProto is written in."""
    return next((int(one.version) for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)


MOVING = frozenset(
    {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Expand"}
    | {"Tile", "Split", "Dropout", "Concat", "Pad", "ReverseSequence", "GatherElements", "GatherND"}
    | {"DepthToSpace", "SpaceToDepth", "Trilu"}
)
TRUTH = frozenset(
    {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal", "And", "Or", "Not", "Xor", "IsNaN", "IsInf"}
)
_BOOL = 9


@dataclass(frozen=True)
class Proven:
    """What is known of the tensors of one graph.

    Attributes:
        binary: names of numeric tensors of 0 and 1 alone.
        truth: names of tensors of truth values.
        spikes: whether a truth value becomes a number anywhere: the graph decides spikes of its own.
    """

    binary: frozenset[str]
    truth: frozenset[str]
    spikes: bool


def ones_and_zeros(constants: Mapping[str, NDArray[Any]]) -> frozenset[str]:
    """The constants that hold nothing else."""
    return frozenset(name for name, value in constants.items() if _is_binary(value))


def prove(
    node: Any,
    constants: Mapping[str, NDArray[Any]],
    fixed: frozenset[str],
    binary: frozenset[str],
    truth: frozenset[str],
) -> Proven:
    """What is known behind a node of a graph.

    Args:
        node: without a body; of those with one (Scan) the caller knows better.
        constants: known values by name.
        fixed: the constants of 0 and 1 alone.
        binary: names of other tensors proven binary before it.
        truth: names that are truth values before it.
    """
    known, outputs = binary | fixed, frozenset(node.output)
    if node.op_type in TRUTH or _casts_to_truth(node) or _keeps_truth(node, truth):
        return Proven(binary, truth | outputs, False)
    if _makes_binary(node, truth, known):
        return Proven(binary | outputs, truth, True)
    if _keeps_binary(node, known, constants, binary):
        return Proven(binary | outputs, truth, False)
    return Proven(binary, truth, False)


def _is_binary(value: NDArray[Any]) -> bool:
    if value.size == 0 or value.dtype.kind not in "fiu":
        return False
    # Most weights show in their first values that they are not.
    return all(bool(((some == 0) | (some == 1)).all()) for some in (value.flat[:64], value))


def _casts_to_truth(node: Any) -> bool:
    return node.op_type == "Cast" and _target(node) == _BOOL


def _target(node: Any) -> int:
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")


def _data(node: Any) -> list[str]:
    """The inputs that carry values, without shapes, axes and the like."""
    inputs = [name for name in node.input if name]
    if node.op_type == "Concat":
        return inputs
    if node.op_type == "Pad":
        return [*inputs[:1], *inputs[2:3]]
    return inputs[:1]


def _keeps_truth(node: Any, truth: frozenset[str]) -> bool:
    return node.op_type in MOVING and bool(_data(node)) and all(name in truth for name in _data(node))


def _makes_binary(node: Any, truth: frozenset[str], known: frozenset[str]) -> bool:
    if node.op_type == "Cast":
        return node.input[0] in truth
    if node.op_type == "Where":
        return node.input[0] in truth and all(name in known for name in node.input[1:])
    return False


def _keeps_binary(
    node: Any, known: frozenset[str], constants: Mapping[str, NDArray[Any]], moving: frozenset[str]
) -> bool:
    if not any(name in moving for name in node.input):
        return False
    if node.op_type in MOVING:
        return all(name in known for name in _data(node))
    if node.op_type in {"Cast", "MaxPool"}:
        return node.input[0] in known
    if node.op_type in {"Mul", "Min", "Max"}:
        return all(name in known for name in node.input)
    if node.op_type == "Sub":
        ones = constants.get(node.input[0])
        return ones is not None and bool((ones == 1).all()) and node.input[1] in known
    return False


FREE = MOVING | {"Cast", "Constant", "ConstantOfShape", "Shape", "Size", "Where", "Range", "CastLike"}
