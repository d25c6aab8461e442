"""NIR files in and out: read with distrust, written whole, with the time step and reset they mean.

A file that this tool writes is flat, states every shape, and holds time step, reset and late edges in the
metadata of the graph.

It ends in a seal, the SHA-256 of what lies before, so that a flipped bit does not pass for a weight. HDF5
readers stop at the end that the file's own header states and never see it. A tool that writes the file anew
leaves it out, and the file is then one of another tool. Anybody can make a seal, so it spares no file the
other process; but content that has been read there, or written here, is known by its digest.
"""

import copy
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np

import nsc_deploy
from nsc_deploy.diagnostics import announce
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble, in_file
from nsc_deploy.graphs.formats.recording import stated_signal
from nsc_deploy.graphs.network import Network, Node, Reset, Signal
from nsc_deploy.graphs.readout import with_readout
from nsc_deploy.io.files import unreadable, write_bytes
from nsc_deploy.io.hdf5 import read_tree
from nsc_deploy.io.sandbox import Tree, read_apart
from nsc_deploy.io.text import shown

MAX_FILE_BYTES = 4 * 1024**3
_SEAL = b"\nnsc-deploy sha256 "
_SEAL_BYTES = len(_SEAL) + 64
_PIECE = 2**20
# Digests of sealed contents that the library is known to read to their end.
_harmless: set[bytes] = set()
MAX_EDGES = 100_000
_BROKEN = (AssertionError, TypeError, KeyError, ValueError, AttributeError, IndexError, OverflowError)

MAX_METADATA = 2**20


def read_network(
    path: Path,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    signal: Signal | None = None,
    recorded_dt: float | None = None,
) -> Network:
    """Read a NIR file of this tool or of any other, and announce what looks like a fault of its writer.

    Args:
        path: the file.
        dt: length of a step in seconds, for a file that does not state it.
        reset: how neurons reset, for a file that does not state it.
        signal: what enters, for a file that does not state it (else real values).
        recorded_dt: step of the inputs that it is read for, taken where neither the file nor `dt` has one.

    Raises:
        GraphError: damaged, larger than it should be, or holding what cannot be represented exactly.
    """
    return assemble_network(
        read_graph(path), dt=dt, reset=reset, signal=signal, recorded_dt=recorded_dt, where=path
    )


def assemble_network(
    graph: nir.NIRGraph,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    signal: Signal | None = None,
    recorded_dt: float | None = None,
    where: object | None = None,
) -> Network:
    """As `read_network`, of a graph in memory; `where` is what messages call it."""
    if dt is None and "dt" not in (graph.metadata or {}):
        dt = recorded_dt
    network = assemble(graph, dt=dt, reset=reset, signal=signal, where=where)
    for diagnostic in network.diagnostics:
        announce(diagnostic)
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
            hint="Name one that ends in .nir; 'inspect' and 'energy report' read ONNX graphs too.",
        )
    tree = read_graph_group(path)
    with in_file(path):
        return _graph(tree, "")


def write_network(path: Path, network: Network | nir.NIRGraph) -> None:
    """Write a NIR file, whole or not at all, flat, with its time step and reset in the metadata.

    Raises:
        GraphError: the graph cannot be represented exactly, so it could not be read back.
        UserError: the place cannot be written.
    """
    checked = network if isinstance(network, Network) else assemble(network)
    graph = to_nir(checked)
    _require_names(graph.nodes, "node")
    for name, node in graph.nodes.items():
        _require_names(node.metadata, f"metadata of node '{name}'")
    _require_names(graph.metadata, "metadata")
    # In memory first: the HDF5 library takes the process down with it when its own writes fail.
    content = io.BytesIO()
    nir.write(content, graph)
    write_sealed(path, content.getvalue())


def _require_names(named: Mapping[str, Any], where: str) -> None:
    """Refuse names that HDF5 takes for a path, or for no name at all."""
    for name, value in named.items():
        if name in {"", "."} or "/" in name or "\0" in name or not _is_unicode(name):
            raise GraphError(
                f"is called {shown(name)}, which no NIR file can hold",
                where=where,
                hint="Give it a name of its own, without a slash: a file keeps names as those of its groups.",
            )
        if isinstance(value, Mapping):
            _require_names(value, where)


def _is_unicode(name: str) -> bool:
    return name.encode(errors="ignore").decode() == name


def _graph(tree: Mapping[str, Any], prefix: str) -> nir.NIRGraph:
    kind = _kind(tree)
    if kind != "NIRGraph" or not isinstance(tree.get("nodes"), dict) or "edges" not in tree:
        raise GraphError(
            f"is not a NIR graph of nodes and edges (its type is {shown(kind)})",
            where=prefix or None,
            hint="A nir.write that ended in an error leaves such a file: write it again.",
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
            hint=f"Known: {', '.join(_NODE_TYPES)}.",
        )
    # Writers leave the field out where they do not know it, for HDF5 has no None; the Input may state it.
    open_shape = {"input_shape": None} if kind in {"Conv1d", "Conv2d"} else {}
    try:
        return nir.dict2NIRNode({**open_shape, **tree, "metadata": _metadata(tree, where)})
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
    size = _size(metadata)
    if size > MAX_METADATA:
        raise GraphError(
            f"has metadata of {size:,} bytes, and {MAX_METADATA:,} are allowed",
            where=where,
            hint="Metadata are a few words about a graph: take them out, or keep them in another file.",
        )
    return metadata


def _size(value: Any) -> int:
    """Bytes of a tree, roughly."""
    if isinstance(value, dict):
        return sum(len(name) + _size(one) for name, one in value.items())
    if isinstance(value, np.ndarray) and value.dtype.hasobject:
        return sum(len(text) for text in value.flat)
    return len(value) if isinstance(value, str) else int(value.nbytes)


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
        and issubclass(getattr(nir.ir, name), nir.NIRNode)
        and name not in {"NIRNode", "NIRGraph"}
    )
)


def to_nir(network: Network) -> nir.NIRGraph:
    """A network as a flat NIR graph, every shape stated; time step, reset and units are in the metadata."""
    metadata = {**network.metadata, **graph_metadata(network.dt, network.reset)}
    metadata.pop("late_edges", None)
    if network.back_edges:
        metadata["late_edges"] = json.dumps(sorted(network.back_edges))
    edges = [(source, node.name) for node in network.nodes for source in node.inputs]
    nodes = {node.name: node_to_nir(node) for node in network.nodes}
    return nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False)


def graph_metadata(dt: float | None, reset: Reset | None) -> dict[str, Any]:
    """What the metadata of a graph of this tool holds."""
    metadata: dict[str, Any] = {"units": "s", "generator": f"nsc-deploy {nsc_deploy.__version__}"}
    if dt is not None:
        metadata["dt"] = float(dt)
    if reset is not None:
        metadata |= {"reset": reset.value, "reset_delay": False}
    return metadata


def node_to_nir(node: Node) -> nir.NIRNode:
    """One node, its shapes filled in where the file it came from left them open."""
    clean = copy.copy(node.parameters)
    clean.metadata = dict(clean.metadata)
    clean.input_type = {"input": np.array(node.input_shape)}
    clean.output_type = {"output": np.array(node.output_shape)}
    if node.primitive == "Input":
        # Real values are what is taken where nobody says it, and no file is to say what nobody did.
        if node.emits is not Signal.REAL:
            clean.metadata["signal"] = node.emits.value
    elif node.primitive == "Conv1d":
        clean.input_shape = node.input_shape[1]
        clean.stride, clean.dilation = clean.stride[0], clean.dilation[0]
        clean.padding = clean.padding if isinstance(clean.padding, str) else clean.padding[0]
    elif node.primitive == "Conv2d":
        clean.input_shape = node.input_shape[1:]
    elif node.primitive.endswith("Pool2d"):
        for field in ("kernel_size", "stride", "padding"):
            setattr(clean, field, np.array(getattr(clean, field)))
    return clean


@dataclass(frozen=True)
class GraphOptions:
    """What a NIR file may leave open: see `read_network`, and `with_readout` for the classes."""

    dt: float | None = None
    reset: Reset | None = None
    signal: Signal | None = None
    classes: int | None = None

    @classmethod
    def of(
        cls, dt: float | None, reset: str | None, signal: str | None, classes: int | None = None
    ) -> "GraphOptions":
        """From the texts of the command line."""
        how = None if reset is None else Reset(reset)
        return cls(dt, how, None if signal is None else Signal(signal), classes)

    def read(self, path: Path, inputs: Path | None = None) -> Network:
        """Read a file with these options.

        Args:
            path: the graph.
            inputs: a recording, which says what enters where neither the file nor the options do.
        """
        network = read_network(path, dt=self.dt, reset=self.reset, signal=self.signal)
        if inputs is not None and self.signal is None and not _says_what_enters(network):
            signal = stated_signal(inputs)
            if signal not in {None, network.input_node.emits}:
                network = read_network(path, dt=self.dt, reset=self.reset, signal=signal)
        return with_readout(network, self.classes)


def _says_what_enters(network: Network) -> bool:
    """Whether the one Input states a signal."""
    return "signal" in network.input_node.parameters.metadata


def read_graph_group(path: Path) -> Tree:
    """The "node" group of a NIR file, after a look at its size and its seal, read in another process.

    Returns:
        Nested dictionaries of numpy arrays, numpy scalars and text.

    Raises:
        GraphError: missing, larger than 4 GiB, damaged, without such a group, or holding links out of the
            tree or back into it, too many or too large objects, or types that are neither numbers nor text.
    """
    _check_size(path)
    digest = sealed_digest(path)
    if digest in _harmless:
        return read_tree(path)
    tree = read_apart(path, read_tree)
    if digest is not None:
        _harmless.add(digest)
    return tree


def write_sealed(path: Path, content: bytes) -> None:
    """Write an HDF5 file that this process made, sealed, whole or not at all; it is read as it is.

    Raises:
        UserError: the place cannot be written.
    """
    write_bytes(path, sealed(content))
    _harmless.add(_hexdigest(content))


def sealed(content: bytes) -> bytes:
    """The content of a file with its checksum behind it."""
    return content + _SEAL + _hexdigest(content)


def _hexdigest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def sealed_digest(path: Path) -> bytes | None:
    """The checksum that a file ends in, after a comparison with its content; None for a file without one.

    Raises:
        GraphError: missing, or its content is not what the checksum was made of.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            left = max(stream.seek(0, os.SEEK_END) - _SEAL_BYTES, 0)
            stream.seek(left)
            end = stream.read(_SEAL_BYTES)
            if not end.startswith(_SEAL):
                return None
            stream.seek(0)
            while left > 0 and (piece := stream.read(min(_PIECE, left))):
                digest.update(piece)
                left -= len(piece)
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    found = digest.hexdigest().encode()
    if end[len(_SEAL) :] != found:
        raise GraphError(
            "is damaged: its content and its checksum differ",
            where=path,
            hint="Take it from its source again; to keep a deliberate edit, write it anew with nir.write.",
        )
    return found


def _check_size(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    if path.suffix in {".npz", ".npy"}:
        raise GraphError(
            "is a recording by its name, and a graph is wanted",
            where=path,
            hint=f"Name the graph, and this with --inputs {path}",
        )
    if not path.is_file():
        raise GraphError("is not a file", where=path, hint="Name a NIR file, RUN/receiver.nir for example.")
    if status.st_size > MAX_FILE_BYTES:
        raise GraphError(
            f"has {status.st_size} bytes, more than the {MAX_FILE_BYTES} this tool reads", where=path
        )
