"""Which tensors of an ONNX graph hold nothing but 0 and 1, proven from the graph alone.

Binary tensors start at a cast from a truth value, at a choice between the constants 1 and 0, or at an
input that is declared to carry events. Operators that move values keep them binary, and so do the
complement `1 - x` and the product of two binary tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

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
