"""Folders of deployments: they appear whole, and their files are those that were exported.

A folder is written beside its place and then moved into it in one step: a reader sees the earlier deployment
or the new one at any moment, never half of one.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.io.files import require_writable_parent, sha256, unwritable
from nsc_deploy.io.scratch import scratch_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_TRIES = 100


@contextmanager
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
        with scratch_folder(path.name, path.parent) as building:
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
