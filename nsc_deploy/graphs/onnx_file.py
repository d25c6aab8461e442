"""ONNX files in and out: read with distrust, written whole.

What this tool writes carries the SHA-256 of its content in the property "digest" of the model, so that a
flipped bit does not pass for a weight.
"""

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from nsc_deploy.errors import GraphError
from nsc_deploy.files import write_bytes
from nsc_deploy.refusals import unreadable

DIGEST = "digest"
MAX_BYTES = 2 * 1024**3 - 1
_REMEDY = "Name an ONNX file, or write this one again."
DOMAINS = frozenset({"", "ai.onnx"})


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
        raise GraphError("is not an ONNX file, or is damaged", where=path, remedy=_REMEDY) from error
    try:
        _refuse_damaged(model)
        _refuse_foreign(model.graph)
        onnx.checker.check_model(model, full_check=True)
    except GraphError as error:
        raise GraphError(error.problem, where=path, remedy=error.remedy) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise GraphError(f"is not a valid ONNX model ({reason})", where=path, remedy=_REMEDY) from error
    return model


def _refuse_damaged(model: onnx.ModelProto) -> None:
    stated = [prop.value for prop in model.metadata_props if prop.key == DIGEST]
    if stated and stated != [_digest(_without_digest(model))]:
        raise GraphError(
            "is damaged: its content and its digest differ",
            remedy=f"Take it from its source again; after a deliberate edit delete the property '{DIGEST}'.",
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


def _refuse_foreign(graph: onnx.GraphProto) -> None:
    """Data outside of the file could be any file of the machine; own operators could be any code."""
    for tensor in graph.initializer:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise GraphError(
                f"keeps the data of '{tensor.name}' in another file",
                remedy="Save it as one file: onnx.save(model, path, save_as_external_data=False)",
            )
    for node in graph.node:
        if node.domain not in DOMAINS:
            raise GraphError(f"uses the operator {node.domain}.{node.op_type}, which is not ONNX's own")
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs):
                _refuse_foreign(subgraph)
            if attribute.t.external_data:
                raise GraphError(f"keeps the data of node '{node.name}' in another file")
