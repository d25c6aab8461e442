"""Temporary files and folders that nobody has to clear away, not even after a kill.

Whoever makes one keeps it locked while at work; the system lets go of the lock when the process is gone,
however it went. The next one who makes a temporary for the same purpose removes those that nobody holds.
Their names begin with `.nsc-deploy-scratch-`: nothing of a user's is called like this.
"""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = ".nsc-deploy-scratch-"
_RANDOM = "[a-z0-9_]{8}"  # what tempfile puts into a name
_LONGEST_PURPOSE = 50


@contextmanager
def scratch_folder(purpose: str, parent: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards, and remove what killed processes left of its kind.

    Args:
        purpose: the end of its name, which those of one kind have in common.
        parent: where it is made; the system's place for temporary files by default.

    Raises:
        OSError: it cannot be made.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    sweep(place, purpose)
    folder, lock = _make_locked(lambda: tempfile.mkdtemp(prefix=MARK, suffix=_ending(purpose), dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def scratch_file(purpose: str, parent: Path) -> Iterator[Path]:
    """The same for a file; it may have been moved away meanwhile.

    Raises:
        OSError: it cannot be made.
    """
    sweep(parent, purpose)
    file, lock = _make_locked(lambda: _make_file(purpose, parent))
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def sweep(parent: Path, purpose: str) -> None:
    """Remove this user's temporary files and folders for a purpose that no process holds."""
    name = re.compile(re.escape(MARK) + _RANDOM + re.escape(_ending(purpose)))
    for path in _entries(parent):
        if not name.fullmatch(path.name):
            continue
        with suppress(OSError):
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                continue
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(lock):
                    _remove(path)
            finally:
                os.close(lock)


def _ending(purpose: str) -> str:
    """How the names for a purpose end; of a long one its own end, for names have at most 255 bytes."""
    return f"-{purpose[-_LONGEST_PURPOSE:]}"


def _entries(parent: Path) -> list[Path]:
    with suppress(OSError):  # a folder may be written into and yet not be listed
        return list(parent.iterdir())
    return []


def _make_file(purpose: str, parent: Path) -> str:
    descriptor, name = tempfile.mkstemp(dir=parent, prefix=MARK, suffix=_ending(purpose))
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
