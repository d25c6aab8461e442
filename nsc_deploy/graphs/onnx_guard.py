"""What a run of an ONNX graph would take, worked out from shapes before onnxruntime is given it.

A few bytes can ask for any amount of memory (a ConstantOfShape, an Expand) or time (a Loop). Nothing here
computes a value: shapes are inferred with the sizes that enter filled in, and a graph whose sizes or turns
cannot be known is refused.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import onnx

from nsc_deploy.errors import GraphError

MAX_ELEMENTS = 2**28
MAX_MADE = 2**26
MAX_TURNS = 10**7
OPEN_SIZE = 64

# Operators whose output may be larger than all that enters them.
_MAKERS = frozenset(
    {"ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Upsample", "Pad", "OneHot", "EyeLike"}
    | {"ConvTranspose", "MaxUnpool", "Einsum", "RandomNormal", "RandomUniform", "GridSample", "AffineGrid"}
    | {"CenterCropPad", "Col2Im", "DFT", "STFT", "BlackmanWindow", "HannWindow", "HammingWindow"}
)

Shape = tuple[int | None, ...] | None


def refuse_unbounded(model: onnx.ModelProto, entering: Sequence[int] | None = None) -> None:
    """Refuse a model that may run without end or take any amount of memory.

    Args:
        model: read and checked.
        entering: shape of what enters the first input; without it each open size is taken as 64.

    Raises:
        GraphError: with the node and what it asks for.
    """
    graph = _inferred(model, entering)
    known = {name: shape for name, shape in _shapes(graph).items() if shape is not None}
    _visit(graph, known, 1, 0)


def _inferred(model: onnx.ModelProto, entering: Sequence[int] | None) -> onnx.GraphProto:
    filled = onnx.ModelProto()
    filled.CopyFrom(model)
    _forget_shapes(filled.graph)
    weights = {tensor.name for tensor in filled.graph.initializer}
    inputs = [value for value in filled.graph.input if value.name not in weights]
    for index, value in enumerate(inputs):
        given = entering if index == 0 else None
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if given is not None and len(given) == len(dims):
                dim.dim_value = int(given[axis])
            elif dim.dim_value < 1:
                dim.dim_value = OPEN_SIZE
    try:
        return onnx.shape_inference.infer_shapes(filled, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise GraphError(f"has shapes that do not fit together ({reason})") from error


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """What the file itself says of shapes may be false; only the input's are needed."""
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _forget_shapes(attribute.g)


def _shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    found: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            found[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
            )
    return found


def _visit(graph: onnx.GraphProto, shapes: Mapping[str, Shape], turns: int, depth: int) -> None:
    for node in graph.node:
        name = node.name or next(iter(node.output), node.op_type)
        where = f"node '{name}'"
        if node.op_type == "Loop":
            raise GraphError(
                "has the operator Loop, whose body may run any number of times",
                where=where,
                remedy="Build the loop over time as a Scan, or name a graph without one.",
            )
        for output in node.output:
            _refuse_size(node.op_type, shapes.get(output), where)
        for attribute in node.attribute:
            if attribute.type != onnx.AttributeProto.GRAPH:
                continue
            again, inner = turns, depth
            if node.op_type == "Scan":
                inner, again = depth + 1, turns * _turns(node, attribute.g, shapes, depth, where)
                if depth and again > MAX_TURNS:
                    raise GraphError(f"is a Scan within a Scan that turns {again:,} times", where=where)
            _visit(attribute.g, {**shapes, **_shapes(attribute.g)}, again, inner)


def _refuse_size(kind: str, shape: Shape, where: str) -> None:
    if shape is None or None in shape:
        if kind in _MAKERS:
            raise GraphError(
                f"is a {kind} whose size only a run can tell",
                where=where,
                remedy="Export the graph with a fixed size there.",
            )
        return
    size = prod(size for size in shape if size is not None)
    if size > (MAX_MADE if kind in _MAKERS else MAX_ELEMENTS):
        raise GraphError(f"gives the shape {shape}, more than this tool lets a graph compute", where=where)


def _turns(node: Any, body: onnx.GraphProto, shapes: Mapping[str, Shape], depth: int, where: str) -> int:
    """How many times the body of a Scan runs: the length of what it walks along (its first dimension)."""
    walked = next((int(one.i) for one in node.attribute if one.name == "num_scan_inputs"), 0)
    axes = next((list(one.ints) for one in node.attribute if one.name == "scan_input_axes"), [])
    entering = list(node.input)[len(body.input) - walked :]
    shape = shapes.get(entering[0]) if entering else None
    axis = axes[0] if axes else 0
    length = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    if length is None and depth:
        raise GraphError("is a Scan within a Scan whose length only a run can tell", where=where)
    return 1 if length is None else max(length, 1)
