"""What counting costs on top of running a graph: against a bare forward pass, and in memory.

Times are of the processor, on one thread, medians of several rounds. In each round counting follows a
forward pass, and the ratio is the median of the rounds' ratios, so that other programs that press on the
caches slow both alike. With `--large` also a graph of 100 million synapses, from a file. Where
NeuroBench or SpikingJelly is installed (`pip install nsc-deploy[peers]`), their counters run on the same
network and batch.
"""

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy reads it

import resource
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import nir
import numpy as np
from counting_peers import peer_counters
from interleaved import best_times, parser
from numpy.typing import NDArray

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, cross_attention
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.graphs.simulate import simulate_batches

GOAL = 1.2
SIZES = (128, 256, 256, 20)
DT = 1e-3
BATCH = 64


@dataclass(frozen=True)
class Overhead:
    """Counting beside a bare forward pass.

    Attributes:
        case: the network.
        milliseconds: median processor time of each.
        ratio: counting over the forward pass before it, median of the rounds.
        reached: whether it is within the goal.
    """

    case: str
    milliseconds: dict[str, float]
    ratio: float
    reached: bool


@dataclass(frozen=True)
class Memory:
    """Peak of what counting allocates, in MB, by number of samples."""

    megabytes: dict[int, float]
    reached: bool


@dataclass(frozen=True)
class Large:
    """A graph of many synapses: from a file, counted."""

    synapses: int
    samples: int
    synops: int
    seconds: float
    peak_gigabytes: float


@dataclass(frozen=True)
class Results:
    """Everything this script measures."""

    threads: int
    overheads: list[Overhead]
    memory: Memory
    peers: dict[str, float]
    large: Large | None


def main() -> None:
    options = _arguments()
    events = random_events((128,), 256)
    overheads = [
        _overhead("dense 128-256-256-20, 50 steps", dense(dense_weights()), events, options.rounds),
        _overhead("convolutions 2x34x34", convolutional(), random_events((2, 34, 34), 16), options.rounds),
        _onnx_overhead(options.rounds),
    ]
    results = Results(
        threads=int(os.environ["OMP_NUM_THREADS"]),
        overheads=overheads,
        memory=_memory(),
        peers=_peers(options.rounds),
        large=_large() if options.large else None,
    )
    print(json.dumps(asdict(results), indent=2) if options.json else _table(results))


def _arguments() -> argparse.Namespace:
    options = parser(__doc__ or "", rounds=15)
    options.add_argument(
        "--large", action="store_true", help="also count 100 million synapses (2 GB, minutes)"
    )
    return options.parse_args()


def dense_weights() -> list[NDArray[np.float32]]:
    """Weights on a grid, so that every simulator gives the same spikes."""
    chance = np.random.default_rng(0)
    pairs = zip(SIZES[1:], SIZES[:-1], strict=True)
    return [
        (np.round(chance.normal(size=pair) * 3 / pair[1] ** 0.5 * 1024) / 1024).astype(np.float32)
        for pair in pairs
    ]


def dense(weights: list[NDArray[np.float32]]) -> Network:
    """Layers of leaky neurons."""
    builder = GraphBuilder(DT)
    builder.input(weights[0].shape[1], Signal.EVENTS)
    for index, weight in enumerate(weights):
        builder.linear(f"linear{index}", weight)
        builder.lif(f"lif{index}", 0.9, 1.0, len(weight))
    builder.output(len(weights[-1]))
    return assemble(builder.build())


def convolutional() -> Network:
    """Two convolutions with pools, and a dense layer."""
    chance, builder = np.random.default_rng(0), GraphBuilder(DT)
    builder.input((2, 34, 34), Signal.EVENTS)
    channels, size = 2, 34
    for index, leaving in enumerate((8, 16)):
        scale = 2 / (9 * channels) ** 0.5
        weight = (np.round(chance.normal(size=(leaving, channels, 3, 3)) * scale * 1024) / 1024).astype(
            np.float32
        )
        bias = np.zeros(leaving, dtype=np.float32)
        builder.add(f"conv{index}", nir.Conv2d((size, size), weight, 1, 1, 1, 1, bias))
        builder.lif(f"lif{index}", 0.9, 1.0, (leaving, size, size))
        window = np.array([2, 2])
        builder.add(f"pool{index}", nir.SumPool2d(window, window, np.array([0, 0])))
        channels, size = leaving, size // 2
    shape = {"input": np.array([channels, size, size])}
    builder.add("flat", nir.Flatten(shape, start_dim=0, end_dim=-1))
    builder.linear("linear", chance.normal(size=(10, channels * size * size)))
    builder.lif("lif", 0.9, 1.0, 10)
    builder.output(10)
    return assemble(builder.build())


def random_events(shape: tuple[int, ...], samples: int, steps: int = 50) -> Recording:
    """Events at a rate of a tenth."""
    values = np.random.default_rng(1).random((steps, samples, *shape), dtype=np.float32) < 0.1
    return Recording(values.astype(np.uint8), Signal.EVENTS, DT)


def _count(network: Network, recording: Recording) -> int:
    part = count_network(network, recording, name="graph", batch=BATCH)
    return int(part.per_sample.synaptic.sum())


def _overhead(case: str, network: Network, recording: Recording, rounds: int) -> Overhead:
    return _compared(
        case,
        lambda: simulate_batches(network, recording.values, batch=BATCH),
        lambda: _count(network, recording),
        rounds,
    )


def _compared(
    case: str, forward: Callable[[], object], counted: Callable[[], object], rounds: int
) -> Overhead:
    rows = []
    for _ in range(rounds + 1):
        started = time.process_time()
        forward()
        between = time.process_time()
        counted()
        rows.append((between - started, time.process_time() - between))
    # The first round compiles and fills the caches.
    times = np.array(rows[1:])
    ratio = float(np.median(times[:, 1] / times[:, 0]))
    milliseconds = 1e3 * np.median(times, axis=0)
    return Overhead(
        case, {"forward": float(milliseconds[0]), "counted": float(milliseconds[1])}, ratio, ratio <= GOAL
    )


def _onnx_overhead(rounds: int, channels: int = 256, samples: int = 1024, steps: int = 30) -> Overhead:
    """An ONNX graph that events enter: two convolutions over time, and a gate of spiking neurons."""
    chance = np.random.default_rng(0)
    sizes = {"left": (channels, 1, 5), "right": (channels, channels, 3), "gate": (channels, channels)}
    drawn = {name: (chance.integers(-64, 65, size=size) / 64) for name, size in sizes.items()}
    block = CrossAttention(
        beta=0.5, threshold=16.0, **{name: one.astype(np.float32) for name, one in drawn.items()}
    )
    recording = random_events((channels,), samples, steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attention.onnx"
        write_onnx(path, cross_attention(block, signal=Signal.EVENTS, dt=DT))
        return _compared(
            f"ONNX: cross attention of {channels} channels, {steps} steps",
            lambda: run_onnx(path, recording.values, batch=BATCH),
            lambda: count_onnx(path, recording, batch=BATCH),
            rounds,
        )


def _memory() -> Memory:
    network = dense(dense_weights())
    found = {}
    for samples in (BATCH, 16 * BATCH):
        recording = random_events((128,), samples)
        found[samples] = _peak(partial(_count, network, recording))
    few, many = found.values()
    return Memory(found, many < 1.2 * few)


def _peak(work: Callable[[], object]) -> float:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def _peers(rounds: int) -> dict[str, float]:
    """Milliseconds of each counter on the dense network and one batch."""
    # Without zeros, for SpikingJelly counts synapses that are not there.
    weights = [np.where(weight == 0, np.float32(2**-10), weight) for weight in dense_weights()]
    recording = random_events((128,), BATCH)
    counters: Mapping[str, Callable[[], int]] = peer_counters(weights, recording.values)
    if not counters:
        return {}
    network = dense(weights)
    counters = {"nsc-deploy": lambda: _count(network, recording)} | dict(counters)
    found = {name: counter() for name, counter in counters.items()}
    assert len(set(found.values())) == 1, f"the counters disagree: {found}"
    return best_times(counters, rounds, time.process_time)


def _large(side: int = 10_000, steps: int = 10, samples: int = 16) -> Large:
    chance = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.nir"
        builder = GraphBuilder(DT)
        builder.input(side, Signal.EVENTS)
        builder.linear("linear", chance.integers(1, 64, size=(side, side), dtype=np.int8) / np.float32(64))
        builder.lif("lif", 0.9, 100.0, side)
        builder.output(side)
        write_network(path, builder.build())
        del builder
        start = time.process_time()
        recording = random_events((side,), samples, steps)
        synops = _count(read_network(path, dt=DT, reset=None, signal=Signal.EVENTS), recording)
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return Large(side * side, samples, synops, seconds, peak)


def _table(results: Results) -> str:
    lines = [f"counting against a bare forward pass, processor time on {results.threads} thread(s)"]
    for one in results.overheads:
        times = ", ".join(f"{name} {ms:.1f} ms" for name, ms in one.milliseconds.items())
        verdict = "reached" if one.reached else "missed"
        lines.append(f"  {one.case}: {times}: {one.ratio:.2f} times; goal at most {GOAL}: {verdict}")
    few, many = results.memory.megabytes.items()
    lines.append(f"peak memory: {few[1]:.1f} MB for {few[0]} samples, {many[1]:.1f} MB for {many[0]}")
    if results.peers:
        lines.append("counting the dense network over one batch")
        lines += [f"  {name}: {milliseconds:.1f} ms" for name, milliseconds in results.peers.items()]
    if results.large is not None:
        large = results.large
        lines.append(
            f"{large.synapses:,} synapses from a file, {large.samples} samples: {large.synops:,} SynOps in "
            f"{large.seconds:.1f} s of the processor, at most {large.peak_gigabytes:.1f} GB of memory"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
