"""Compiled loops over time that training and the reference simulator share; no torch in here.

numba compiles them where it is installed (the extra `fast`, and `train`). Elsewhere array operations of numpy
compute the same, to the last bit.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

try:
    import numba
except ModuleNotFoundError:  # a light install
    numba = None

COMPILES = numba is not None

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# A cast: what does not fit wraps.
int32 = np.int32


def kernel(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Compile a loop at its first call.

    The machine code is kept beside the module or, where that is read-only, in the user's cache directory
    (`NUMBA_CACHE_DIR` names another). Where neither can be written it is compiled anew in each process:
    a slower start, never an error. Fast-math stays off, so no product and sum are fused and every
    machine computes the same bits. The interpreter lock is released while a kernel runs.
    """
    return _cached_where_possible(function)


def kernel_or(
    plain: Callable[Parameters, Result],
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Compile a loop likewise; where numba is not installed, `plain` stands for it."""
    return kernel if numba is not None else lambda _loop: plain


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
    if numba is None:
        return function
    part: Callable[Parameters, Result] = numba.njit(inline="always", fastmath=False, error_model="numpy")(
        function
    )
    return part


def _cached_where_possible(
    function: Callable[Parameters, Result], **options: bool
) -> Callable[Parameters, Result]:
    if numba is None:
        return function
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


Real = NDArray[np.floating[Any]]


def _leaky_forward_by_steps(
    current: Real,
    beta: Real,
    threshold: Real,
    state: Real,
    spikes: NDArray[Any],
    potentials: Real | None = None,
) -> None:
    for t, arriving in enumerate(current):
        v = beta * state + arriving
        fired = v > threshold
        if potentials is not None:
            potentials[t] = v
        spikes[t] = fired
        state[:] = np.where(fired, v.dtype.type(0), v)


@kernel_or(_leaky_forward_by_steps)
def leaky_forward(
    current: Real,
    beta: Real,
    threshold: Real,
    state: Real,
    spikes: NDArray[Any],
    potentials: Real | None = None,
) -> None:
    """Run a layer of neurons over T steps.

    Args:
        current: input current I [T, B, N].
        beta: decay of the potential in one step [N].
        threshold: a spike needs a potential above it [N].
        state: potentials v after the last step [B, N]; read as the start, overwritten with the end.
        spikes: filled with 0 and 1 [T, B, N], of any dtype.
        potentials: filled with v before the reset [T, B, N], or None to keep none.
    """
    silent = state.dtype.type(0)
    for t in range(current.shape[0]):
        for b in range(current.shape[1]):
            for n in range(current.shape[2]):
                v = beta[n] * state[b, n] + current[t, b, n]
                fired = v > threshold[n]
                if potentials is not None:
                    potentials[t, b, n] = v
                spikes[t, b, n] = fired
                state[b, n] = silent if fired else v


@inlined
def _leaky_gradient(
    v: Any, threshold: Any, carried: Any, grad_spike: Any, zero: Any, one: Any, pi: Any
) -> Any:
    """dL/dI of one neuron in one step, as `leaky_backward` says; the numbers are in the type of v."""
    x = v - threshold
    slope = one / (one + (pi * x) * (pi * x))
    kept = zero if x > zero else carried
    return kept + (grad_spike - carried * v) * slope


@kernel
def leaky_backward(
    grad_spikes: Real, potentials: Real, beta: Real, threshold: Real, carried: Real, grad_current: Real
) -> None:
    """The gradient of `leaky_forward` with the arctangent surrogate (alpha = 2), through the reset as well.

    With x = v - threshold before the reset, ds/dv is taken as 1 / (1 + (pi x)^2); the potential after the
    reset is v - s v, so its derivative is (1 - s) - v ds/dv.

    Args:
        grad_spikes: dL/ds [T, B, N].
        potentials: v before the reset, as `leaky_forward` records it [T, B, N].
        beta: [N].
        threshold: [N].
        carried: dL/dv of the potentials after the last step [B, N]; overwritten with dL/dv of the start.
        grad_current: filled with dL/dI [T, B, N].
    """
    zero = carried.dtype.type(0)
    one = carried.dtype.type(1)
    pi = carried.dtype.type(np.pi)
    for t in range(grad_spikes.shape[0] - 1, -1, -1):
        for b in range(grad_spikes.shape[1]):
            for n in range(grad_spikes.shape[2]):
                total = _leaky_gradient(
                    potentials[t, b, n], threshold[n], carried[b, n], grad_spikes[t, b, n], zero, one, pi
                )
                grad_current[t, b, n] = total
                carried[b, n] = beta[n] * total


Half = NDArray[np.uint16]
"""Numbers in bfloat16 as their bits, for numpy has no such type: the upper halves of float32."""


@kernel
def leaky_forward_bfloat16(
    current: Half, beta: Real, threshold: Real, state: Real, spikes: Half, potentials: Real | None = None
) -> None:
    """`leaky_forward` of currents in bfloat16 to spikes in bfloat16; potentials stay in float32.

    Half as many bytes come and go, and nothing is converted in a pass of its own.
    """
    fired, silent, rest = np.uint16(0x3F80), np.uint16(0), np.float32(0)
    bits = np.empty(current.shape[2], np.uint32)
    arriving = bits.view(np.float32)
    for t in range(current.shape[0]):
        for b in range(current.shape[1]):
            for n in range(current.shape[2]):
                bits[n] = np.uint32(current[t, b, n]) << np.uint32(16)
            for n in range(current.shape[2]):
                v = beta[n] * state[b, n] + arriving[n]
                fires = v > threshold[n]
                if potentials is not None:
                    potentials[t, b, n] = v
                spikes[t, b, n] = fired if fires else silent
                state[b, n] = rest if fires else v


@kernel
def leaky_backward_bfloat16(
    grad_spikes: Half, potentials: Real, beta: Real, threshold: Real, carried: Real, grad_current: Half
) -> None:
    """`leaky_backward` of gradients in bfloat16; what is carried from step to step stays in float32."""
    zero, one, pi = np.float32(0), np.float32(1), np.float32(np.pi)
    half, last = np.uint32(0x7FFF), np.uint32(1)
    bits = np.empty(grad_spikes.shape[2], np.uint32)
    arriving = bits.view(np.float32)
    leaving = np.empty(grad_spikes.shape[2], np.float32)
    wide = leaving.view(np.uint32)
    for t in range(grad_spikes.shape[0] - 1, -1, -1):
        for b in range(grad_spikes.shape[1]):
            for n in range(grad_spikes.shape[2]):
                bits[n] = np.uint32(grad_spikes[t, b, n]) << np.uint32(16)
            for n in range(grad_spikes.shape[2]):
                total = _leaky_gradient(
                    potentials[t, b, n], threshold[n], carried[b, n], arriving[n], zero, one, pi
                )
                leaving[n] = total
                carried[b, n] = beta[n] * total
            for n in range(grad_spikes.shape[2]):
                # To the nearest, of two the even one. A NaN that arithmetic makes stays one.
                odd = (wide[n] >> np.uint32(16)) & last
                grad_current[t, b, n] = np.uint16((wide[n] + half + odd) >> np.uint32(16))


_LOOKED_AT = 64
"""Rows that tell how many events there are in all of them."""


def _never(signal: Real, share: float) -> bool:
    del signal, share
    return False


@kernel_or(_never)
def has_few_events(signal: Real, share: float) -> bool:
    """Whether at most such a share of the values is not zero, as told by a few rows, evenly spread.

    Args:
        signal: [rows, in].
        share: 0 to 1.
    """
    rows = signal.shape[0]
    looked_at = min(rows, _LOOKED_AT)
    events = np.int32(0)
    for index in range(looked_at):
        row = signal[index * rows // looked_at]
        for place in range(row.shape[0]):
            events = np.int32(events + np.int32(row[place] != 0))
    return bool(events <= share * looked_at * signal.shape[1])


@inlined
def _list_events(row: Any, places: Any, others: Any) -> Any:
    """Fill `places` with where a row is not zero, in order; their number. Both have room for a row and one.

    Without a branch, in two halves: two chains of additions, each of which waits for itself alone.
    """
    half = row.shape[0] // 2
    first, second = np.uint64(0), np.uint64(0)
    for place in range(half):
        places[first] = place
        others[second] = half + place
        first += np.uint64(row[place] != 0)
        second += np.uint64(row[half + place] != 0)
    for place in range(2 * half, row.shape[0]):
        others[second] = place
        second += np.uint64(row[place] != 0)
    for index in range(np.int64(second)):
        places[np.int64(first) + index] = others[index]
    return np.int64(first + second)


@inlined
def _add_rows(matrix: Any, places: Any, factors: Any, number: Any, sums: Any) -> None:
    """Add `number` rows of a matrix to `sums`, each times its factor, four in a pass."""
    fours = number // 4 * 4
    for at in range(0, fours, 4):
        one, two, three, four = (
            matrix[places[at]], matrix[places[at + 1]], matrix[places[at + 2]], matrix[places[at + 3]]
        )  # fmt: skip
        a, b, c, d = factors[at], factors[at + 1], factors[at + 2], factors[at + 3]
        for n in range(sums.shape[0]):
            sums[n] += (one[n] * a + two[n] * b) + (three[n] * c + four[n] * d)
    for at in range(fours, number):
        one, a = matrix[places[at]], factors[at]
        for n in range(sums.shape[0]):
            sums[n] += one[n] * a


@kernel
def event_product(signal: Real, matrix: Real, result: Real) -> None:
    """Add to each row of `result` the rows of a matrix that its events meet: signal @ matrix.

    Args:
        signal: [rows, in], nearly all zeros.
        matrix: [in, out], C-contiguous.
        result: [rows, out].
    """
    inputs = signal.shape[1]
    places, others = np.empty(inputs + 1, np.uint32), np.empty(inputs + 1, np.uint32)
    factors = np.empty(inputs + 1, signal.dtype)
    for row in range(signal.shape[0]):
        number = _list_events(signal[row], places, others)
        for index in range(number):
            factors[index] = signal[row, places[index]]
        _add_rows(matrix, places, factors, number, result[row])


_ROWS_AT_ONCE = 128
"""So many rows of a gradient, and all sums, stay near the processor together."""


@kernel
def event_gradient(signal: Real, gradient: Real, sums: Real) -> None:
    """Add up the gradients of the rows in which each input has events: signal.T @ gradient.

    Args:
        signal: [rows, in], nearly all zeros.
        gradient: [rows, out], C-contiguous.
        sums: added to, [in, out].
    """
    rows, inputs = signal.shape
    places, others = np.empty(inputs + 1, np.uint32), np.empty(inputs + 1, np.uint32)
    where = np.empty((inputs, _ROWS_AT_ONCE), np.uint32)
    factors = np.empty((inputs, _ROWS_AT_ONCE), signal.dtype)
    numbers = np.zeros(inputs, np.int64)
    for start in range(0, rows, _ROWS_AT_ONCE):
        numbers[:] = 0
        for row in range(start, min(rows, start + _ROWS_AT_ONCE)):
            for index in range(_list_events(signal[row], places, others)):
                into = places[index]
                where[into, numbers[into]] = row
                factors[into, numbers[into]] = signal[row, into]
                numbers[into] += 1
        for into in range(inputs):
            _add_rows(gradient, where[into], factors[into], numbers[into], sums[into])


Integers = NDArray[np.int64]


def _count_nonzero_at_once(values: NDArray[Any], numbers: Integers) -> None:
    numbers[:] = np.count_nonzero(values, axis=1)


@kernel_or(_count_nonzero_at_once)
def count_nonzero(values: NDArray[Any], numbers: Integers) -> None:
    """Count the values of each row that are not zero.

    Args:
        values: [rows, columns], C-contiguous.
        numbers: filled, [rows].
    """
    for row in range(values.shape[0]):
        total = np.int32(0)
        for column in range(values.shape[1]):
            # A row is shorter than 2^31; a number half as wide makes vectors that hold twice as many.
            total = np.int32(total + np.int32(values[row, column] != 0))
        numbers[row] = total


def _weigh_nonzero_at_once(
    values: NDArray[Any], weights: NDArray[Any], numbers: Integers, sums: Integers
) -> None:
    there = values != 0
    numbers[:] = np.count_nonzero(there, axis=1)
    sums[:] = there @ weights


@kernel_or(_weigh_nonzero_at_once)
def weigh_nonzero(values: NDArray[Any], weights: NDArray[Any], numbers: Integers, sums: Integers) -> None:
    """Count them, and add up the weights of the columns they stand in, in one pass.

    Args:
        values: [rows, columns], C-contiguous.
        weights: of each column, [columns]; integers of a type that their sum fits.
        numbers: filled, [rows].
        sums: filled, [rows].
    """
    integer = weights.dtype.type
    for row in range(values.shape[0]):
        number = integer(0)
        weight = integer(0)
        for column in range(values.shape[1]):
            # A product and no branch: the loop becomes vector instructions.
            there = integer(values[row, column] != 0)
            number = integer(number + there)
            weight = integer(weight + weights[column] * there)
        numbers[row] = number
        sums[row] = weight
