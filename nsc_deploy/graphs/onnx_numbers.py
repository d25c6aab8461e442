"""The few numbers that sizes in an ONNX graph are made of, worked out without running the graph.

Shape inference follows shapes through most of what models do with them, and stops at a Range and at
comparisons. Here the value of one tensor is worked out on demand, from constants and shapes that are known,
by small steps: no value of more than a few hundred numbers, no chain of more than some dozens of operators.
"""

from collections.abc import Mapping
from contextlib import suppress
from math import ceil, prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

MOST_NUMBERS = 256
"""Of one value that is worked out."""
LONGEST_CHAIN = 64
"""Of operators that a value is made by."""
Shape = tuple[int | None, ...] | None
Numbers = NDArray[Any]

_ARITHMETIC = frozenset(
    {"Identity", "Cast", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze", "Reshape", "Add", "Sub", "Mul"}
    | {"Div", "Mod", "Min", "Max", "Neg", "Abs", "Floor", "Ceil", "Round", "Sqrt", "Where", "Equal", "Not"}
    | {"Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "ReduceProd", "ReduceSum"}
    | {"ReduceMax", "ReduceMin", "Range", "ConstantOfShape", "Expand", "Tile"}
)
_OF_NUMBERS = frozenset({"Range", "ConstantOfShape", "Expand", "Tile"})
"""The shapes of these are numbers that enter them."""


class NumbersOf:
    """What is known of the values of one graph.

    Args:
        graph: with inferred shapes.
        shapes: of its values, and of those around it that it takes in.
        opset: version of the standard operators.
        around: of the graph that it stands in.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        shapes: Mapping[str, Shape],
        opset: int,
        around: "NumbersOf | None" = None,
    ) -> None:
        self._shapes, self._opset, self._around = shapes, opset, around
        self._makers = {output: node for node in graph.node for output in node.output if output}
        self._entering = {value.name for value in graph.input}
        self._known: dict[str, Numbers | None] = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if prod(tensor.dims) <= MOST_NUMBERS
        }

    def inside(self, body: onnx.GraphProto, shapes: Mapping[str, Shape]) -> "NumbersOf":
        """What is known of the values of a graph inside this one."""
        return NumbersOf(body, shapes, self._opset, self)

    def of(self, name: str, chain: int = 0) -> Numbers | None:
        """The value of a tensor; None where it is large, changes with what enters, or is hard to tell."""
        if name not in self._known:
            # A chain that comes back to itself is no graph; until it is known a value is not.
            self._known[name] = None
            self._known[name] = self._worked_out(name, chain)
        return self._known[name]

    def made(self, node: Any, chain: int = 0) -> tuple[int, ...] | None:
        """The shape that an operator gives which makes much of little, where numbers tell it."""
        entering = [self.of(name, chain + 1) if name else None for name in node.input]
        return _shape_made(node.op_type, entering, self._shape(next(iter(node.input), ""), chain + 1))

    def _shape(self, name: str, chain: int) -> Shape:
        """The shape of a value: as inferred or, where that has open sizes, as numbers tell it."""
        shape, maker = self._shapes.get(name), self._makers.get(name)
        if (shape is None or None in shape) and maker is not None and maker.op_type in _OF_NUMBERS:
            return self.made(maker, chain) if chain < LONGEST_CHAIN else None
        return shape

    def _worked_out(self, name: str, chain: int) -> Numbers | None:
        node = self._makers.get(name)
        if node is None:
            outside = self._around is not None and name not in self._entering
            return self._around.of(name, chain) if outside and self._around is not None else None
        if node.op_type in {"Shape", "Size"}:
            return self._size(node, chain)
        if chain >= LONGEST_CHAIN or (node.op_type not in _ARITHMETIC and node.op_type != "Constant"):
            return None
        entering = {one: self.of(one, chain + 1) for one in node.input if one}
        if any(value is None for value in entering.values()):
            return None
        if node.op_type in _OF_NUMBERS:
            values = [entering[one] for one in node.input]
            shape = _shape_made(node.op_type, values, None if values[0] is None else values[0].shape)
            if shape is None or prod(shape) > MOST_NUMBERS:
                return None
        return _run(node, entering, self._opset)

    def _size(self, node: Any, chain: int) -> Numbers | None:
        shape = self._shape(node.input[0], chain)
        if shape is None or None in shape:
            return None
        sizes = [size or 0 for size in shape]
        if node.op_type == "Size":
            return np.array(prod(sizes), np.int64)
        bounds = {attribute.name: attribute.i for attribute in node.attribute}
        return np.array(sizes[bounds.get("start", 0) : bounds.get("end")], np.int64)


def _shape_made(kind: str, entering: list[Numbers | None], first: Shape) -> tuple[int, ...] | None:
    """The shape of what an operator makes, from the numbers that enter it and the shape of the first."""
    if kind == "Range":
        return _length(*entering)
    sizes = _sizes(entering[0] if kind == "ConstantOfShape" else entering[1] if entering[1:] else None)
    if sizes is None or kind == "ConstantOfShape":
        return sizes
    known = None if first is None or None in first else tuple(size or 0 for size in first)
    if known is not None and kind == "Expand":
        with suppress(ValueError):
            return tuple(np.broadcast_shapes(known, sizes))
    if known is not None and kind == "Tile" and len(sizes) == len(known):
        return tuple(size * times for size, times in zip(known, sizes, strict=True))
    return None


def _length(*entering: Numbers | None) -> tuple[int] | None:
    """Of a Range, from its start, limit and step."""
    known = [one.item() for one in entering if one is not None and one.size == 1]
    if len(known) != 3 or not known[2]:
        return None
    start, limit, delta = known
    return (max(0, ceil((limit - start) / delta)),)


def _sizes(numbers: Numbers | None) -> tuple[int, ...] | None:
    """A shape that is written in numbers."""
    if numbers is None or numbers.ndim != 1 or numbers.dtype.kind not in "iu" or (numbers < 0).any():
        return None
    return tuple(numbers.tolist())


def _run(node: Any, entering: Mapping[str, Numbers | None], opset: int) -> Numbers | None:
    """One operator on a few numbers; None where it fails, as the run then will."""
    from onnx.reference import ReferenceEvaluator

    try:
        with np.errstate(all="ignore"):
            (value, *_) = ReferenceEvaluator(node, opsets={"": opset}).run(None, dict(entering))
    except Exception:
        return None
    numbers = np.asarray(value)
    return numbers if numbers.size <= MOST_NUMBERS and numbers.dtype.kind in "biuf" else None
