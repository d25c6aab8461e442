"""What a run of an ONNX graph would take, worked out from shapes before onnxruntime is given it.

A few bytes can ask for any amount of memory (a ConstantOfShape, an Expand) or of time (a Loop, a product
of large matrices). Nothing here runs the graph: shapes are inferred with the sizes that enter filled in. A
size that inference does not find is made of the few numbers that it follows from (`onnx_numbers`), or
replaced by the largest it can be, and a graph beyond the limits is refused with the node that goes beyond
them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

import onnx

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.onnx_constants import Constants, find_constants, kept_constants, taken_in
from nsc_deploy.graphs.onnx_numbers import NumbersOf
from nsc_deploy.graphs.onnx_shapes import Shape, infer_shapes, known_shapes, opset_of, shapes_of

MAX_MEMORY = 4 * 2**30
"""Bytes of weights and of all values that are held at once."""
MAX_OPERATIONS = 10**11
"""Of one sample: some seconds of matrix products on one thread, minutes of anything else."""
MAX_TURNS = 10**7
"""Of the body of a Scan within a Scan."""
MEMORY_VARIABLE, OPERATIONS_VARIABLE = "NSC_DEPLOY_MAX_MEMORY", "NSC_DEPLOY_MAX_OPERATIONS"

_CALL = 5000
"""Operations that the call of an operator is counted for: some microseconds."""
# Operators whose output may be larger than all that enters them.
_MAKERS = frozenset(
    {"ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Upsample", "Pad", "OneHot", "EyeLike"}
    | {"ConvTranspose", "MaxUnpool", "Einsum", "RandomNormal", "RandomUniform", "GridSample", "AffineGrid"}
    | {"CenterCropPad", "Col2Im", "DFT", "STFT", "BlackmanWindow", "HannWindow", "HammingWindow"}
)
_ENDLESS = frozenset({"Loop", "SequenceMap", "SequenceInsert", "SplitToSequence"})
_MOVING = frozenset({"Concat", "Reshape", "Slice", "Transpose", "Squeeze", "Unsqueeze", "Gather", "Where"})
_PAIRS = frozenset({"Einsum", "DFT", "STFT", "Attention", "NonMaxSuppression", "QLinearMatMul", "Det"})


@dataclass(frozen=True)
class Limits:
    """What a graph may take.

    Attributes:
        memory: bytes of weights and of all values that are held at once.
        operations: of one sample.
    """

    memory: int = MAX_MEMORY
    operations: int = MAX_OPERATIONS

    @property
    def elements(self) -> int:
        """Of one value."""
        return self.memory // 16

    @property
    def made(self) -> int:
        """Of one value of an operator that makes much of little."""
        return self.memory // 64

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits, raised or lowered by NSC_DEPLOY_MAX_MEMORY and NSC_DEPLOY_MAX_OPERATIONS.

        Raises:
            ConfigError: a variable that is no whole number above 0.
        """
        return cls(_number(MEMORY_VARIABLE, MAX_MEMORY), _number(OPERATIONS_VARIABLE, MAX_OPERATIONS))


def _number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    # Two billion billion fit 64 bits; no longer text is a size.
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text)):
        raise ConfigError(
            f"must be a whole number above 0, not {text[:40]!r}", where=f"environment variable {variable}"
        )
    return int(text)


def refuse_unbounded(
    model: onnx.ModelProto, entering: Sequence[int] | None = None, limits: Limits | None = None
) -> None:
    """Refuse a model that may run without end, for very long, or take any amount of memory.

    Args:
        model: read and checked.
        entering: shape [T, N, ...] of what enters the first input; without it each open size is taken as 64.
        limits: of memory and operations; by default those of the environment.

    Raises:
        GraphError: with the node, what it asks for and how to raise the limit.
    """
    limits = limits or Limits.from_environment()
    together = infer_shapes(model, entering)
    constants = find_constants(model.graph)
    opset = opset_of(model)
    _Estimate(limits, opset, operations=False).whole(together, constants)
    alone = entering if entering is None else (*entering[:1], *(1 for _ in entering[1:2]), *entering[2:])
    # What a batch takes does not grow in step with its samples where constants are worked on.
    single = together if alone == entering else infer_shapes(model, alone)
    _Estimate(limits, opset, operations=True).whole(single, constants)


@dataclass(frozen=True)
class _Value:
    """The size of a value, at most.

    Attributes:
        shape: where all its sizes are known.
        elements: their number; where a run tells it, the largest it can be.
        width: bytes of each.
    """

    shape: tuple[int, ...] | None
    elements: int
    width: int = 4

    @property
    def memory(self) -> int:
        return self.elements * self.width


class _Estimate:
    """Walks through a graph as a run would, and refuses the node that goes beyond a limit.

    Args:
        limits: of memory and operations.
        opset: version of the standard operators.
        operations: whether to hold operations to their limit, or memory.
    """

    def __init__(self, limits: Limits, opset: int, *, operations: bool) -> None:
        self._limits, self._opset, self._counts = limits, opset, operations
        self._operations = 0

    def whole(self, graph: onnx.GraphProto, constants: Constants) -> None:
        values = _declared(graph)
        held = sum(value.memory for value in values.values())
        numbers = NumbersOf(graph, shapes_of(graph), self._opset)
        self._walk(graph, constants, values, numbers, held, turns=1, depth=0)

    def _walk(
        self,
        graph: onnx.GraphProto,
        constants: Constants,
        outer: Mapping[str, _Value],
        numbers: NumbersOf,
        held: int,
        *,
        turns: int,
        depth: int,
    ) -> dict[str, _Value]:
        """Go through the nodes in their order; returns the values of the graph.

        Args:
            graph: with inferred shapes.
            constants: of the graph.
            outer: values that it may take in.
            numbers: that sizes in it are made of.
            held: bytes in use before it.
            turns: how often it is run.
            depth: scans around it.
        """
        values, shapes, widths = {**outer, **_declared(graph)}, shapes_of(graph), _widths(graph)
        last = _last_uses(graph, constants)
        ending: dict[int, list[str]] = {}
        for index, node in enumerate(graph.node):
            where = f"node '{node.name or next(iter(node.output), node.op_type)}'"
            if node.op_type in _ENDLESS:
                raise GraphError(
                    f"has the operator {node.op_type}, whose body may run any number of times"
                    if node.op_type == "Loop"
                    else f"has the operator {node.op_type}, which may give any number of values",
                    where=where,
                    hint="Build the loop over time as a Scan, or name a graph without one.",
                )
            within = constants.bodies.get(index, Constants())
            inner = self._inside(node, within, values, shapes, numbers, held, turns, depth, where)
            for output in filter(None, node.output):
                shape = known_shapes({output: shapes.get(output)}).get(output)
                if shape is None and node.op_type in _MAKERS:
                    shape = numbers.made(node)
                value = self._value(node, shape, inner.get(output), values, widths.get(output, 4), where)
                values[output] = value
                held += value.memory
                ending.setdefault(last.get(output, index), []).append(output)
            self._add(node, values, held, turns, where)
            held -= sum(values[name].memory for name in ending.pop(index, ()))
        return values

    def _inside(
        self,
        node: Any,
        constants: Constants,
        values: Mapping[str, _Value],
        shapes: Mapping[str, Shape],
        numbers: NumbersOf,
        held: int,
        turns: int,
        depth: int,
        where: str,
    ) -> dict[str, int]:
        """Go through the bodies of a node; returns the largest sizes of its outputs."""
        found: dict[str, int] = {}
        for attribute in node.attribute:
            if attribute.type != onnx.AttributeProto.GRAPH:
                continue
            again, inner = 1, depth
            entering = {
                one.name: _Value(None, values[name].elements)
                for one, name in zip(attribute.g.input, node.input, strict=False)
                if name in values
            }
            if node.op_type == "Scan":
                again, inner = _turns(node, attribute.g, shapes, values, depth, where), depth + 1
                if depth and turns * again > MAX_TURNS:
                    raise GraphError(
                        f"is a Scan within a Scan that turns {turns * again:,} times", where=where
                    )
            around = {name: value.shape for name, value in values.items()}
            within = self._walk(
                attribute.g,
                constants,
                {**values, **entering},
                numbers.inside(attribute.g, around | shapes_of(attribute.g)),
                held,
                turns=turns * again,
                depth=inner,
            )
            for leaving, output in zip(attribute.g.output, node.output, strict=False):
                if leaving.name in within:
                    size = within[leaving.name].elements * again
                    found[output] = max(found.get(output, 0), size)
        return found

    def _add(self, node: Any, values: Mapping[str, _Value], held: int, turns: int, where: str) -> None:
        if not self._counts and held > self._limits.memory:
            problem = f"needs {held:,} bytes for the weights and all values that are held at once"
            _refuse(problem, where, self._limits.memory, MEMORY_VARIABLE)
        self._operations += turns * (_CALL + _operations(node, values))
        if self._counts and self._operations > self._limits.operations:
            problem = f"brings the operations of one sample to {self._operations:,}"
            _refuse(problem, where, self._limits.operations, OPERATIONS_VARIABLE)

    def _value(
        self,
        node: Any,
        shape: tuple[int, ...] | None,
        inner: int | None,
        values: Mapping[str, _Value],
        width: int,
        where: str,
    ) -> _Value:
        """What an output of a node takes."""
        kind = node.op_type
        if shape is not None:
            value, most = _Value(shape, prod(shape), width), self._limits.elements
            if kind in _MAKERS:
                most = self._limits.made
            if value.elements > most:
                problem = f"gives the shape {shape}, more than this tool lets a graph compute: "
                _refuse(f"{problem}{value.elements:,} values", where, most, MEMORY_VARIABLE)
            return value
        if kind in _MAKERS or (inner is None and any(one.name == "pads" for one in node.attribute)):
            raise GraphError(
                f"is a {kind} whose size only a run can tell",
                where=where,
                hint="Export the graph with a fixed size there.",
            )
        elements = _at_most(node, values) if inner is None else inner
        if elements > self._limits.elements:
            problem = f"is a {kind} whose size only a run can tell: it may give {elements:,} values"
            _refuse(problem, where, self._limits.elements, MEMORY_VARIABLE)
        return _Value(None, elements, width)


def _refuse(problem: str, where: str, limit: int, variable: str) -> NoReturn:
    raise GraphError(
        f"{problem}, and {limit:,} are allowed",
        where=where,
        hint=f"If you trust the file, allow it more: set the environment variable {variable}.",
    )


def _declared(graph: onnx.GraphProto) -> dict[str, _Value]:
    """The values that a graph starts with: what enters, and its weights."""
    widths, shapes = _widths(graph), known_shapes(shapes_of(graph))
    names = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    found = {
        name: _Value(shapes[name], prod(shapes[name]), widths.get(name, 4)) for name in names & set(shapes)
    }
    for sparse in graph.sparse_initializer:
        found[sparse.values.name] = _Value(tuple(sparse.dims), prod(sparse.dims))
    return found


def _widths(graph: onnx.GraphProto) -> dict[str, int]:
    """Bytes of each element of the values of a graph."""
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kinds[value.name] = value.type.tensor_type.elem_type
    wide = {onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.UINT64}
    narrow = {onnx.TensorProto.BOOL, onnx.TensorProto.INT8, onnx.TensorProto.UINT8}
    return {name: 8 if kind in wide else 1 if kind in narrow else 4 for name, kind in kinds.items()}


def _last_uses(graph: onnx.GraphProto, constants: Constants) -> dict[str, int]:
    """The place of the node after which a value is not needed any more."""
    last = {name: index for index, node in enumerate(graph.node) for name in taken_in(node)}
    # What is worked out before the run stays to its end.
    kept = kept_constants(graph, constants)
    return last | dict.fromkeys({value.name for value in graph.output} | kept, len(graph.node))


def _at_most(node: Any, values: Mapping[str, _Value]) -> int:
    """The largest size of an output that no shape is known of."""
    entering = [values[name] for name in node.input if name in values]
    if node.op_type == "NonZero":
        shape = entering[0].shape if entering else None
        return sum(value.elements for value in entering) * (8 if shape is None else max(1, len(shape)))
    if node.op_type in _MOVING - {"Gather", "Where"}:
        return sum(value.elements for value in entering)
    if node.op_type == "MatMul" and len(entering) == 2:
        return _product_at_most(*entering)
    # Values spread against each other: an outer product, a choice of rows for each index.
    return prod(max(1, value.elements) for value in entering)


def _product_at_most(left: _Value, right: _Value) -> int:
    if right.shape is not None and len(right.shape) == 2:
        return left.elements * right.shape[1] // max(1, right.shape[0])
    if left.shape is not None and len(left.shape) == 2:
        return right.elements * left.shape[0] // max(1, left.shape[1])
    return left.elements * right.elements


def _operations(node: Any, values: Mapping[str, _Value]) -> int:
    """Operations of one execution, at least those that take time: products, taps, values that are moved."""
    entering = [values.get(name, _Value(None, 0)) for name in node.input]
    leaving = sum(values[name].elements for name in node.output if name in values)
    shapes, kind = [value.shape for value in entering], node.op_type
    moved = leaving + sum(value.elements for value in entering)
    if kind in {"MatMul", "MatMulInteger", "Gemm"}:
        left = shapes[0]
        if not left:
            return prod(max(1, value.elements) for value in entering[:2])
        turned = kind == "Gemm" and any(one.name == "transA" and one.i for one in node.attribute)
        return leaving * left[0 if turned else -1]
    if kind in {"Conv", "ConvInteger", "QLinearConv", "DeformConv", "ConvTranspose"}:
        kernel = shapes[3 if kind == "QLinearConv" else 1]
        positions = entering[0].elements if kind == "ConvTranspose" else leaving
        return positions * (prod(kernel[1:]) if kernel else entering[1].elements)
    if kind in {"LSTM", "GRU", "RNN"}:
        rows = shapes[0][:2] if shapes[0] else (entering[0].elements,)
        return prod(rows) * sum(value.elements for value in entering[1:3])
    if kind in _PAIRS:
        largest = sorted((max(1, value.elements) for value in entering), reverse=True)
        return prod((largest * 2)[:2])
    windows = [one for one in node.attribute if one.name == "kernel_shape"]
    return leaving * prod(windows[0].ints) if windows else moved


def _turns(
    node: Any,
    body: onnx.GraphProto,
    shapes: Mapping[str, Shape],
    values: Mapping[str, _Value],
    depth: int,
    where: str,
) -> int:
    """How many times the body of a Scan runs: the length of what it walks along (its first dimension)."""
    walked = next((int(one.i) for one in node.attribute if one.name == "num_scan_inputs"), 0)
    axes = next((list(one.ints) for one in node.attribute if one.name == "scan_input_axes"), [])
    entering = list(node.input)[len(body.input) - walked :]
    name = entering[0] if entering else ""
    # What comes from outside a body has its shape in `values` alone.
    shape = shapes.get(name) or (values[name].shape if name in values else None)
    axis = axes[0] if axes else 0
    length = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    if length is None and depth:
        raise GraphError("is a Scan within a Scan whose length only a run can tell", where=where)
    if length is None:
        length = values[name].elements if name in values else 1
    return max(length, 1)
