"""Files that are written whole or not at all, and read without trusting their size or content."""

import errno
import hashlib
import json
import os
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.io.npz import read_array, unpacked_bytes
from nsc_deploy.plain_text import refuse_control
from nsc_deploy.refusals import unreadable, unwritable
from nsc_deploy.scratch import scratch_file

MAX_ARRAY_BYTES = 8 * 1024**3
MAX_JSON_BYTES = 8 * 1024**2
# How JSON may spell a control character; half of a pair that stands for one letter is spelt so too.
_SPELT_CONTROL = re.compile(
    r"\\(u00[01]|u007[fF]|u00[89]|u20[26]|u[dD][89a-fA-F]|[bfr])|[\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
# What an archive may unpack to: so much in any case, and so many times its own size. Arrays of zeros pack
# a thousandfold; recordings and weights never come near it.
_PLAIN_UNPACKED = 64 * 1024**2
_TIMES_PACKED = 100
_MOST_MEMBERS = 10_000

_REPLACE = "It is damaged or of another kind: make it again, restore it from a copy or name another."

# What the zip reader raises, between its checks, on an archive with flipped bytes.
_DAMAGED_NPZ = (
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it goes.

    A reader therefore sees the old file or the new one, never half of one, and a full disk or a
    killed process loses nothing that was there before. What a killed process left is removed by the next.

    Raises:
        UserError: the directory cannot be written or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(f".{path.name}.", path.suffix, path.parent) as temporary:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (UTF-8)."""
    write_bytes(path, text.encode())


def require_writable(path: Path) -> None:
    """Refuse a place for results before the work on them begins; nothing is left there.

    Raises:
        UserError: no file can be written at `path`.
    """
    if path.is_dir():
        raise unwritable(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))
    require_writable_parent(path)


def require_writable_parent(path: Path) -> None:
    """Refuse a place for a file or a folder where nothing can be made beside it; nothing is left there.

    Raises:
        UserError: nothing can be written beside `path`.
    """
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(path, error) from error


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: missing, larger than 8 MiB or not JSON.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise DataError("is too large for a JSON file of this tool", where=path, remedy=_REPLACE)
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", where=path, remedy=_REPLACE) from error
    if _SPELT_CONTROL.search(text):
        refuse_control(value, where=path, kind=DataError)
    return value


def save_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as a compressed .npz, whole or not at all."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def most_unpacked(path: Path, *, plain: int = _PLAIN_UNPACKED) -> int:
    """How many bytes a packed file of this size may unpack to: what goes beyond is there to do harm."""
    return min(MAX_ARRAY_BYTES, plain + _TIMES_PACKED * path.stat().st_size)


def load_npz(path: Path, *, max_bytes: int = MAX_ARRAY_BYTES) -> dict[str, NDArray[Any]]:
    """Read every array of an .npz file without pickle, after a look at the sizes it claims.

    Raises:
        DataError: missing, damaged, holding objects or one name twice, larger than `max_bytes` unpacked, or
            far larger unpacked than packed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(names) < len(members) or len(members) > _MOST_MEMBERS:
                raise ValueError("it holds a name twice, or thousands of them")
            claimed, most = sum(unpacked_bytes(member) for member in members), most_unpacked(path)
            if claimed > min(max_bytes, most):
                raise ValueError(
                    f"it claims {claimed} bytes of arrays, more than the {min(max_bytes, most)} allowed"
                )
            return {member.filename.removesuffix(".npy"): read_array(archive, member) for member in members}
    except OSError as error:
        raise unreadable(path, error) from error
    except _DAMAGED_NPZ as error:
        raise DataError(f"is not a valid .npz file ({error})", where=path, remedy=_REPLACE) from error
