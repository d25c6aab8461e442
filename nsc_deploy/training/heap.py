"""Memory that the C library keeps for the next step of training."""

import ctypes
import functools
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 30
_LARGEST_KEPT_BYTES = 1 << 28


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of the memory that it frees, until it ends.

    A step of training frees what the next one takes again. glibc hands pieces of a few megabytes back to the
    system at once, which clears them page by page when they come again: a fifth of a step in bfloat16. Peak
    use stays what it was. Where MALLOC_TRIM_THRESHOLD_ or GLIBC_TUNABLES ask for something else, this has the
    last word.

    Returns:
        Whether the C library can be told so; those of macOS, Windows and musl cannot.
    """
    if sys.platform != "linux":
        return False
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:
        return False
    return bool(tune(_TRIM_THRESHOLD, _KEPT_BYTES)) and bool(tune(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES))
