"""Temporary files and folders that nobody has to clear away, not even after a kill.

Whoever makes one keeps it locked while at work; the system lets go of the lock when the process is gone,
however it went. The next one who makes a temporary of the same name removes those that nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

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
