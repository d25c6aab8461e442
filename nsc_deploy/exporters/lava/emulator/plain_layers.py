"""Plain layers, which most trained ones are, in a loop of their own: the same spikes in about half the time.

A layer is plain whose spikes go through a matrix of weights without delays, whose neurons keep no current
and have a potential that a spike clears, and that has neither a recurrent connection nor resets at set times.
Only the potential lasts from step to step there, so that one pass over the neurons does all there is to do,
and weights and sums can be narrow:

- A power of two that all weights have in common is taken out of them and joins the weight exponent. No sum
  changes by that if the shift that is left goes to the left; where it does not, the layer is not plain.
- Sums of a neuron have 16 bits if the magnitudes of all its weights add up to less than 2^15, else 32 bits.
  What some of the weights add up to, in whatever order, is never larger than that: no sum overflows.
- From there on everything has 32 bits and follows the rules of `kernels`, where a shift to the left wraps as
  well.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator.kernels import (
    Integers,
    Neurons,
    Spikes,
    Synapses,
    aligned,
    decayed,
    fires,
    saturated,
    wrapped_once,
)
from nsc_deploy.kernels import COMPILES, inlined, int32, kernel

# Rows are as wide as a multiple of this, for the compiler's vectors have no remainder then.
COLUMNS = 32
# The largest weight exponent with which the factor from sums to currents fits 32 bits.
LARGEST_EXPONENT = 24
_ZERO, _ONE, _TOP = np.uint64(0), np.uint64(1), np.uint64(58)
# The top six bits of this number times 2^i differ for each i of 64 (a de Bruijn sequence): they tell i.
_SEQUENCE = np.uint64(0x03F79D71B4CB0A89)
_BIT = np.zeros(64, np.uint8)
_BIT[[(0x03F79D71B4CB0A89 << bit) % 2**64 >> 58 for bit in range(64)]] = range(64)


class PlainLayer(NamedTuple):
    """A plain layer; its columns are the neurons, and behind them some that never spike.

    Attributes:
        matrix: weights without their common power of two [sources + 1, columns], in as few bits as hold them;
            the last row is empty.
        nothing: no numbers, but the type of sums of weights.
        scale: what a sum is multiplied with to be a current.
        keep_v: what stays of the potential, in 4096ths [columns].
        bias: added to the potential in every step [columns].
        threshold: a spike needs a potential above it [columns].
        v: potential at the start [columns].
    """

    matrix: NDArray[Any]
    nothing: NDArray[Any]
    scale: np.int32
    keep_v: Integers
    bias: Integers
    threshold: Integers
    v: Integers


def plain_layer(forward: Synapses, recurrent: Synapses, neurons: Neurons) -> PlainLayer | None:
    """The layer as `run_plain` takes it; None if it is not plain, or nothing is compiled here."""
    if not COMPILES or not _is_plain(forward, recurrent, neurons):
        return None
    every = int(np.bitwise_or.reduce(forward.matrix, axis=None))
    twos = max((every & -every).bit_length() - 1, 0)
    exponent = forward.exponent + twos
    weights = forward.matrix >> twos
    weight_type = next((one for one in (np.int8, np.int16) if _hold(one, weights)), None)
    if weight_type is None or not 0 <= exponent <= LARGEST_EXPONENT:
        return None
    largest = int(np.abs(weights).sum(axis=0, dtype=np.int64).max())
    if largest << twos > np.iinfo(np.int32).max:
        return None
    return PlainLayer(
        matrix=_widened(weights.astype(weight_type)),
        nothing=np.zeros(0, np.int16 if largest <= np.iinfo(np.int16).max else np.int32),
        scale=np.int32(aligned(1 << exponent)),
        keep_v=_widened(neurons.keep_v),
        bias=_widened(neurons.bias),
        threshold=_widened(neurons.threshold),
        v=_widened(neurons.v),
    )


def _is_plain(forward: Synapses, recurrent: Synapses, neurons: Neurons) -> bool:
    matrix_alone = forward.matrix.size > 0 and not forward.wraps and not forward.delays.any()
    potential_alone = not neurons.keeps_current and len(recurrent.start) == 1
    return matrix_alone and potential_alone and neurons.reset_interval == 0 and not neurons.subtracts


def _hold(kind: type[np.signedinteger[Any]], values: NDArray[Any]) -> bool:
    limits = np.iinfo(kind)
    return bool(limits.min <= values.min() and values.max() <= limits.max)


def _widened(values: NDArray[Any]) -> NDArray[Any]:
    behind = -values.shape[-1] % COLUMNS
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, behind)])


@inlined
def pack(inputs: Spikes, sample: int, lag: int, packed: NDArray[np.uint64]) -> None:
    """Pack what comes into a sample into bits, 64 sources in a word, each step `lag` steps later."""
    sources = inputs.shape[2]
    packed[:] = 0
    for step in range(packed.shape[0] - lag):
        for word in range(sources // 64):
            bits = _ZERO
            for bit in range(64):
                bits |= np.uint64(inputs[step, sample, 64 * word + bit] != 0) << np.uint64(bit)
            packed[step + lag, word] = bits
        for source in range(sources // 64 * 64, sources):
            there = np.uint64(inputs[step, sample, source] != 0)
            packed[step + lag, sources // 64] |= there << np.uint64(source % 64)


@inlined
def list_sources(packed: NDArray[np.uint64], step: int, active: NDArray[np.uint32]) -> Any:
    """List the sources that send something and return their number.

    Two in one go: the processor guesses wrong less often where the bits of a word end.
    """
    count = _ZERO
    for word in range(packed.shape[1]):
        bits = packed[step, word]
        while bits != _ZERO:
            for _ in range(2):
                lowest = bits & (~bits + _ONE)
                active[count] = np.uint32(64 * word) + np.uint32(_BIT[(lowest * _SEQUENCE) >> _TOP])
                count += np.uint64(bits != _ZERO)
                bits &= bits - _ONE
    return np.int64(count)


@inlined
def add_narrow_rows(matrix: NDArray[Any], active: NDArray[np.uint32], count: int, sums: NDArray[Any]) -> None:
    """The sums of the weights of the active sources, four rows in one go; see `kernels.add_rows`."""
    integer = sums.dtype.type
    sums[:] = 0
    for place in range(count, count + 3):
        active[place] = matrix.shape[0] - 1
    for place in range(0, count, 4):
        one, two, three, four = active[place], active[place + 1], active[place + 2], active[place + 3]
        for block in range(sums.shape[0] // COLUMNS):
            for row in range(COLUMNS * block, COLUMNS * block + COLUMNS):
                half = integer(integer(matrix[one, row]) + integer(matrix[two, row]))
                other = integer(integer(matrix[three, row]) + integer(matrix[four, row]))
                sums[row] = integer(sums[row] + integer(half + other))


@kernel
def run_plain(inputs: Spikes, first: int, lag: int, layer: PlainLayer, spikes: Spikes) -> None:
    """Run a plain layer on some samples, each from the start; see `kernels.run_samples`.

    Args:
        inputs: spikes that come in [steps, samples, sources].
        first: the first sample of them to run; as many follow as `spikes` has room for.
        lag: steps that the connection takes, 0 or 1.
        layer: the layer.
        spikes: filled [steps, samples, neurons].
    """
    steps, samples, size = spikes.shape
    columns = layer.v.shape[0]
    packed = np.empty((steps, (inputs.shape[2] + 63) // 64), np.uint64)
    active = np.empty(inputs.shape[2] + 3, np.uint32)
    sums = np.empty(columns, layer.nothing.dtype)
    v = np.empty(columns, np.int32)
    fired = np.empty(columns, np.uint8)
    for sample in range(samples):
        pack(inputs, first + sample, lag, packed)
        v[:] = layer.v
        for step in range(steps):
            count = list_sources(packed, step, active)
            add_narrow_rows(layer.matrix, active, count, sums)
            for block in range(columns // COLUMNS):
                for neuron in range(COLUMNS * block, COLUMNS * block + COLUMNS):
                    current = wrapped_once(int32(int32(sums[neuron]) * layer.scale))
                    driven = int32(decayed(v[neuron], layer.keep_v[neuron]) + current)
                    potential = saturated(int32(driven + layer.bias[neuron]))
                    spike = fires(potential, layer.threshold[neuron])
                    fired[neuron] = spike
                    v[neuron] = int32(0) if spike else potential
            for neuron in range(size):
                spikes[step, sample, neuron] = fired[neuron]
