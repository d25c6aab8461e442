"""The loops of `kernels` as operations on whole arrays of numpy, for where numba is not installed.

All samples of a layer go through a step together. Sums of weights are formed exactly, then cut to the bits
that Lava keeps: what wraps there wraps here.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nsc_deploy.exporters.lava.emulator.kernels import Integers, Neurons, Spikes, Synapses

_END, _SPAN, _LARGEST = 2**23, 2**24, 2**23 - 1
Wide = NDArray[np.int64]


def run_samples(
    inputs: "Spikes",
    messages: "Integers",
    first: int,
    lag: int,
    forward: "Synapses",
    recurrent: "Synapses",
    neurons: "Neurons",
    spikes: "Spikes",
    current: "Integers",
    potential: "Integers",
) -> None:
    """Run a layer on some samples, each from the start; arguments as for `kernels.run_samples`."""
    steps, samples, size = spikes.shape
    graded, chosen = messages.shape[0] > 0, slice(first, first + samples)
    slots = int(max(forward.delays.max(), recurrent.delays.max())) + 1
    arriving = np.zeros((slots, samples, size), np.int32)
    u, v = (np.tile(start.astype(np.int32), (samples, 1)) for start in (neurons.u, neurons.v))
    for step in range(steps):
        if step >= lag and graded:
            sums = _sums(messages[step - lag, chosen], forward, size)
            _arrive(_message_totals(sums, forward), forward, arriving, step)
        elif step >= lag:
            _arrive(_spike_totals(inputs[step - lag, chosen], forward, size), forward, arriving, step)
        if step >= 1 and recurrent.start.shape[0] > 1:
            _arrive(_spike_totals(spikes[step - 1], recurrent, size), recurrent, arriving, step)
        if neurons.reset_interval > 0 and (step + 1) % neurons.reset_interval == neurons.reset_offset:
            u[:], v[:] = 0, 0
        spikes[step] = _update(arriving[step % slots], neurons, u, v)
        if current.shape[0] > 0:
            current[step], potential[step] = u, v


def _spike_totals(spikes: "Spikes", synapses: "Synapses", size: int) -> Wide:
    """What the spikes [samples, sources] of one step send to each row, [samples, rows]."""
    if synapses.matrix.shape[0] > 0:
        # Sums of integers below 2^53 are exact in float64, which a BLAS multiplies.
        sums = ((spikes != 0).astype(np.float64) @ synapses.matrix[:-1].astype(np.float64)).astype(np.int64)
    else:
        sums = _sums((spikes != 0).astype(np.int32), synapses, size)
    totals = _cut(_shifted(_cut(sums), synapses.exponent))
    return _wrapped_24_bits(totals) if synapses.wraps else totals


def _message_totals(sums: Wide, synapses: "Synapses") -> Wide:
    if synapses.wraps:
        return _wrapped_24_bits(sums)
    return _cut(_shifted(sums if synapses.wide else _cut(sums), synapses.exponent))


def _sums(values: "Integers", synapses: "Synapses", size: int) -> Wide:
    """Values [samples, sources] times the weights they meet, each product cut to 32 bits, added by row."""
    sums = np.zeros((values.shape[0], synapses.delays.shape[0] * size), np.int64)
    sample, source = np.nonzero(values)
    number = synapses.start[source + 1] - synapses.start[source]
    each = np.repeat(np.arange(len(source)), number)
    synapse = np.arange(len(each)) - np.repeat(np.cumsum(number) - number, number)
    synapse += np.repeat(synapses.start[source], number)
    products = _cut(values[sample, source][each].astype(np.int64) * synapses.weight[synapse])
    np.add.at(sums, (sample[each], synapses.row[synapse]), products)
    return sums


def _arrive(totals: Wide, synapses: "Synapses", arriving: "Integers", now: int) -> None:
    """Put totals [samples, rows] into the steps they arrive in; sums wrap in 32 bits."""
    slots, _, size = arriving.shape
    for part, delay in enumerate(synapses.delays):
        slot = arriving[(now + int(delay)) % slots]
        slot += totals[:, part * size : (part + 1) * size].astype(np.int32)


def _update(arriving: "Integers", neurons: "Neurons", u: "Integers", v: "Integers") -> NDArray[np.bool_]:
    """One step of a population, [samples, neurons]; what arrived is taken out, u and v are changed."""
    current = arriving << 6
    arriving[:] = 0
    if neurons.keeps_current:
        current = _decayed(u, neurons.keep_u) + current
    current = np.where(current > _END, current - _SPAN, current)
    current = np.where(current <= -_END, current + _SPAN, current)
    u[:] = current
    driven = _decayed(v, neurons.keep_v) + current + neurons.bias
    potential = np.clip(driven, -_LARGEST, _LARGEST)
    fired: NDArray[np.bool_] = potential > neurons.threshold
    v[:] = np.where(fired, potential - neurons.threshold if neurons.subtracts else 0, potential)
    return fired


def _decayed(state: "Integers", kept: "Integers") -> NDArray[np.int32]:
    """`kept` 4096ths of a state, rounded toward zero."""
    rest: NDArray[np.int32] = ((np.abs(state.astype(np.int64)) * kept) >> 12).astype(np.int32)
    return np.where(state < 0, -rest, rest)


def _shifted(total: Wide, exponent: int) -> Wide:
    return total << exponent if exponent > 0 else total >> -exponent


def _wrapped_24_bits(total: Wide) -> Wide:
    return ((total + 2**23) & (2**24 - 1)) - 2**23


def _cut(total: Any) -> Wide:
    """The lowest 32 bits, as a signed number."""
    return np.asarray(total).astype(np.int32).astype(np.int64)
