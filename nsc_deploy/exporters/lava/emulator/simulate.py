"""Running the emulator: batches of samples on all cores, always with the same result.

Samples are independent, so they are spread over threads in blocks; the kernel releases the interpreter lock.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.lava.emulator.kernels import run_samples
from nsc_deploy.exporters.lava.emulator.network import INT32_END, CompiledLayer, Layer, Network, largest_sum

if TYPE_CHECKING:
    from nsc_deploy.exporters.lava.emulator.plain_layers import PlainLayer

BLOCK = 16


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did, each [steps, samples, neurons].

    Attributes:
        spikes: uint8.
        current: int32, u after the step.
        potential: int32, v after the step and its reset.
    """

    spikes: NDArray[np.uint8]
    current: NDArray[np.int32]
    potential: NDArray[np.int32]


@dataclass(frozen=True)
class Inputs:
    """What comes in, [steps, samples, sources]: where something is sent, and its value where that counts."""

    spikes: NDArray[np.uint8]
    messages: NDArray[np.int32]


_NO_MESSAGES = np.zeros((0, 0, 0), np.int32)
_NO_STATES = np.zeros((0, 0, 0), np.int32)


def simulate(
    network: Network, messages: NDArray[Any], *, lag: int = 1, threads: int | None = None
) -> tuple[LayerTrace, ...]:
    """Run samples, each from the start, and return what every layer did.

    Args:
        network: the processes.
        messages: [steps, samples, sources], whole numbers; spikes where nothing is graded.
        lag: steps a connection between layers takes. 1 is Lava's time: layer i answers i + 1 steps late,
            and runs on silence before. 0 is the graph's time: layers meet an input in one step, and start
            with it; recurrent spikes take one step in both.
        threads: how many threads; by default NUMBA_NUM_THREADS, else the number of cores.

    Raises:
        DataError: parameters or messages that Lava would not take, or would silently change.
        ConfigError: a number of threads below 1, or a lag that is neither 0 nor 1.
    """
    compiled = network.compiled
    inputs = _checked(network, compiled, messages)
    steps, samples, _ = inputs.spikes.shape
    traces = tuple(
        LayerTrace(
            np.empty((steps, samples, layer.neurons.threshold.size), np.uint8),
            np.empty((steps, samples, layer.neurons.threshold.size), np.int32),
            np.empty((steps, samples, layer.neurons.threshold.size), np.int32),
        )
        for layer in compiled
    )

    def run(first: int, last: int) -> None:
        for trace, part in zip(traces, _trace_block(compiled, inputs, first, last, lag), strict=True):
            trace.spikes[:, first:last] = part.spikes
            trace.current[:, first:last] = part.current
            trace.potential[:, first:last] = part.potential

    _in_blocks(run, samples, lag, threads)
    return traces


def output_spikes(
    network: Network, messages: NDArray[Any], *, lag: int = 1, threads: int | None = None
) -> NDArray[np.uint8]:
    """The spikes of the last layer, [steps, samples, neurons]; arguments and errors as for `simulate`."""
    compiled, plain = network.compiled, network.plain
    inputs = _checked(network, compiled, messages)
    steps, samples, _ = inputs.spikes.shape
    spikes = np.empty((steps, samples, compiled[-1].neurons.threshold.size), np.uint8)

    def run(first: int, last: int) -> None:
        spikes[:, first:last] = _spikes_of_block(compiled, plain, inputs, first, last, lag)[-1]

    _in_blocks(run, samples, lag, threads)
    return spikes


def all_spikes(
    network: Network, messages: NDArray[Any], *, lag: int = 1, threads: int | None = None
) -> tuple[NDArray[np.uint8], ...]:
    """The spikes of every layer, each [steps, samples, neurons]; arguments and errors as for `simulate`."""
    compiled, plain = network.compiled, network.plain
    inputs = _checked(network, compiled, messages)
    steps, samples, _ = inputs.spikes.shape
    spikes = tuple(np.empty((steps, samples, layer.neurons.threshold.size), np.uint8) for layer in compiled)

    def run(first: int, last: int) -> None:
        for whole, part in zip(
            spikes, _spikes_of_block(compiled, plain, inputs, first, last, lag), strict=True
        ):
            whole[:, first:last] = part

    _in_blocks(run, samples, lag, threads)
    return spikes


def thread_count(threads: int | None) -> int:
    """Threads to use: what was asked for, else NUMBA_NUM_THREADS, else the cores this process may use.

    Raises:
        ConfigError: a number below 1.
    """
    asked = os.environ.get("NUMBA_NUM_THREADS", "")
    if threads is None and not asked:
        return len(os.sched_getaffinity(0))
    count = threads if threads is not None else int(asked) if asked.isdigit() else 0
    if count < 1:
        raise ConfigError(
            f"{asked if threads is None else threads} threads cannot run anything",
            where="NUMBA_NUM_THREADS" if threads is None else "threads",
            hint="Ask for at least one.",
        )
    return count


def _in_blocks(run: Any, samples: int, lag: int, threads: int | None) -> None:
    if lag not in {0, 1}:
        raise ConfigError(f"{lag} is neither 0 (the graph's time) nor 1 (Lava's)", where="lag")
    count = thread_count(threads)
    size = max(1, min(BLOCK, -(-samples // count)))
    blocks = [(first, min(first + size, samples)) for first in range(0, samples, size)]
    helpers, waiting = min(count, len(blocks)) - 1, iter(blocks)

    def work() -> None:
        for block in waiting:  # one iterator for all threads: each block is handed out once
            run(*block)

    if not helpers:
        work()
        return
    others = [_helpers(count).submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        blocks.clear()  # where this thread was interrupted, the others end with the block they are at
        wait(others)
    for other in others:
        other.result()


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """The threads beside this one, which works too.

    They stay for the next batch: one is a matter of milliseconds, and starting threads takes a fifth of that.
    """
    return ThreadPoolExecutor(count - 1, thread_name_prefix="emulator")


os.register_at_fork(after_in_child=_helpers.cache_clear)  # a forked process has none of its parent's threads


def _trace_block(
    layers: Sequence[CompiledLayer], inputs: Inputs, first: int, last: int, lag: int
) -> list[LayerTrace]:
    traces: list[LayerTrace] = []
    for layer in layers:
        shape = (inputs.spikes.shape[0], last - first, layer.neurons.threshold.size)
        trace = LayerTrace(np.empty(shape, np.uint8), np.empty(shape, np.int32), np.empty(shape, np.int32))
        run_samples(
            traces[-1].spikes if traces else inputs.spikes,
            _NO_MESSAGES if traces else inputs.messages,
            0 if traces else first,
            lag,
            layer.forward,
            layer.recurrent,
            layer.neurons,
            trace.spikes,
            trace.current,
            trace.potential,
        )
        traces.append(trace)
    return traces


def _spikes_of_block(
    layers: Sequence[CompiledLayer],
    plain_layers: "Sequence[PlainLayer | None]",
    inputs: Inputs,
    first: int,
    last: int,
    lag: int,
) -> list[NDArray[np.uint8]]:
    from nsc_deploy.exporters.lava.emulator.plain_layers import run_plain

    found: list[NDArray[np.uint8]] = []
    arriving, messages, start = inputs.spikes, inputs.messages, first
    for layer, plain in zip(layers, plain_layers, strict=True):
        spikes = np.empty((arriving.shape[0], last - first, layer.neurons.threshold.size), np.uint8)
        if plain is not None:
            run_plain(arriving, start, lag, plain, spikes)
        else:
            run_samples(
                arriving,
                messages,
                start,
                lag,
                layer.forward,
                layer.recurrent,
                layer.neurons,
                spikes,
                _NO_STATES,
                _NO_STATES,
            )
        found.append(spikes)
        arriving, messages, start = spikes, _NO_MESSAGES, 0
    return found


def _checked(network: Network, compiled: Sequence[CompiledLayer], messages: NDArray[Any]) -> Inputs:
    if messages.ndim != 3 or messages.shape[2] != compiled[0].sources or 0 in messages.shape:
        raise DataError(
            f"have the shape {messages.shape}, [steps, samples, {compiled[0].sources}] is wanted",
            where="messages",
        )
    first = network.layers[0].connection
    spikes = np.ascontiguousarray(messages != 0).view(np.uint8)
    if first.num_message_bits == 0:
        _refuse_undefined_sums(network.layers)
        return Inputs(spikes, _NO_MESSAGES)
    if messages.dtype.kind not in "biu":
        raise DataError(f"are {messages.dtype}, whole numbers are wanted", where="messages")
    if not -INT32_END <= int(messages.min()) <= int(messages.max()) < INT32_END:
        raise DataError("leave 32 bits", where="messages")
    _refuse_undefined_sums(network.layers, int(np.abs(messages.astype(np.int64)).max()))
    return Inputs(spikes, np.ascontiguousarray(messages, np.int32))


def _refuse_undefined_sums(layers: Sequence[Layer], largest: int = 1) -> None:
    """Lava's convolution goes through float64: what it makes of sums beyond 32 bits is not defined."""
    for index, layer in enumerate(layers):
        message = largest if index == 0 else 1
        for one in (layer.connection, layer.recurrent):
            if one is not None and one.wraps and largest_sum(one.entries(), message) >= INT32_END:
                raise DataError("can add up to more than 32 bits in a convolution", where="messages")
