"""Files that a user names for a result: never in the place of what is read, or of a file of another kind."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nsc_deploy.errors import ConfigError
from nsc_deploy.io.files import open_regular, require_writable, unreadable
from nsc_deploy.io.folders import belongs_to_deployment


@dataclass(frozen=True)
class _Kind:
    name: str
    suffix: str
    begins: bytes


class FileKind(Enum):
    """What a command writes: its name in messages, the ending of its files, and the bytes they begin with."""

    GRAPH = _Kind("a NIR graph", ".nir", b"\x89HDF\r\n\x1a\n")
    ARRAYS = _Kind("an archive of arrays", ".npz", b"PK\x03\x04")
    JUNIT = _Kind("a JUnit file", ".xml", b"<?xml")


# What reads a file goes by these endings.
_READ_AS = {
    ".nir": "a NIR graph",
    ".onnx": "an ONNX graph",
    ".npz": "an archive of arrays",
    ".npy": "an array",
}
_UNCHANGED = "nothing was changed."


def require_output(path: Path, kind: FileKind, reads: Iterable[Path | None] = ()) -> None:
    """Refuse a place for a file that would be read as another kind, or where something else would be lost.

    A file of the same kind is replaced, as an earlier result is.

    Args:
        path: where the file is to be written.
        kind: of the file.
        reads: files and folders that the command reads; None for those that were not named.

    Raises:
        ConfigError: the name is that of another kind; there is a file that the command reads, one of another
            kind or one of a deployment.
        DataError: the file that is there cannot be read.
        UserError: no file can be written there.
    """
    wanted: _Kind = kind.value
    read_as = _READ_AS.get(path.suffix.lower(), wanted.name)
    if read_as != wanted.name:
        raise ConfigError(
            f"would be read as {read_as}, by its name, and {wanted.name} is written",
            where=path,
            hint=f"Name a file that ends in {wanted.suffix}; {_UNCHANGED}",
        )
    require_writable(path)
    if not path.exists():
        return
    if any(_is_same(path, one) for one in reads if one is not None):
        raise ConfigError(
            "is read here, and would be replaced by the result",
            where=path,
            hint=f"Name another file; {_UNCHANGED}",
        )
    if belongs_to_deployment(path):
        raise ConfigError(
            "is a file of a deployment, which would no longer be the one that was exported",
            where=path,
            hint=f"Name another file; {_UNCHANGED}",
        )
    try:
        with open_regular(path) as stream:
            begins = stream.read(len(wanted.begins))
    except OSError as error:
        raise unreadable(path, error) from error
    if begins and begins != wanted.begins:
        raise ConfigError(
            f"is no file of this kind, and would be replaced by {wanted.name}",
            where=path,
            hint=f"Name another file, or take this one away first; {_UNCHANGED}",
        )


def _is_same(path: Path, other: Path) -> bool:
    """Whether both are one file, under whatever name."""
    with suppress(OSError):
        return path.samefile(other)
    return False
