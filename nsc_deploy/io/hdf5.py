"""NIR files read with distrust, in another process, and written with a seal.

Files of this tool end in a seal, the SHA-256 of what lies before, so that a flipped bit does not pass for a
weight. HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes
the file anew leaves it out, and the file is then one of another tool. Anybody can make a seal, so it spares
no file the other process; but content that has been read there, or written here, is known by its digest.
"""

import hashlib
import os
from pathlib import Path

from nsc_deploy.errors import GraphError
from nsc_deploy.io.files import open_regular, unreadable, write_bytes
from nsc_deploy.io.sandbox import Tree, read_apart
from nsc_deploy.io.tree import read_tree

MAX_FILE_BYTES = 4 * 1024**3
_SEAL = b"\nnsc-deploy sha256 "
_SEAL_BYTES = len(_SEAL) + 64
_PIECE = 2**20
# Digests of sealed contents that the library is known to read to their end.
_harmless: set[bytes] = set()


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
        with open_regular(path) as stream:
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
    if not path.is_file():
        raise GraphError("is not a file", where=path, hint="Name a NIR file, RUN/receiver.nir for example.")
    if status.st_size > MAX_FILE_BYTES:
        raise GraphError(
            f"has {status.st_size} bytes, more than the {MAX_FILE_BYTES} this tool reads", where=path
        )
