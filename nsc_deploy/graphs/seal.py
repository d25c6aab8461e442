"""A checksum behind the last byte of a file, so that a flipped bit does not pass for a weight.

HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes the
file anew leaves it out, and the file is then one of another tool.
"""

import hashlib
import os
from pathlib import Path

from nsc_deploy.errors import GraphError
from nsc_deploy.refusals import unreadable

_MARK = b"\nnsc-deploy sha256 "
_LENGTH = len(_MARK) + 64
_PIECE = 2**20


def sealed(content: bytes) -> bytes:
    """The content of a file with its checksum behind it."""
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def refuse_broken_seal(path: Path) -> None:
    """Hold a file that ends in a checksum against it; a file without one passes.

    Raises:
        GraphError: missing, or its content is not what the checksum was made of.
    """
    try:
        stated, found = _digests(path)
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    if stated is not None and stated != found:
        raise GraphError(
            "is damaged: its content and its checksum differ",
            where=path,
            remedy="Take it from its source again; to keep a deliberate edit, write it anew with nir.write.",
        )


def _digests(path: Path) -> tuple[bytes | None, bytes]:
    """The checksum behind a file's content, or None, and that of its content, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = max(stream.seek(0, os.SEEK_END) - _LENGTH, 0)
        stream.seek(left)
        end = stream.read(_LENGTH)
        if not end.startswith(_MARK):
            return None, b""
        stream.seek(0)
        while left > 0 and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return end[len(_MARK) :], digest.hexdigest().encode()
