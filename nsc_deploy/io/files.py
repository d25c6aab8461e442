"""Files that are written whole or not at all, and read without trusting their size or content.

What the operating system refuses becomes an error that names the place and what the user can do about it.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.io.scratch import scratch_file
from nsc_deploy.io.text import refuse_control

MAX_JSON_BYTES = 8 * 1024**2
# What reads such a value goes into it call by call, and Python's calls nest a thousand deep.
_DEEPEST = 100
# How JSON may spell a control character; half of a pair that stands for one letter is spelt so too.
_SPELT_CONTROL = re.compile(
    r"\\(u00[01]|u007[fF]|u00[89]|u20[26]|u[dD][89a-fA-F]|[bfr])|[\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
REPLACE = "It is damaged or of another kind: make it again, restore it from a copy or name another."
# What the user can mend wherever it turns up; any other OSError that nobody expected is a bug of ours.
MENDABLE = {
    errno.ENOSPC: "Free some space or name another place.",
    errno.EDQUOT: "Free some space or name another place.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f).",
    errno.EACCES: "Check the permissions or name another place.",
    errno.EPERM: "Check the permissions or name another place.",
    errno.EROFS: "Name a place that can be written.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENOMEM: "Use fewer samples, a smaller batch or a larger machine.",
    errno.ENAMETOOLONG: "Use a shorter name.",
    errno.ELOOP: "These links lead round in a circle: name the file itself.",
}
_WRITING = MENDABLE | {
    errno.EEXIST: "A part of this path is a file and no folder; name another place.",
    errno.ENOTDIR: "A part of this path is a file and no folder; name another place.",
    errno.EISDIR: "This is a folder; name a file.",
    errno.ENOTSUP: "Name a regular file, or a new one.",
}
_READING = {
    errno.ENOENT: "Check the name.",
    errno.ENOTDIR: "A part of this path is a file and no folder; check the name.",
    errno.EISDIR: "This is a folder; name a file.",
    errno.EACCES: "Check the permissions.",
    errno.ENAMETOOLONG: "Use a shorter name.",
    errno.ENOTSUP: "Name a regular file: a pipe or a device may never end.",
}
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes the place of `path`, else it goes.

    A reader therefore sees the old file or the new one, never half of one, and a full disk or a
    killed process loses nothing that was there before. What a killed process left is removed by the next.

    Raises:
        UserError: the directory cannot be written, the disk is full, or something else than a regular file
            is there, which is never replaced.
    """
    try:
        _require_regular_or_none(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_file(path.name, path.parent) as temporary:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a file for reading, if it is a regular one: a pipe would be waited for, a device never ends.

    Raises:
        OSError: missing, unreadable, or something else than a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, and no path
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise _no_regular_file(path, mode)
        yield stream


def read_limited(path: Path, most: int) -> bytes | None:
    """The content of a regular file; None where it is larger than `most` bytes.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path) as stream:
        content = stream.read(most + 1)
    return content if len(content) <= most else None


@contextmanager
def locked_folder(folder: Path, busy: str) -> Iterator[None]:
    """Keep every other process out of a folder that is made if need be; the lock goes with the process.

    Args:
        folder: to write into.
        busy: what an error says where another process has it.

    Raises:
        UserError: another process has it, it cannot be written, or a link lies in the place of the lock.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Neither emptied nor written: whatever lies there under this name stays as it is.
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            hint = "Replace it by what it leads to, or name another --out."
            raise UserError("is a link, which is not followed", where=path, hint=hint) from error
        raise unwritable(folder, error) from error
    with os.fdopen(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(busy, where=folder, hint="Wait for it or name another --out.") from error
        yield


def is_locked(folder: Path) -> bool:
    """Whether a process has a folder for itself, by `locked_folder`; nothing is made to find out."""
    try:
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    with os.fdopen(lock):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _no_regular_file(path: Path, mode: int) -> OSError:
    kind = _KINDS.get(stat.S_IFMT(mode), "something else")
    return OSError(errno.ENOTSUP, f"it is {kind} and no regular file", str(path))


def _require_regular_or_none(path: Path) -> None:
    """Raise OSError for a place that holds a link, a device or a folder: only a regular file is replaced."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise _no_regular_file(path, mode)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sha256(path: Path) -> str:
    """The SHA-256 of a regular file's content as 64 hexadecimal digits."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all (UTF-8).

    Raises:
        UserError: the place cannot be written, or the text holds bytes of a name that are no UTF-8.
    """
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            "would hold a name that is no UTF-8", where=path, hint="Rename that file or folder."
        ) from error
    write_bytes(path, content)


def require_writable(path: Path) -> None:
    """Refuse a place for results before the work on them begins; nothing is left there.

    Raises:
        UserError: no file can be written at `path`.
    """
    try:
        _require_regular_or_none(path)
    except OSError as error:
        raise unwritable(path, error) from error
    require_writable_parent(path)


def require_writable_parent(path: Path) -> None:
    """Refuse a place for a file or a folder where nothing can be made beside it; nothing is left there.

    Raises:
        UserError: nothing can be written beside `path`.
    """
    folder = path.absolute().parent
    try:
        while not folder.exists():
            folder = folder.parent
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
        content = read_limited(path, MAX_JSON_BYTES)
        if content is None:
            raise DataError("is too large for a JSON file of this tool", where=path, hint=REPLACE)
        text = content.decode("utf-8")
        value = json.loads(text)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", where=path, hint=REPLACE) from error
    if _nests_deeper(value, _DEEPEST):
        raise DataError(f"nests more than {_DEEPEST} deep", where=path, hint=REPLACE)
    if _SPELT_CONTROL.search(text):
        refuse_control(value, where=path, kind=DataError)
    return value


def _nests_deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            return False
        level = [item for one in containers for item in (one.values() if isinstance(one, dict) else one)]
    return True


def unwritable(path: Path, error: OSError) -> UserError:
    """`path` cannot be written because of `error`; for writers that leave what was there as it was."""
    hint = _WRITING.get(error.errno or 0, "Name another place.")
    return UserError(
        f"cannot be written ({reason(error)})",
        where=path,
        hint=f"{hint} Nothing that was there before has changed.",
    )


def unreadable(
    path: Path, error: OSError, kind: type[UserError] = DataError, *, hint: str | None = None
) -> UserError:
    """`path` cannot be read because of `error`.

    Args:
        path: the file or folder.
        error: what the operating system said.
        kind: the error to make.
        hint: the way out, where a caller knows a better one than the operating system's answer suggests.
    """
    suggested = _READING.get(error.errno or 0, "Check the file and its disk.")
    return kind(f"cannot be read ({reason(error)})", where=path, hint=hint or suggested)


def reason(error: OSError) -> str:
    """What the operating system said, in its own words."""
    return error.strerror or str(error)
