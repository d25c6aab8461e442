"""Tar archives that a user hands over: read member by member into memory, never unpacked where they say."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from nsc_deploy.errors import DataError
from nsc_deploy.io.files import open_regular, unreadable

_CHUNK = 1 << 20
_MOST_HEADER_BYTES = 1 << 20
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OverflowError)
_HEADERS_OF_ANY_SIZE = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


@dataclass(frozen=True)
class TarLimits:
    """What an archive may hold.

    Attributes:
        what: the data set, as an error names it.
        most_bytes: of all that it unpacks to.
        most_members: files, folders, links and all else.
    """

    what: str
    most_bytes: int
    most_members: int


def read_tar(
    path: Path, limits: TarLimits, wanted: Callable[[str], int | None]
) -> Iterator[tuple[str, bytes]]:
    """Name and content of the regular files that are wanted, in the order of a tar archive.

    The archive is read once, from its beginning to its end, where the check sum of all lies. Links are not
    followed, and no size that it states is believed before so much has been unpacked.

    Args:
        path: packed with gzip, bzip2 or xz, or not at all.
        limits: what it may hold.
        wanted: the most bytes that a file of this name may have; None passes it over.

    Raises:
        DataError: it is damaged, holds more than it may, or cannot be read.
    """
    with _told(path), open_regular(path) as stream, _Counted(_unpacked(stream), path, limits) as unpacked:
        with tarfile.open(fileobj=cast("BinaryIO", unpacked), mode="r|", tarinfo=_Member) as members:
            for number, member in enumerate(members):
                if number >= limits.most_members:
                    raise _too_much(path, limits)
                most = wanted(member.name) if member.isreg() else None
                content = None if most is None else members.extractfile(member)
                if most is None or content is None:
                    continue
                if member.size > most:
                    raise tarfile.ReadError(f"{member.name} is larger than {most} bytes")
                yield member.name, content.read()
        while unpacked.read(_CHUNK):
            pass


class _Member(tarfile.TarInfo):
    """A member whose names are no longer than names are: `tarfile` reads such a header whole."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.type in _HEADERS_OF_ANY_SIZE and member.size > _MOST_HEADER_BYTES:
            raise tarfile.ReadError("a name of more than a megabyte")
        return member


class _Counted:
    """A stream that ends with an error where more comes out of it than an archive may hold."""

    def __init__(self, stream: BinaryIO, path: Path, limits: TarLimits) -> None:
        self._stream, self._path, self._limits = stream, path, limits
        self._left = limits.most_bytes

    def read(self, size: int) -> bytes:
        content = self._stream.read(min(size, self._left + 1))
        self._left -= len(content)
        if self._left < 0:
            raise _too_much(self._path, self._limits)
        return content

    def __enter__(self) -> "_Counted":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


def _unpacked(stream: BinaryIO) -> BinaryIO:
    begins = stream.read(6)
    stream.seek(0)
    if begins.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream))
    if begins.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(stream))
    if begins.startswith(b"\xfd7zXZ"):
        return cast("BinaryIO", lzma.LZMAFile(stream))
    return stream


@contextmanager
def _told(path: Path) -> Iterator[None]:
    hint = "Fetch it again."
    try:
        yield
    except _DAMAGED as error:
        raise DataError(f"is not a valid archive ({error})", where=path, hint=hint) from error
    except OSError as error:
        if error.errno is None:  # what gzip and bz2 say of bytes that they cannot unpack
            raise DataError(f"is not a valid archive ({error})", where=path, hint=hint) from error
        raise unreadable(path, error) from error


def _too_much(path: Path, limits: TarLimits) -> DataError:
    return DataError(
        f"unpacks to more than an archive of {limits.what} holds", where=path, hint="Fetch it again."
    )
