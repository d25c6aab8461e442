"""What the operating system refuses, told as something the user can put right."""

import errno
from pathlib import Path

from nsc_deploy.errors import DataError, UserError

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
    remedy = ways_out.get(error.errno or 0, "Name another place.")
    return UserError(
        f"cannot be written ({reason(error)})",
        where=path,
        remedy=f"{remedy} Nothing that was there before has changed.",
    )


def unreadable(
    path: Path, error: OSError, kind: type[UserError] = DataError, *, remedy: str | None = None
) -> UserError:
    """`path` cannot be read because of `error`.

    Args:
        path: the file or folder.
        error: what the operating system said.
        kind: the error to make.
        remedy: the way out, where a caller knows a better one than the operating system's answer suggests.
    """
    suggested = _READING.get(error.errno or 0, "Check the file and its disk.")
    return kind(f"cannot be read ({reason(error)})", where=path, remedy=remedy or suggested)


def reason(error: OSError) -> str:
    """What the operating system said, in its own words."""
    return error.strerror or str(error)
