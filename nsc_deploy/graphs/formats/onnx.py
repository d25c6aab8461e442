"""ONNX files in and out: read with distrust, written whole.

What this tool writes carries the SHA-256 of its content in the property "digest" of the model, so that a
flipped bit does not pass for a weight.

What a run of an ONNX graph would take, worked out from shapes before onnxruntime is given it.

A few bytes can ask for any amount of memory (a ConstantOfShape, an Expand) or time (a Loop). Nothing here
computes a value: shapes are inferred with the sizes that enter filled in, and a graph whose sizes or turns
cannot be known is refused.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import numpy_helper

from nsc_deploy.errors import GraphError
from nsc_deploy.io.files import unreadable, write_bytes
from nsc_deploy.io.text import CONTROL, printable

DIGEST = "digest"
MAX_BYTES = 2 * 1024**3 - 1
_HINT = "Name an ONNX file, or write this one again."
DOMAINS = frozenset({"", "ai.onnx"})
_MAX_SPARSE = 2**26
_INVALID = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError, RuntimeError)
# Several numbers to a byte, or text of any length.
_PACKED = frozenset(
    getattr(onnx.TensorProto, name)
    for name in ("STRING", "INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1")
    if hasattr(onnx.TensorProto, name)
)


def write_onnx(path: Path, model: onnx.ModelProto) -> None:
    """Write a model, whole or not at all.

    Raises:
        UserError: the place cannot be written.
    """
    stamped = _without_digest(model)
    stamped.metadata_props.add(key=DIGEST, value=_digest(stamped))
    write_bytes(path, stamped.SerializeToString(deterministic=True))


def read_onnx(path: Path) -> onnx.ModelProto:
    """Read a model that stands in one file and uses standard operators only.

    Raises:
        GraphError: missing, damaged, too large, with data in other files or operators of its own.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise GraphError(f"has {size} bytes, more than an ONNX file can have", where=path)
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    except (DecodeError, RecursionError) as error:
        raise GraphError("is not an ONNX file, or is damaged", where=path, hint=_HINT) from error
    try:
        _refuse_damaged(model)
        _refuse_functions(model)
        for text in _texts(model):
            _refuse_unprintable(text)
        for graph in graphs_of(model.graph):
            _refuse_foreign(graph)
        onnx.checker.check_model(model, full_check=True)
    except GraphError as error:
        raise GraphError(error.problem, where=path, hint=error.hint) from error
    except (
        onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise GraphError(f"is not a valid ONNX model ({reason})", where=path, hint=_HINT) from error
    return model


def _refuse_damaged(model: onnx.ModelProto) -> None:
    stated = [prop.value for prop in model.metadata_props if prop.key == DIGEST]
    if stated and stated != [_digest(_without_digest(model))]:
        raise GraphError(
            "is damaged: its content and its digest differ",
            hint=f"Take it from its source again; after a deliberate edit delete the property '{DIGEST}'.",
        )


def _without_digest(model: onnx.ModelProto) -> onnx.ModelProto:
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    kept = [prop for prop in model.metadata_props if prop.key != DIGEST]
    del bare.metadata_props[:]
    bare.metadata_props.extend(kept)
    return bare


def _digest(model: onnx.ModelProto) -> str:
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from graphs_of(inner)


def _refuse_functions(model: onnx.ModelProto) -> None:
    """A function can stand for a standard operator and call itself."""
    if model.functions:
        raise GraphError(
            f"defines {len(model.functions)} functions of its own, '{model.functions[0].name}' for one",
            hint="Write their operators out: onnx.inliner.inline_local_functions(model)",
        )


def _refuse_foreign(graph: onnx.GraphProto) -> None:
    """Data outside of the file could be any file of the machine; own operators could be any code."""
    for tensor in graph.initializer:
        _refuse_tensor(tensor, tensor.name)
    for sparse in graph.sparse_initializer:
        _refuse_sparse(sparse, sparse.values.name)
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise GraphError(f"uses the operator {node.domain}.{node.op_type}, which is not ONNX's own")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH and not attribute.HasField("g"):
                raise GraphError(f"lacks the body of node '{node.name}'")
            for tensor in (attribute.t, *attribute.tensors):
                _refuse_tensor(tensor, node.name)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                _refuse_sparse(sparse, node.name)


def _texts(message: Message) -> Iterator[object]:
    """Every text of a message and of those inside it, but for comments, which nothing shows."""
    for field, value in message.ListFields():
        several = [value] if isinstance(value, str | bytes | Message) else value
        if field.type == field.TYPE_MESSAGE:
            for inner in several:
                yield from _texts(inner)
        elif field.type == field.TYPE_STRING and field.name != "doc_string":
            yield from several


def _refuse_unprintable(text: object) -> None:
    """Protobuf gives out as bytes what is not UTF-8."""
    if not isinstance(text, str) or CONTROL.search(text):
        raise GraphError(f"holds {printable(repr(text), 60)}, which is no text that can be shown")


def _refuse_tensor(tensor: onnx.TensorProto, name: str) -> None:
    """Data elsewhere, or a shape that the data here do not fill."""
    if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise GraphError(
            f"keeps the data of '{name}' in another file",
            hint="Save it as one file: onnx.save(model, path, save_as_external_data=False)",
        )
    if tensor.data_type == onnx.TensorProto.UNDEFINED and not tensor.dims:
        return  # not there
    if not _filled(tensor):
        raise GraphError(f"claims the shape {tuple(tensor.dims)} for '{name}' but does not hold that much")
    if not _finite(tensor):
        raise GraphError(
            f"holds NaN or infinity in '{name}'", hint="Write it anew with finite numbers in all weights."
        )


def _filled(tensor: onnx.TensorProto) -> bool:
    """Whether the data are as long as the shape says; looked at before anything is unpacked."""
    count: int = prod(tensor.dims)
    if any(size < 0 for size in tensor.dims):
        return False
    try:
        if tensor.HasField("raw_data") and tensor.data_type not in _PACKED:
            width = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            return len(tensor.raw_data) == count * int(width)
        return count <= tensor.ByteSize() * 2 and int(numpy_helper.to_array(tensor).size) == count
    except (ValueError, TypeError, KeyError, OverflowError):
        return False


def _finite(tensor: onnx.TensorProto) -> bool:
    if tensor.data_type == onnx.TensorProto.STRING:
        return True
    array = numpy_helper.to_array(tensor)
    # Floats narrower than numpy's own are of kind V.
    wide = array.astype(np.float32) if array.dtype.kind == "V" else array
    return bool(np.isfinite(wide).all())


def _refuse_sparse(tensor: onnx.SparseTensorProto, name: str) -> None:
    """Onnxruntime writes them out in full."""
    if prod(tensor.dims) > _MAX_SPARSE or any(size < 0 for size in tensor.dims):
        raise GraphError(f"claims the shape {tuple(tensor.dims)} for the sparse '{name}'")
    _refuse_tensor(tensor.values, name)
    _refuse_tensor(tensor.indices, name)


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
                hint="Build the loop over time as a Scan, or name a graph without one.",
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
                hint="Export the graph with a fixed size there.",
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
