"""Read one array of an .npz archive as strictly as the format is simple.

`numpy.load` evaluates what the header says, and a damaged header reaches every corner of Python's
parser; a header of ten bytes can also claim any amount of memory. Here the header is matched against
the few forms that this tool writes, and nothing is allocated that the archive does not really hold.
"""

import ast
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.io.files import _REPLACE, replacing, unreadable

_MAGIC = b"\x93NUMPY"
_LENGTH_FORMATS = {b"\x01\x00": "<H", b"\x02\x00": "<I", b"\x03\x00": "<I"}
_MAX_HEADER_BYTES = 10_000
_PLAIN_DTYPE = re.compile(r"[<>|=]?[biufcUS][1-9][0-9]{0,9}")
_PLAIN_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# One byte of a deflate stream never unpacks to more than 1032.
_MAX_DEFLATE_RATIO = 1032


def unpacked_bytes(member: zipfile.ZipInfo) -> int:
    """How many bytes a member unpacks to.

    Raises:
        ValueError: encrypted, packed in another way than numpy packs, or claiming more than its
            packed size can hold.
    """
    if member.flag_bits & 1 or member.compress_type not in _PLAIN_COMPRESSION:
        raise ValueError(f"{member.filename} is encrypted or packed in an unknown way")
    if member.file_size > _MAX_DEFLATE_RATIO * (member.compress_size + 1):
        raise ValueError(f"{member.filename} claims more than it can hold")
    return member.file_size


def read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array in `member`, of a plain dtype (boolean, integer, float, complex or text).

    Raises:
        ValueError: not an .npy member, a header of another form, objects (which would need pickle),
            or a size that differs from the header's claim.
    """
    size = unpacked_bytes(member)
    with archive.open(member) as stream:
        dtype, fortran_order, shape = _parse_header(_read_header(stream), member.filename)
        count = math.prod(shape)
        if stream.tell() + count * dtype.itemsize != size:
            raise ValueError(f"{member.filename} claims the shape {shape} but holds another amount of data")
        data = bytearray(stream.read())
    if len(data) != count * dtype.itemsize:
        raise ValueError(f"{member.filename} ends early")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: IO[bytes]) -> str:
    preamble = stream.read(len(_MAGIC) + 2)
    length_format = _LENGTH_FORMATS.get(preamble[len(_MAGIC) :])
    if not preamble.startswith(_MAGIC) or length_format is None:
        raise ValueError("a member is not a numpy array")
    packed = stream.read(struct.calcsize(length_format))
    length = int.from_bytes(packed, "little")
    if length > _MAX_HEADER_BYTES:
        raise ValueError("a member has an overlong header")
    return stream.read(length).decode("latin1")


def _parse_header(text: str, name: str) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    try:
        header = ast.literal_eval(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError(f"{name} has a damaged header") from error
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"{name} has a damaged header")
    descr, fortran_order, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or not _PLAIN_DTYPE.fullmatch(descr):
        raise ValueError(f"{name} holds {descr!r}, and only plain numbers and text are read")
    if type(fortran_order) is not bool or not isinstance(shape, tuple):
        raise ValueError(f"{name} has a damaged header")
    if any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"{name} claims the impossible shape {shape}")
    try:
        return np.dtype(descr), fortran_order, shape
    except TypeError as error:
        raise ValueError(f"{name} holds the unknown type {descr!r}") from error


MAX_ARRAY_BYTES = 8 * 1024**3
# What an archive may unpack to: so much in any case, and so many times its own size. Arrays of zeros pack
# a thousandfold; recordings and weights never come near it.
_PLAIN_UNPACKED = 64 * 1024**2
_TIMES_PACKED = 100
_MOST_MEMBERS = 10_000
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
        raise DataError(f"is not a valid .npz file ({error})", where=path, hint=_REPLACE) from error
