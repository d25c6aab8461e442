"""NIR files in and out: read with distrust, written whole, with the time step and reset they mean."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nir
import numpy as np

from nsc_deploy.diagnostics import announce
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.graphs.to_nir import to_nir
from nsc_deploy.io.files import write_bytes
from nsc_deploy.io.hdf5 import check_size, probe, read_file, refuse_broken_seal, sealed
from nsc_deploy.io.text import shown

MAX_EDGES = 100_000
_BROKEN = (AssertionError, TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError)


def read_network(
    path: Path, *, dt: float | None = None, reset: Reset | None = None, signal: Signal | None = None
) -> Network:
    """Read a NIR file of this tool or of any other, and announce what looks like a fault of its writer.

    Args:
        path: the file.
        dt: length of a step in seconds, for a file that does not state it.
        reset: how neurons reset, for a file that does not state it.
        signal: what enters, for a file that does not state it (else real values).

    Raises:
        GraphError: damaged, larger than it should be, or holding what cannot be represented exactly.
    """
    network = assemble(read_graph(path), dt=dt, reset=reset, signal=signal, where=path)
    announce(network.cautions)
    return network


def read_graph(path: Path) -> nir.NIRGraph:
    """Read a NIR file without checking what its nodes mean.

    Raises:
        GraphError: missing, damaged, or holding a node that is no NIR primitive.
    """
    if path.suffix == ".onnx" and path.is_file():
        raise GraphError(
            "is an ONNX graph, which runs on a host, and a NIR graph is wanted",
            where=path,
            remedy="Name one that ends in .nir; 'inspect' and 'energy report' read ONNX graphs too.",
        )
    check_size(path)
    # A checksum speaks against damage, not for whoever made it: the file is tried out all the same.
    refuse_broken_seal(path)
    probe(path)
    tree = read_file(path)
    try:
        return _graph(tree, "")
    except GraphError as error:
        place = path if error.where is None else f"{path}: {error.where}"
        raise GraphError(error.problem, where=place, remedy=error.remedy) from error


def write_network(path: Path, network: Network | nir.NIRGraph) -> None:
    """Write a NIR file, whole or not at all, flat, with its time step and reset in the metadata.

    Raises:
        GraphError: the graph cannot be represented exactly, so it could not be read back.
        UserError: the place cannot be written.
    """
    checked = network if isinstance(network, Network) else assemble(network)
    graph = to_nir(checked)
    # In memory first: the HDF5 library takes the process down with it when its own writes fail.
    content = io.BytesIO()
    nir.write(content, graph)
    write_bytes(path, sealed(content.getvalue()))


def _graph(tree: Mapping[str, Any], prefix: str) -> nir.NIRGraph:
    kind = _kind(tree)
    if kind != "NIRGraph" or not isinstance(tree.get("nodes"), dict) or "edges" not in tree:
        raise GraphError(
            f"is not a NIR graph of nodes and edges (its type is {shown(kind)})",
            where=prefix or None,
            remedy="A nir.write that ended in an error leaves such a file: write it again.",
        )
    nodes = {
        name: _node(subtree, f"{prefix}.{name}" if prefix else name)
        for name, subtree in tree["nodes"].items()
    }
    metadata = _metadata(tree, f"node '{prefix}'" if prefix else None)
    return nir.NIRGraph(nodes, _edges(tree["edges"]), metadata=metadata, type_check=False)


def _node(tree: Any, name: str) -> nir.NIRNode:
    where = f"node '{name}'"
    kind = _kind(tree)
    if kind == "NIRGraph":
        return _graph(tree, name)
    if kind not in _NODE_TYPES:
        raise GraphError(
            f"has the type {shown(kind)}, which is no NIR primitive",
            where=where,
            remedy=f"Known: {', '.join(_NODE_TYPES)}.",
        )
    try:
        return nir.dict2NIRNode({**tree, "metadata": _metadata(tree, where)})
    except _BROKEN as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise GraphError(f"is not a valid {kind} ({reason})", where=where) from error


def _kind(tree: Any) -> str | None:
    """The type a group states; None where it states none, or something that is no text."""
    kind = tree.get("type") if isinstance(tree, dict) else None
    return kind if isinstance(kind, str) else None


def _metadata(tree: Mapping[str, Any], where: str | None) -> dict[str, Any]:
    metadata = tree.get("metadata", {})
    if not isinstance(metadata, dict):
        raise GraphError("has metadata that are no names with values", where=where)
    return metadata


def _edges(value: Any) -> list[tuple[str, str]]:
    if np.size(value) > 2 * MAX_EDGES:
        raise GraphError(f"has more than {MAX_EDGES} edges")
    try:
        return [(_text(source), _text(target)) for source, target in value]
    except (TypeError, ValueError) as error:
        raise GraphError("has edges that are not pairs of names") from error


def _text(value: Any) -> str:
    if not isinstance(value, str | bytes):
        raise TypeError("not a name")
    return value.decode("utf-8") if isinstance(value, bytes) else value


_NODE_TYPES = tuple(
    sorted(
        name
        for name in vars(nir.ir)
        if name[0].isupper()
        and isinstance(getattr(nir.ir, name), type)
        and name not in {"NIRNode", "NIRGraph"}
    )
)
