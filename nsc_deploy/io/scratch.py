"""Temporary files and folders that nobody has to clear away, not even after a kill.

Whoever makes one keeps it locked while at work; the system lets go of the lock when the process is gone,
however it went. The next one who makes a temporary of the same name removes those that nobody holds.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_RANDOM = "?" * 8  # what tempfile puts into a name


@contextmanager
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
    folder, lock = _make_locked(lambda: tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def scratch_file(prefix: str, suffix: str, parent: Path) -> Iterator[Path]:
    """The same for a file; it may have been moved away meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    sweep(parent, f"{prefix}{_RANDOM}{suffix}")
    file, lock = _make_locked(lambda: _make_file(prefix, suffix, parent))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def sweep(parent: Path, pattern: str) -> None:
    """Remove files and folders of this user that match a pattern and that no process holds."""
    escaped = pattern.replace("[", "[[]").replace("*", "[*]")
    for path in parent.glob(escaped):
        with suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(lock):
                    _remove(path)
            finally:
                os.close(lock)


def _make_file(prefix: str, suffix: str, parent: Path) -> str:
    descriptor, name = tempfile.mkstemp(dir=parent, prefix=prefix, suffix=suffix)
    os.close(descriptor)
    return name


def _make_locked(make: Callable[[], str]) -> tuple[Path, int]:
    """Something new and its lock; made once more where another process took it for forgotten meanwhile."""
    while True:
        path = Path(make())
        with suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY)
            try:
                ours = _lock(lock)
            except OSError:  # a file system without locks: nobody else can take it either
                ours = True
            if ours and path.exists():
                return path, lock
            os.close(lock)


def _lock(descriptor: int) -> bool:
    """Lock a file or folder unless another process holds it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
