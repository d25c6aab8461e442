"""A checksum behind the last byte of a file, so that a flipped bit does not pass for a weight.

HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes the
file anew leaves it out, and the file is then one of another tool.
"""

import hashlib
from pathlib import Path

from nsc_deploy.errors import GraphError

_MARK = b"\nnsc-deploy sha256 "
_LENGTH = len(_MARK) + 64


def seal(path: Path) -> None:
    """Put the checksum of a file's content behind it."""
    content = path.read_bytes()
    with path.open("ab") as stream:
        stream.write(_MARK + hashlib.sha256(content).hexdigest().encode())


def is_sealed(path: Path) -> bool:
    """Whether a file ends in its checksum.

    Raises:
        GraphError: missing, or its content is not what the checksum was made of.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise GraphError(f"cannot be read ({error.strerror or error})", where=path) from error
    body, end = content[:-_LENGTH], content[-_LENGTH:]
    if not end.startswith(_MARK):
        return False
    if hashlib.sha256(body).hexdigest().encode() != end[len(_MARK) :]:
        raise GraphError(
            "is damaged: its content and its checksum differ",
            where=path,
            remedy="Take it from its source again; to keep a deliberate edit, write it anew with nir.write.",
        )
    return True
