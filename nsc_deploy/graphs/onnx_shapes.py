"""Shapes of the values of an ONNX graph, inferred with the sizes that enter filled in; nothing is run."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import onnx

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.onnx_numbers import NumbersOf

OPEN_SIZE = 64
"""What a size is taken for that the file leaves open and nobody states."""
_WRITTEN_OUT = 2**12
"""Constants of more values take no part in shape inference, and are left out of its copy of the model."""
Shape = tuple[int | None, ...] | None


def infer_shapes(model: onnx.ModelProto, entering: Sequence[int] | None = None) -> onnx.GraphProto:
    """The graph with the shapes of its values, those of what enters filled in.

    Args:
        model: read and checked; stays as it is.
        entering: shape of what enters the first input; without it each open size is taken as 64.

    Returns:
        A copy without large weights, which stand among its inputs: what the file says of the shapes of
        other values is not believed.

    Raises:
        GraphError: shapes that do not fit together.
    """
    sketch = _sketch(model, entering)
    try:
        plain = onnx.shape_inference.infer_shapes(sketch)
        followed = _can_follow_values(
            plain.graph, NumbersOf(plain.graph, shapes_of(plain.graph), opset_of(model))
        )
        return (onnx.shape_inference.infer_shapes(sketch, data_prop=True) if followed else plain).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise GraphError(f"has shapes that do not fit together ({reason})") from error


def shapes_of(graph: onnx.GraphProto) -> dict[str, Shape]:
    """Shapes of the values of an inferred graph, without those inside its nodes; None for an open size."""
    found: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape"):
            found[value.name] = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
            )
    return found


def _sketch(model: onnx.ModelProto, entering: Sequence[int] | None) -> onnx.ModelProto:
    """A copy with the sizes that enter, without what the file says of shapes, and without large weights."""
    sketch = onnx.ModelProto(ir_version=model.ir_version)
    sketch.opset_import.extend(model.opset_import)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sketch.graph.name = model.graph.name
    sketch.graph.input.extend(inputs)
    for index, value in enumerate(sketch.graph.input):
        given = entering if index == 0 else None
        dims = value.type.tensor_type.shape.dim
        for axis, dim in enumerate(dims):
            if given is not None and len(given) == len(dims):
                dim.dim_value = int(given[axis])
            elif dim.dim_value < 1:
                dim.dim_value = OPEN_SIZE
    _copy(model.graph, sketch.graph, sketch.graph, {value.name for value in inputs})
    return sketch


def _copy(source: onnx.GraphProto, target: onnx.GraphProto, main: onnx.GraphProto, names: set[str]) -> None:
    target.node.extend(source.node)
    # What enters may leave as it is: its type is stated once.
    leaving = (value.name for value in source.output if target is not main or value.name not in names)
    target.output.extend(onnx.ValueInfoProto(name=name) for name in leaving)
    target.sparse_initializer.extend(source.sparse_initializer)
    for tensor in source.initializer:
        if prod(tensor.dims) <= _WRITTEN_OUT or tensor.name in names:
            target.initializer.append(tensor)
        else:
            # A body sees what is declared in the main graph.
            kind, sizes = tensor.data_type, list(tensor.dims)
            main.input.append(onnx.helper.make_tensor_value_info(tensor.name, kind, sizes))
            names.add(tensor.name)
    for node, other in zip(source.node, target.node, strict=True):
        for attribute, again in zip(node.attribute, other.attribute, strict=True):
            if attribute.type == onnx.AttributeProto.GRAPH:
                again.g.Clear()
                again.g.name = attribute.g.name
                again.g.input.extend(attribute.g.input)
                _copy(attribute.g, again.g, main, names)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    return next((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)


def _can_follow_values(graph: onnx.GraphProto, numbers: NumbersOf) -> bool:
    """Whether the integers that shapes are made of stay few: inference holds them one by one.

    It writes a Range out in full, in bodies too, however long it is.
    """
    shapes = shapes_of(graph)
    makers = {output: node for node in graph.node for output in node.output}
    most: dict[str, int] = {
        name: prod(shape) for name, shape in known_shapes(shapes).items() if len(shape) < 2
    }
    for node in graph.node:
        entering = [most.get(name, 1) for name in node.input if name]
        bodies = (attribute.g for attribute in node.attribute if attribute.HasField("g"))
        if any(not _can_follow_values(body, numbers.inside(body, shapes_of(body))) for body in bodies):
            return False
        if node.op_type == "Range" and (numbers.made(node) or (_WRITTEN_OUT + 1,))[0] > _WRITTEN_OUT:
            return False
        if node.op_type == "ConstantOfShape" and not (node.output and shapes.get(node.output[0])):
            maker = makers.get(node.input[0])
            if _holds_integers(node) and not (maker is not None and maker.op_type == "Shape"):
                return False
        bound = sum(entering) if node.op_type == "Concat" else max(entering, default=1)
        for output in node.output:
            size = most.setdefault(output, bound)
            if size > _WRITTEN_OUT and node.op_type in {"Concat", "ConstantOfShape"}:
                return False
    return True


def _holds_integers(node: Any) -> bool:
    return any(attribute.t.data_type != onnx.TensorProto.FLOAT for attribute in node.attribute)


def known_shapes(shapes: Mapping[str, Shape]) -> dict[str, tuple[int, ...]]:
    """The shapes without an open size."""
    return {
        name: tuple(size or 0 for size in shape)
        for name, shape in shapes.items()
        if shape is not None and None not in shape
    }
