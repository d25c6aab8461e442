"""Files that are written whole or not at all, and read without trusting their size or content.

What the operating system refuses, told as something the user can put right.

Temporary files and folders that nobody has to clear away, not even after a kill.

Whoever makes one keeps it locked while at work; the system lets go of the lock when the process is gone,
however it went. The next one who makes a temporary of the same name removes those that nobody holds.

Deployment folders appear whole: written beside their place, then moved into it.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.io.text import refuse_control

MAX_JSON_BYTES = 8 * 1024**2
# How JSON may spell a control character; half of a pair that stands for one letter is spelt so too.
_SPELT_CONTROL = re.compile(
    r"\\(u00[01]|u007[fF]|u00[89]|u20[26]|u[dD][89a-fA-F]|[bfr])|[\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)
_REPLACE = "It is damaged or of another kind: make it again, restore it from a copy or name another."


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
            raise DataError("is too large for a JSON file of this tool", where=path, hint=_REPLACE)
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON ({error})", where=path, hint=_REPLACE) from error
    if _SPELT_CONTROL.search(text):
        refuse_control(value, where=path, kind=DataError)
    return value


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
}
_ON_THE_WAY_TO_A_FILE = {
    errno.EEXIST: "A part of this path is a file and no folder; name another place.",
    errno.ENOTDIR: "A part of this path is a file and no folder; name another place.",
    errno.EISDIR: "This is a folder; name a file.",
}
_READING = {
    errno.ENOENT: "Check the name.",
    errno.ENOTDIR: "A part of this path is a file and no folder; check the name.",
    errno.EISDIR: "This is a folder; name a file.",
    errno.EACCES: "Check the permissions.",
}


def unwritable(path: Path, error: OSError) -> UserError:
    """`path` cannot be written because of `error`; for writers that leave what was there as it was."""
    ways_out = MENDABLE | _ON_THE_WAY_TO_A_FILE
    hint = ways_out.get(error.errno or 0, "Name another place.")
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


_RANDOM = "?" * 8  # what tempfile puts into a name


@contextlib.contextmanager
def scratch_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards, and remove what killed processes left of its kind.

    Args:
        prefix: of its name; nothing else in `parent` is called like this.
        parent: where it is made; the system's place for temporary files by default.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    sweep(place, f"{prefix}{_RANDOM}")
    folder, lock = _made(lambda: Path(tempfile.mkdtemp(prefix=prefix, dir=place)), place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def scratch_file(prefix: str, suffix: str, parent: Path) -> Iterator[Path]:
    """The same for a file; it may have been moved away meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    sweep(parent, f"{prefix}{_RANDOM}{suffix}")
    file, lock = _made(lambda: _new_file(prefix, suffix, parent), parent)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def sweep(parent: Path, pattern: str) -> None:
    """Remove files and folders of this user that match a pattern and that no process holds."""
    escaped = pattern.replace("[", "[[]").replace("*", "[*]")
    for path in parent.glob(escaped):
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _take(lock):
                    _remove(path)
            finally:
                os.close(lock)


def _new_file(prefix: str, suffix: str, parent: Path) -> Path:
    descriptor, name = tempfile.mkstemp(dir=parent, prefix=prefix, suffix=suffix)
    os.close(descriptor)
    return Path(name)


def _made(make: Callable[[], Path], parent: Path) -> tuple[Path, int]:
    """Something new and its lock; made once more where another process took it for forgotten meanwhile."""
    while True:
        path = make()
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY)
            # Without a lock (a file system that has none) nobody else can take it either.
            if (_take(lock) or not _lockable(parent)) and path.exists():
                return path, lock
            os.close(lock)


def _lockable(folder: Path) -> bool:
    with tempfile.TemporaryFile(dir=folder) as probe:
        return _take(probe.fileno())


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


AT_FDCWD = -100
RENAME_EXCHANGE = 2
_TRIES = 100


@contextlib.contextmanager
def replacing_folder(path: Path, marker: str) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, else it goes.

    Args:
        path: the folder to write; an empty one or an earlier deployment may be there.
        marker: a file that every deployment holds; a folder without it is never replaced.

    Raises:
        ConfigError: `path` holds something that is no deployment.
        UserError: the place cannot be written, or the disk is full.
    """
    path = path.absolute()
    _refuse_foreign(path, marker)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(f".{path.name}.new-", path.parent) as building:
            try:
                yield building
            except UserError as error:
                raise _named_in_its_place(error, building, path) from error
            building.chmod(0o755)
            _swap(building, path)
    except OSError as error:
        raise unwritable(path, error) from error


def require_folder(path: Path, marker: str) -> None:
    """Refuse a place for a folder before the work on what goes into it; see `replacing_folder`.

    Raises:
        ConfigError: `path` holds something that is no deployment.
        UserError: the place cannot be written.
    """
    _refuse_foreign(path.absolute(), marker)
    require_writable_parent(path)


def require_unchanged(path: Path, expected: str) -> None:
    """Refuse a file of a deployment that is not the one that was exported.

    Args:
        path: the file.
        expected: its SHA-256, as the manifest states it.

    Raises:
        DataError: missing, or changed since.
    """
    if not path.is_file():
        raise DataError("is missing from the deployment", where=path, hint="Export it again.")
    if sha256(path) != expected:
        raise DataError(
            "is not the file that was exported (its hash differs from the manifest)",
            where=path,
            hint="Export it again.",
        )


def _named_in_its_place(error: UserError, building: Path, path: Path) -> UserError:
    """The same error, about the folder that the user named."""
    where = None if error.where is None else error.where.replace(str(building), str(path))
    return type(error)(error.problem, where=where, hint=error.hint)


def _refuse_foreign(path: Path, marker: str) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError("is not a folder", where=path, hint="Name a new folder with --out.")
    if path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
        raise ConfigError(
            f"holds files but no {marker}, so it is not a deployment this tool wrote",
            where=path,
            hint="Name a new or empty folder with --out; nothing was changed.",
        )


def _swap(building: Path, path: Path) -> None:
    """Put `building` in the place of `path`; a reader sees the old folder or the new one at any moment.

    Another export may make the folder, or take it away, between the look and the deed.
    """
    for _ in range(_TRIES):
        try:
            if path.exists():
                _exchange(building, path)
            else:
                building.rename(path)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY}:
                raise
        else:
            return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))


def _exchange(one: Path, two: Path) -> None:
    """Exchange two names in one step (Linux); `os.rename` cannot replace a folder that is not empty."""
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE)
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(two))
