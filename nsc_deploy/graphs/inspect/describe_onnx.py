"""An ONNX file in the same terms as a NIR file."""

from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper

from nsc_deploy.graphs.formats.onnx import DIGEST, read_onnx
from nsc_deploy.graphs.inspect.describe import Description, NodeView, Range, Size, plain, range_of
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.onnx_network import stated_by, unique_names


def describe_onnx(
    path: Path, *, dt: float | None = None, reset: Reset | None = None, signal: Signal | None = None
) -> Description:
    """Read and describe an ONNX file.

    Args:
        path: the file.
        dt: for a file that does not state it.
        reset: of no ONNX file, and refused.
        signal: for a file that does not state it.

    Raises:
        GraphError: the file is damaged, holds something foreign, or states something else.
    """
    model = read_onnx(path)
    step, enters = stated_by(model, path, dt=dt, reset=reset, signal=signal)
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.input, *graph.output)}
    ranges = {
        tensor.name: range_of(tensor.name, numpy_helper.to_array(tensor)) for tensor in graph.initializer
    }
    entering = [info for info in graph.input if info.name not in ranges]
    names = unique_names(
        [
            *(info.name for info in (*entering, *graph.output)),
            *(node.name or next(filter(None, node.output), node.op_type) for node in graph.node),
        ]
    )
    inputs, outputs = names[: len(entering)], names[len(entering) : len(names) - len(graph.node)]
    operators = names[len(names) - len(graph.node) :]
    makers = dict(zip((info.name for info in entering), inputs, strict=True))
    for name, node in zip(operators, graph.node, strict=True):
        makers |= dict.fromkeys(node.output, name)
    nodes = (
        *(
            _terminal(name, info, "Input", (), shapes, enters)
            for name, info in zip(inputs, entering, strict=True)
        ),
        *(
            _view(name, node, makers, ranges, shapes)
            for name, node in zip(operators, graph.node, strict=True)
        ),
        *(
            _terminal(name, info, "Output", (makers.get(info.name, info.name),), shapes)
            for name, info in zip(outputs, graph.output, strict=True)
        ),
    )
    metadata = {prop.key: prop.value for prop in model.metadata_props if prop.key != DIGEST}
    return Description(
        file=str(path),
        format="ONNX",
        dt=step,
        reset=None,
        metadata={**metadata, "producer": f"{model.producer_name} {model.producer_version}".strip()},
        neurons=0,
        synapses=0,
        parameters=sum(prod(array.shape) for view in nodes for array in view.parameters),
        nodes=nodes,
    )


def _view(
    name: str,
    node: Any,
    makers: dict[str, str],
    ranges: dict[str, Range],
    shapes: dict[str, tuple[Size, ...]],
) -> NodeView:
    inner = [ranges_of for attribute in node.attribute for ranges_of in _inner(attribute)]
    entering = [one for one in node.input if one and one not in ranges]
    return NodeView(
        name=name,
        primitive=node.op_type,
        inputs=tuple(dict.fromkeys(makers.get(one, one) for one in entering)),
        delayed_inputs=(),
        input_shape=shapes.get(entering[-1], ()) if entering else (),
        output_shape=shapes.get(node.output[-1], ()),
        emits=None,
        neurons=0,
        synapses=0,
        zero_weights=None,
        parameters=(*(ranges[one] for one in node.input if one in ranges), *inner),
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


def _terminal(
    name: str,
    info: Any,
    kind: str,
    inputs: tuple[str, ...],
    shapes: dict[str, tuple[Size, ...]],
    emits: Signal | None = None,
) -> NodeView:
    shape = shapes[info.name]
    carried = None if emits is None else emits.value
    return NodeView(name, kind, inputs, (), shape, shape, carried, 0, 0, None, (), {})


def _shape(info: Any) -> tuple[Size, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else _open_size(dim.dim_param)
        for dim in info.type.tensor_type.shape.dim
    )


def _open_size(name: str) -> str:
    """The name of a size that the file leaves open; shape inference makes some up where it knows none."""
    return "?" if not name or name.startswith("unk__") else name
