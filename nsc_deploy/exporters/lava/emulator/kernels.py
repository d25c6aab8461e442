"""Lava's fixed-point arithmetic over a whole sequence: every rule once, then the loops that apply them.

Integers throughout. `int32(...)` marks where Lava's arrays hold 32 bits and an overflow wraps; sums beside
it are formed in 64 bits and cannot overflow. Connections cost only for the sources that are active: a dense
one adds a whole row of weights, a sparse one walks the synapses of the source.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.emulator import arrays
from nsc_deploy.kernels import called_often, inlined, int32, kernel_or

STATE_END = np.int32(2**23)
STATE_SPAN = np.int32(2**24)
LARGEST_POTENTIAL = np.int32(2**23 - 1)

# An integer of the machine; its width follows from the arrays it comes from.
Int: TypeAlias = Any

Integers = NDArray[np.int32]
Spikes = NDArray[np.uint8]


class Synapses(NamedTuple):
    """The synapses of a connection, sorted by their source.

    A row collects what arrives at one neuron after one delay: row `slot * neurons + neuron`, where `slot`
    counts the different delays.

    Attributes:
        matrix: weights [sources + 1, rows], the last row empty, or [0, 0] where the lists below are used for
            spikes as well.
        start: first synapse of each source, and the number of synapses [sources + 1].
        row: the row of each synapse.
        weight: the weight of each synapse.
        delays: the different delays in steps, beside the step that every connection takes.
        exponent: weight exponent; below zero it shifts right.
        wide: whether sums of graded messages are formed in 64 bits.
        wraps: whether sums wrap into 24 bits, as those of a convolution do.
    """

    matrix: Integers
    start: NDArray[np.int64]
    row: Integers
    weight: Integers
    delays: Integers
    exponent: int
    wide: bool
    wraps: bool


class Neurons(NamedTuple):
    """A population of LIF or LIFReset neurons, its parameters already scaled.

    Attributes:
        keep_u: what stays of the current, in 4096ths.
        keeps_current: whether anything stays of it in any neuron; most have no synaptic current.
        keep_v: what stays of the potential, in 4096ths.
        bias: added to the potential in every step.
        threshold: a spike needs a potential above it.
        u: current at the start.
        v: potential at the start.
        reset_interval: steps from one clearing of the state to the next; 0 for none.
        reset_offset: the state is cleared before steps (counted from 1) with this remainder.
        subtracts: whether a spike takes the threshold off the potential, and does not clear it.
    """

    keep_u: Integers
    keeps_current: bool
    keep_v: Integers
    bias: Integers
    threshold: Integers
    u: Integers
    v: Integers
    reset_interval: int
    reset_offset: int
    subtracts: bool


@inlined
def decayed(state: Int, kept: Int) -> Int:
    """`kept` 4096ths of a state, rounded toward zero.

    The product is formed in two halves, so that it stays within 32 bits.
    """
    magnitude = int32(abs(state))
    high = int32(int32(magnitude >> 12) * kept)
    low = int32(int32(int32(magnitude & 4095) * kept) >> 12)
    rest = int32(high + low)
    return int32(-rest) if state < 0 else rest


@inlined
def wrapped_once(current: Int) -> Int:
    """A current beyond 24 bits comes in again at the other end, once, however far beyond it is."""
    if current > STATE_END:
        return int32(current - STATE_SPAN)
    if current <= -STATE_END:
        return int32(current + STATE_SPAN)
    return current


@inlined
def saturated(potential: Int) -> Int:
    """A potential stops at the ends of 24 bits, which lie symmetrically."""
    return min(max(potential, -LARGEST_POTENTIAL), LARGEST_POTENTIAL)


@inlined
def shifted(total: Int, exponent: Int) -> Int:
    """A sum of weights under the weight exponent; a shift to the right rounds down."""
    return total << exponent if exponent > 0 else total >> -exponent


@inlined
def wrapped_24_bits(total: Int) -> Int:
    """The lowest 24 bits of a sum, read as a signed number."""
    return ((total + 8388608) & 16777215) - 8388608


@inlined
def aligned(activation: Int) -> Int:
    """What arrives, in the 2^6 times finer units of the current."""
    return activation << 6


@inlined
def fires(potential: int, threshold: int) -> bool:
    """Equality is not enough."""
    return potential > threshold


@inlined
def is_cleared(step: int, interval: int, offset: int) -> bool:
    """Whether the state is cleared before a step, counted from 1."""
    return interval > 0 and step % interval == offset


@inlined
def active_sources(spikes: Spikes, step: int, sample: int, sources: int, active: NDArray[np.uint32]) -> Int:
    """List the sources that send something and return their number."""
    count = np.uint64(0)
    for source in range(sources):
        active[count] = source
        count += np.uint64(spikes[step, sample, source] != 0)
    return np.int64(count)


@inlined
def add_rows(matrix: Integers, active: NDArray[np.uint32], count: int, sums: Integers) -> None:
    """Add the weights of the active sources, four in one go: that saves most reads and writes of the sums.

    The last row of the matrix is empty and fills up the last four; `active` has room for that.
    """
    for place in range(count, count + 3):
        active[place] = matrix.shape[0] - 1
    for place in range(0, count, 4):
        one, two, three, four = active[place], active[place + 1], active[place + 2], active[place + 3]
        for row in range(sums.shape[0]):
            half = int32(matrix[one, row] + matrix[two, row])
            other = int32(matrix[three, row] + matrix[four, row])
            sums[row] = int32(sums[row] + int32(half + other))


@called_often
def deliver_spikes(
    spikes: Spikes,
    step: int,
    sample: int,
    synapses: Synapses,
    active: NDArray[np.uint32],
    sums: Integers,
    arriving: Integers,
    now: int,
) -> None:
    """Add the spikes of one step to what arrives now and later.

    Args:
        spikes: [steps, samples, sources].
        step: which step of them.
        sample: which sample of them.
        synapses: the connection.
        active: room for a list of sources and three more.
        sums: room for the rows of the connection.
        arriving: [slots, neurons], a ring of the steps to come.
        now: the step in which spikes without a delay arrive.
    """
    count = active_sources(spikes, step, sample, synapses.start.shape[0] - 1, active)
    if count > 0:
        sums[:] = 0
        if synapses.matrix.shape[0] > 0:
            add_rows(synapses.matrix, active, count, sums)
        else:
            for place in range(count):
                source = active[place]
                for synapse in range(synapses.start[source], synapses.start[source + 1]):
                    sums[synapses.row[synapse]] += synapses.weight[synapse]
        slots, neurons = arriving.shape
        for part in range(synapses.delays.shape[0]):
            slot = (now + synapses.delays[part]) % slots
            first = part * neurons
            for neuron in range(neurons):
                total = int32(shifted(sums[first + neuron], synapses.exponent))
                if synapses.wraps:
                    total = wrapped_24_bits(total)
                arriving[slot, neuron] = int32(arriving[slot, neuron] + total)


@called_often
def deliver_messages(
    messages: Integers,
    step: int,
    sample: int,
    synapses: Synapses,
    sums: NDArray[np.int64],
    arriving: Integers,
    now: int,
) -> None:
    """Add the graded messages of one step likewise; arguments as for `deliver_spikes`."""
    sums[:] = 0
    for source in range(messages.shape[2]):
        message = messages[step, sample, source]
        if message != 0:
            for synapse in range(synapses.start[source], synapses.start[source + 1]):
                sums[synapses.row[synapse]] += int32(synapses.weight[synapse] * message)
    slots, neurons = arriving.shape
    for part in range(synapses.delays.shape[0]):
        slot = (now + synapses.delays[part]) % slots
        for neuron in range(neurons):
            total = sums[part * neurons + neuron]
            if synapses.wraps:
                total = wrapped_24_bits(total)
            elif synapses.wide:
                total = int32(shifted(total, synapses.exponent))
            else:
                total = int32(shifted(int32(total), synapses.exponent))
            arriving[slot, neuron] = int32(arriving[slot, neuron] + total)


@called_often
def update(
    arriving: Integers,
    slot: int,
    neurons: Neurons,
    u: Integers,
    v: Integers,
    spikes: Spikes,
    step: int,
    sample: int,
) -> None:
    """One step of a population: current, potential, spike, reset; the slot is free again behind it.

    Args:
        arriving: [slots, neurons], a ring of the steps to come.
        slot: of this step.
        neurons: the population.
        u: [neurons], changed.
        v: [neurons], changed.
        spikes: [steps, samples, neurons], filled for this step.
        step: which step of them.
        sample: which sample of them.
    """
    for neuron in range(u.shape[0]):
        current = int32(aligned(arriving[slot, neuron]))
        arriving[slot, neuron] = 0
        if neurons.keeps_current:
            current = int32(decayed(u[neuron], neurons.keep_u[neuron]) + current)
        current = wrapped_once(current)
        u[neuron] = current
        driven = int32(decayed(v[neuron], neurons.keep_v[neuron]) + current)
        potential = saturated(int32(driven + neurons.bias[neuron]))
        fired = fires(potential, neurons.threshold[neuron])
        spikes[step, sample, neuron] = fired
        if fired:
            potential = int32(potential - neurons.threshold[neuron]) if neurons.subtracts else int32(0)
        v[neuron] = potential


@kernel_or(arrays.run_samples)
def run_samples(
    inputs: Spikes,
    messages: Integers,
    first: int,
    lag: int,
    forward: Synapses,
    recurrent: Synapses,
    neurons: Neurons,
    spikes: Spikes,
    current: Integers,
    potential: Integers,
) -> None:
    """Run a layer on some samples, each from the start.

    Args:
        inputs: spikes that come in [steps, samples, sources]; not read where there are messages.
        messages: graded messages likewise, or [0, 0, 0].
        first: the first sample of them to run; as many follow as `spikes` has room for.
        lag: steps that the connection takes, 0 or 1. Recurrent spikes always take one.
        forward: synapses from the inputs.
        recurrent: synapses from the neurons' own spikes; no sources where there are none.
        neurons: the population.
        spikes: filled [steps, samples, neurons].
        current: filled with u after each step likewise, or [0, 0, 0] to keep none.
        potential: the same for v.
    """
    steps, samples, size = spikes.shape
    slots = max(forward.delays.max(), recurrent.delays.max()) + 1
    rows = max(forward.delays.shape[0], recurrent.delays.shape[0]) * size
    arriving = np.zeros((slots, size), np.int32)
    sums = np.zeros(rows, np.int32)
    forward_sums = sums[: forward.delays.shape[0] * size]
    recurrent_sums = sums[: recurrent.delays.shape[0] * size]
    message_sums = np.zeros(rows if messages.shape[0] > 0 else 0, np.int64)
    active = np.zeros(max(inputs.shape[2], size) + 3, np.uint32)
    u = np.zeros(size, np.int32)
    v = np.zeros(size, np.int32)
    for sample in range(samples):
        arriving[:] = 0
        u[:] = neurons.u
        v[:] = neurons.v
        for step in range(steps):
            if step >= lag and messages.shape[0] > 0:
                deliver_messages(messages, step - lag, first + sample, forward, message_sums, arriving, step)
            elif step >= lag:
                deliver_spikes(
                    inputs, step - lag, first + sample, forward, active, forward_sums, arriving, step
                )
            if step >= 1 and recurrent.start.shape[0] > 1:
                deliver_spikes(spikes, step - 1, sample, recurrent, active, recurrent_sums, arriving, step)
            if is_cleared(step + 1, neurons.reset_interval, neurons.reset_offset):
                u[:] = 0
                v[:] = 0
            update(arriving, step % slots, neurons, u, v, spikes, step, sample)
            if current.shape[0] > 0:
                current[step, sample] = u
                potential[step, sample] = v
