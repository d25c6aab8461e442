"""How kernels are compiled: cached on disk where that is possible, in IEEE arithmetic, one thread."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numba

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a loop at its first call.

    The machine code is kept beside the module or, where that is read-only, in the user's cache directory
    (`NUMBA_CACHE_DIR` names another). Where neither can be written it is compiled anew in each process:
    a slower start, never an error. Fast-math stays off, so no product and sum are fused and every
    machine computes the same bits. The interpreter lock is released while a kernel runs.
    """
    return _cached_where_possible(function)


def called_often(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a loop that a kernel calls in each of its steps, and that allocates nothing.

    Numba counts references to each array that comes in, one locked instruction to add one and one to take
    it away again: more work than a small loop, and threads that share arrays wait for each other there. The
    caller holds the arrays, so nothing needs to be counted. Numba knows the option for that, but does not
    document it.
    """
    return _cached_where_possible(function, _nrt=False)


def inlined(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Part of a kernel in a function of its own, copied into its callers.

    A loop that the compiler meets in its caller gets vector instructions where one behind a call does not.
    """
    part: Callable[Parameters, Result] = numba.njit(inline="always", fastmath=False, error_model="numpy")(
        function
    )
    return part


def _cached_where_possible(
    function: Callable[Parameters, Result], **options: bool
) -> Callable[Parameters, Result]:
    try:
        return _compiled(function, cache=True, **options)
    except RuntimeError:  # numba: "no locator available"
        return _compiled(function, cache=False, **options)


def _compiled(
    function: Callable[Parameters, Result], *, cache: bool, **options: bool
) -> Callable[Parameters, Result]:
    compiled: Callable[Parameters, Result] = numba.njit(
        cache=cache, nogil=True, fastmath=False, error_model="numpy", **options
    )(function)
    return compiled
