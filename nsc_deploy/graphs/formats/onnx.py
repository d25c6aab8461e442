"""ONNX files in and out: read with distrust, written whole.

What this tool writes carries the SHA-256 of its content in the property "digest" of the model, so that a
flipped bit does not pass for a weight.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from numpy.typing import NDArray
from onnx import numpy_helper

from nsc_deploy.errors import GraphError
from nsc_deploy.io.files import read_limited, unreadable, write_bytes
from nsc_deploy.io.text import CONTROL, printable

DIGEST = "digest"
MAX_BYTES = 2 * 1024**3 - 1
_HINT = "Name an ONNX file, or write this one again."
_FINITE = "Write it anew with finite numbers in all weights."
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
        content = read_limited(path, MAX_BYTES)
        if content is None:
            raise GraphError(f"has more than {MAX_BYTES} bytes, which an ONNX file can have", where=path)
        model = onnx.ModelProto.FromString(content)
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    except (DecodeError, RecursionError) as error:
        raise GraphError("is not an ONNX file, or is damaged", where=path, hint=_HINT) from error
    try:
        _refuse_damaged(model)
        _refuse_functions(model)
        for text in _texts(model):
            _refuse_unprintable(text)
        graphs = list(graphs_of(model.graph))
        for graph in graphs:
            _refuse_foreign(graph)
        _refuse_sparse(graphs)
        _refuse_infinite_weights(model.graph, {})
        if any(True for graph in graphs for _ in _sparse_of(graph)):
            onnx.checker.check_model(model)
            for graph in graphs:
                _write_out_sparse(graph)
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
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise GraphError(f"uses the operator {node.domain}.{node.op_type}, which is not ONNX's own")
        _refuse_split(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH and not attribute.HasField("g"):
                raise GraphError(f"lacks the body of node '{node.name}'")
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                _refuse_tensor(tensor, node.name)


def _refuse_split(node: onnx.NodeProto) -> None:
    """Shape inference would write out every part."""
    parts = next((one.i for one in node.attribute if one.name == "num_outputs"), len(node.output))
    if node.op_type == "Split" and parts != len(node.output):
        raise GraphError(f"splits into {parts:,} parts in '{node.name}', and names {len(node.output)}")


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
    if tensor.data_type == onnx.TensorProto.UNDEFINED:
        raise GraphError(f"does not say of what type '{name}' is")
    if not _filled(tensor):
        raise GraphError(f"claims the shape {tuple(tensor.dims)} for '{name}' but does not hold that much")
    if np.isnan(_wide(tensor)).any():
        raise GraphError(f"holds NaN in '{name}'", hint=_FINITE)


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


def _wide(tensor: onnx.TensorProto) -> NDArray[Any]:
    """The values where they may be other than finite numbers; none of them else."""
    if tensor.data_type == onnx.TensorProto.STRING:
        return np.zeros(0)
    array = numpy_helper.to_array(tensor)
    # Floats narrower than numpy's own are of kind V.
    wide = array.astype(np.float32) if array.dtype.kind == "V" else array
    return wide if wide.dtype.kind in "fc" else np.zeros(0)


# Where an infinity is a bound, or what a mask or a choice puts in place of a value.
_BOUNDS = frozenset(
    {"Where", "Clip", "Max", "Min", "Pad", "ReduceMax", "ReduceMin", "IsInf", "IsNaN"}
    | {"Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal"}
)
_CARRIES = frozenset(
    {"Identity", "Cast", "CastLike", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"}
    | {"Tile", "Concat", "Slice", "Split", "Gather", "Trilu", "ConstantOfShape", "Constant"}
)


def _refuse_infinite_weights(graph: onnx.GraphProto, around: Mapping[str, bool]) -> None:
    """Refuse infinity where values are multiplied or added; masks of 0 and -infinity may be added.

    Args:
        graph: read, its data in it.
        around: constants around it that hold infinity, and whether each is such a mask.
    """
    held = dict(around)
    for tensor in graph.initializer:
        _note(held, [tensor.name], _wide(tensor))
    for node in graph.node:
        entering = [name for name in node.input if name in held]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                inner = dict(zip((one.name for one in attribute.g.input), node.input, strict=False))
                known = {name: held[outer] for name, outer in inner.items() if outer in held}
                _refuse_infinite_weights(attribute.g, held | known)
            elif node.op_type in _CARRIES:
                _note(held, node.output, _written_in(attribute))
        if entering and node.op_type in _CARRIES:
            held.update(dict.fromkeys(node.output, all(held[name] for name in entering)))
        elif entering and not _takes_infinity(node, held):
            raise GraphError(
                f"holds infinity in '{entering[0]}', with which {node.op_type} "
                f"'{node.name or next(iter(node.output), '')}' computes",
                hint=_FINITE,
            )


def _takes_infinity(node: onnx.NodeProto, held: Mapping[str, bool]) -> bool:
    if node.op_type == "Add":
        return all(held.get(name, True) for name in node.input)
    return node.op_type in _BOUNDS or any(attribute.HasField("g") for attribute in node.attribute)


def _note(held: dict[str, bool], names: Sequence[str], values: NDArray[Any]) -> None:
    if np.isinf(values).any():
        held.update(dict.fromkeys(names, bool(((values == 0) | (values == -np.inf)).all())))


def _written_in(attribute: onnx.AttributeProto) -> NDArray[Any]:
    if attribute.HasField("t"):
        return _wide(attribute.t)
    return np.array([attribute.f, *attribute.floats])


def _sparse_of(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.SparseTensorProto]]:
    for sparse in graph.sparse_initializer:
        yield sparse.values.name, sparse
    for node in graph.node:
        for attribute in node.attribute:
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                if sparse.dims:
                    yield node.name, sparse


def _refuse_sparse(graphs: Sequence[onnx.GraphProto]) -> None:
    """What is written out in full must not be more than a file could hold."""
    elements = 0
    for name, tensor in (one for graph in graphs for one in _sparse_of(graph)):
        elements += prod(tensor.dims)
        if elements > _MAX_SPARSE or any(size < 0 for size in tensor.dims):
            raise GraphError(f"claims the shape {tuple(tensor.dims)} for the sparse '{name}'")
        _refuse_tensor(tensor.values, name)
        _refuse_tensor(tensor.indices, name)


def _write_out_sparse(graph: onnx.GraphProto) -> None:
    """Make dense constants of sparse ones: shape inference and most readers know no others."""
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
                attribute.CopyFrom(onnx.helper.make_attribute("value", _dense(attribute.sparse_tensor)))


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Places are counted through the whole tensor, or named axis by axis."""
    values, places = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    written = np.zeros(prod(sparse.dims), values.dtype)
    if places.ndim == 2:
        places = np.ravel_multi_index(tuple(places.T), tuple(sparse.dims))
    written[places] = values
    return numpy_helper.from_array(written.reshape(sparse.dims), sparse.values.name)
