"""An ONNX file in the same terms as a NIR file."""

from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from nsc_deploy.graphs.formats.onnx import DIGEST, read_onnx
from nsc_deploy.graphs.inspect.describe import Description, NodeView, Range, Size, plain, range_of


def describe_onnx(path: Path) -> Description:
    """Read and describe an ONNX file.

    Raises:
        GraphError: the file is damaged or holds something foreign.
    """
    model = read_onnx(path)
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.input, *graph.output)}
    ranges = {
        tensor.name: range_of(tensor.name, numpy_helper.to_array(tensor)) for tensor in graph.initializer
    }
    makers = {output: _name(node) for node in graph.node for output in node.output}
    nodes = (
        *(_terminal(info, "Input", (), shapes) for info in graph.input if info.name not in ranges),
        *(_view(node, makers, ranges, shapes) for node in graph.node),
        *(_terminal(info, "Output", (makers.get(info.name, info.name),), shapes) for info in graph.output),
    )
    metadata = {prop.key: prop.value for prop in model.metadata_props if prop.key != DIGEST}
    return Description(
        file=str(path),
        format="ONNX",
        dt=_number(metadata.get("dt")),
        reset=None,
        metadata={**metadata, "producer": f"{model.producer_name} {model.producer_version}".strip()},
        neurons=0,
        synapses=0,
        parameters=sum(prod(array.shape) for view in nodes for array in view.parameters),
        nodes=nodes,
    )


def _view(
    node: Any, makers: dict[str, str], ranges: dict[str, Range], shapes: dict[str, tuple[Size, ...]]
) -> NodeView:
    inner = [ranges_of for attribute in node.attribute for ranges_of in _inner(attribute)]
    entering = [name for name in node.input if name and name not in ranges]
    return NodeView(
        name=_name(node),
        primitive=node.op_type,
        inputs=tuple(dict.fromkeys(makers.get(name, name) for name in entering)),
        delayed_inputs=(),
        input_shape=shapes.get(entering[-1], ()) if entering else (),
        output_shape=shapes.get(node.output[-1], ()),
        emits=None,
        neurons=0,
        synapses=0,
        zero_weights=None,
        parameters=(*(ranges[name] for name in node.input if name in ranges), *inner),
        settings=_settings(node),
    )


def _inner(attribute: Any) -> list[Range]:
    return [range_of(tensor.name, numpy_helper.to_array(tensor)) for tensor in attribute.g.initializer]


def _settings(node: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            settings["each step"] = ", ".join(inner.op_type for inner in attribute.g.node)
        elif attribute.type != onnx.AttributeProto.TENSOR:
            settings[attribute.name] = plain(onnx.helper.get_attribute_value(attribute))
    return settings


def _terminal(info: Any, kind: str, inputs: tuple[str, ...], shapes: dict[str, tuple[Size, ...]]) -> NodeView:
    shape = shapes[info.name]
    return NodeView(info.name, kind, inputs, (), shape, shape, None, 0, 0, None, (), {})


def _name(node: Any) -> str:
    return str(node.name or node.output[0])


def _shape(info: Any) -> tuple[Size, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else _open_size(dim.dim_param)
        for dim in info.type.tensor_type.shape.dim
    )


def _open_size(name: str) -> str:
    """The name of a size that the file leaves open; shape inference makes some up where it knows none."""
    return "?" if not name or name.startswith("unk__") else name


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
