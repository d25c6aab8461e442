"""Arrays in .npz archives and .npy files, read without pickle and without trusting the sizes they claim.

`numpy.load` allocates what a header claims before it looks at the data, so a file of a few bytes could take
all memory. Here the header, as numpy reads it, must fit the member, and the member the archive.
"""

import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.io.files import REPLACE, open_regular, replacing, unreadable

MAX_ARRAY_BYTES = 8 * 1024**3
_MAX_MEMBERS = 10_000
# What an archive may unpack to: so much in any case, and so many times its own size. Arrays of zeros pack
# a thousandfold; recordings and weights never come near it.
_PLAIN_UNPACKED = 64 * 1024**2
_TIMES_PACKED = 100
# More than the headers of the arrays of one archive take.
_HEADERS = 2**20
_PLAIN_COMPRESSION = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# One byte of a deflate stream never unpacks to more than 1032.
_MAX_DEFLATE_RATIO = 1032
_HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
# numpy evaluates a header as a literal, and Python's parser answers damage in many ways.
_DAMAGED_HEADER = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
    OverflowError,
)
# What the zip reader raises, between its checks, on an archive with flipped bytes.
_DAMAGED_ARCHIVE = (
    ValueError,
    EOFError,
    RuntimeError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)


def load_npz(
    path: Path, *, only: str | None = None, max_bytes: int = MAX_ARRAY_BYTES
) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz file, after a look at the sizes it claims.

    Args:
        path: the file.
        only: the name of one array, where the others are not wanted; all of them when None.
        max_bytes: what its arrays may take in memory, all together.

    Raises:
        DataError: missing, damaged, holding objects or one name twice, larger than `max_bytes` unpacked, or
            far larger unpacked than packed.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            names = {member.filename for member in members}
            if len(names) < len(members) or len(members) > _MAX_MEMBERS:
                raise ValueError("it holds a name twice, or thousands of them")
            claimed, limit = sum(map(_unpacked_bytes, members)), min(max_bytes, most_unpacked(path))
            if claimed > limit:
                raise ValueError(f"it claims {claimed} bytes of arrays, more than the {limit} allowed")
            named = {member.filename.removesuffix(".npy"): member for member in members}
            wanted = [name for name in named if only in {None, name}]
            return {name: _read(archive, named[name]) for name in wanted}
    except OSError as error:
        raise unreadable(path, error) from error
    except _DAMAGED_ARCHIVE as error:
        raise DataError(f"is not a valid .npz file ({error})", where=path, hint=REPLACE) from error


def load_npy(path: Path, *, max_bytes: int = MAX_ARRAY_BYTES) -> NDArray[Any]:
    """Read the array of an .npy file, after a look at the size it claims.

    Raises:
        DataError: missing, damaged, holding objects, or larger than `max_bytes`.
    """
    try:
        with open_regular(path) as stream:
            size = path.stat().st_size
            if size > max_bytes:
                raise ValueError(f"it has {size} bytes, more than the {max_bytes} allowed")
            return _array(stream, path.name, size)
    except OSError as error:
        raise unreadable(path, error) from error
    except _DAMAGED_ARCHIVE as error:
        raise DataError(f"is not a valid .npy file ({error})", where=path, hint=REPLACE) from error


def save_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as an .npz that `load_npz` reads, whole or not at all.

    Packed, unless they pack so well that a reader has to take the file for a bomb.

    Raises:
        DataError: the arrays are larger than any that are read.
        UserError: the place cannot be written.
    """
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_ARRAY_BYTES:
        raise DataError(
            f"would hold {size} bytes, more than the {MAX_ARRAY_BYTES} this tool reads", where=path
        )
    with replacing(path) as temporary:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        if size + _HEADERS > most_unpacked(temporary):
            with temporary.open("wb") as stream:
                np.savez(stream, **arrays)  # type: ignore[arg-type]


def most_unpacked(path: Path, *, plain: int = _PLAIN_UNPACKED) -> int:
    """How many bytes a packed file of this size may unpack to: what goes beyond is there to do harm.

    Args:
        path: the file.
        plain: bytes that are allowed whatever its size.
    """
    return min(MAX_ARRAY_BYTES, plain + _TIMES_PACKED * path.stat().st_size)


def _unpacked_bytes(member: zipfile.ZipInfo) -> int:
    if member.flag_bits & 1 or member.compress_type not in _PLAIN_COMPRESSION:
        raise ValueError(f"{member.filename} is encrypted or packed in an unknown way")
    if member.file_size > _MAX_DEFLATE_RATIO * (member.compress_size + 1):
        raise ValueError(f"{member.filename} claims more than it can hold")
    return member.file_size


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """The array in a member."""
    with archive.open(member) as stream:
        return _array(stream, member.filename, member.file_size)


def _array(stream: IO[bytes], name: str, size: int) -> NDArray[Any]:
    """The array in `size` bytes, of a plain dtype (boolean, integer, float, complex or text)."""
    shape, fortran_order, dtype = _read_header(stream, name)
    if dtype.kind not in "biufcUS" or not dtype.itemsize:
        raise ValueError(f"{name} holds {dtype}, and only plain numbers and text are read")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"{name} claims the impossible shape {shape}")
    expected = math.prod(shape) * dtype.itemsize
    if stream.tell() + expected != size:
        raise ValueError(f"{name} claims the shape {shape} but holds another amount of data")
    data = bytearray(stream.read())
    if len(data) != expected:
        raise ValueError(f"{name} ends early")
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran_order else "C")


def _read_header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        read = _HEADER_READERS[npy.read_magic(stream)]
    except (ValueError, KeyError) as error:
        raise ValueError(f"{name} is not a numpy array") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of headers of Python 2, and Python of odd literals
            return read(stream)
    except _DAMAGED_HEADER as error:
        raise ValueError(f"{name} has a damaged header") from error
