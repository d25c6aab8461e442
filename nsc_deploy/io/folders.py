"""Folders of deployments: they appear whole, and their files are those that were exported.

A folder says in its file `.nsc-deploy` what this tool wrote into it, each file with its SHA-256. One
without, or with anything else in it, or with a file that was changed, holds something of the user's and is
never replaced. It is written beside its place and then moved into
it in one step: a reader sees the earlier deployment or the new one at any moment, never half of one.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.io.files import read_json, require_writable_parent, sha256, unwritable, write_json
from nsc_deploy.io.scratch import scratch_folder

AT_FDCWD = -100
RENAME_EXCHANGE = 2
_TRIES = 100
MARK = ".nsc-deploy"
"""The file of a deployment that lists what this tool wrote into its folder."""
_KEY = "written by nsc-deploy"
# What Python leaves beside a module that somebody imports.
_CACHE = "__pycache__"


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it takes the place of `path`, else it goes.

    Args:
        path: the folder to write; an empty one or an earlier deployment may be there.

    Raises:
        ConfigError: `path` holds something that this tool did not write, or that was changed since.
        UserError: the place cannot be written, or the disk is full.
    """
    path = path.absolute()
    _refuse_foreign(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path.name, path.parent) as building:
            try:
                yield building
            except UserError as error:
                raise _named_in_its_place(error, building, path) from error
            write_json(building / MARK, {_KEY: _digests(building)})
            building.chmod(0o755)
            _swap(building, path)
    except OSError as error:
        raise unwritable(path, error) from error


def require_folder(path: Path) -> None:
    """Refuse a place for a folder before the work on what goes into it; see `replacing_folder`.

    Raises:
        ConfigError: `path` holds something that this tool did not write, or that was changed since.
        UserError: the place cannot be written.
    """
    _refuse_foreign(path.absolute())
    require_writable_parent(path)


def belongs_to_deployment(path: Path) -> bool:
    """Whether this tool wrote a file as one of those of a deployment.

    Raises:
        DataError: the list of the folder is damaged.
    """
    return path.name in (_written(path.absolute().parent) or {})


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
            hint="Take the change back, or export it again to another folder.",
        )


def _named_in_its_place(error: UserError, building: Path, path: Path) -> UserError:
    """The same error, about the folder that the user named."""
    where = None if error.where is None else error.where.replace(str(building), str(path))
    return type(error)(error.problem, where=where, hint=error.hint)


def _refuse_foreign(path: Path) -> None:
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError("is not a folder", where=path, hint="Name a new folder with --out.")
    if not path.is_dir() or not any(path.iterdir()):
        return
    written = _written(path)
    if written is None:
        raise ConfigError(
            f"holds files but no {MARK}, so it is not a deployment this tool wrote",
            where=path,
            hint="Name a new or empty folder with --out; nothing was changed.",
        )
    entries = _entries(path)
    foreign = next((str(entry) for entry in entries if str(entry) not in written), None)
    changed = next((str(entry) for entry in entries if _changed(path / entry, written.get(str(entry)))), None)
    if (foreign or changed) and _written(path) != written:
        _refuse_foreign(path)  # another export has replaced it meanwhile
    elif foreign or changed:
        what = f"{foreign}, which this tool did not write" if foreign else f"{changed}, which was changed"
        raise ConfigError(
            f"holds {what}",
            where=path,
            hint="Move it away, or name a new folder with --out; nothing was changed.",
        )


def _written(path: Path) -> dict[str, str | None] | None:
    """What this tool says it wrote into a folder, the list included; None where it says nothing.

    Files with their SHA-256; folders and the list have none.
    """
    mark = path / MARK
    if mark.is_symlink() or not mark.is_file():
        return None
    content = read_json(mark)
    listed = content.get(_KEY) if isinstance(content, dict) else None
    if not isinstance(listed, dict):
        return None
    digests = {str(name): None if digest is None else str(digest) for name, digest in listed.items()}
    return digests | {MARK: None}


def _digests(folder: Path) -> dict[str, str | None]:
    """Everything in a folder, files with their SHA-256."""
    return {
        str(entry): sha256(folder / entry) if (folder / entry).is_file() else None
        for entry in _entries(folder)
    }


def _changed(path: Path, digest: str | None) -> bool:
    """Whether a file is not the one that was written; one that is gone is none of the user's."""
    if digest is None:
        return False
    if path.is_symlink() or path.is_dir():
        return True
    return path.is_file() and sha256(path) != digest


def _entries(folder: Path) -> list[Path]:
    """Everything in a folder, relative to it, in a fixed order; links are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _CACHE]
        found += [(Path(place) / name).relative_to(folder) for name in (*folders, *files)]
    return sorted(found)


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
