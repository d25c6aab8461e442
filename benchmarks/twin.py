"""Throughput of the emulator beside the real Lava: same integer network, same events, same spikes.

Network 128-256-20, 100 steps, 8 % of the inputs active in a step. The emulator runs batches of 64 samples
on all cores; Lava runs samples end to end in one runtime. Lava's start-up is left out: its clock runs from
the end of its first sample to the end of its last. So is the emulator's, whose clock runs from the end of its
first batch. Lava's spikes go to a sink, as in any script of Lava's users; reading them out of it takes longer
still, and is left out too. Times are milliseconds for one sample.
"""

import itertools
import time

import numpy as np
from interleaved import Comparison, arguments, report

from nsc_deploy.exporters.lava.arithmetic import processes, run_network
from nsc_deploy.exporters.lava.emulator.network import Network
from nsc_deploy.exporters.lava.emulator.simulate import output_spikes
from nsc_deploy.exporters.lava.integers import IntegerLayer, IntegerNetwork
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.lava.worker import run_in_lava

SIZES = (128, 256, 20)
STEPS = 100
RATE = 0.08
BATCH = 64
LAVA_SAMPLES = 9
TWIN_BATCHES = 20
GOAL = 3000


def integer_network() -> IntegerNetwork:
    chance = np.random.default_rng(0)
    return IntegerNetwork(tuple(layer(chance, *pair) for pair in itertools.pairwise(SIZES)), dt=1e-3)


def layer(chance: np.random.Generator, sources: int, targets: int) -> IntegerLayer:
    def full(value: int) -> np.ndarray:
        return np.full(targets, value, np.int32)

    return IntegerLayer(
        weight=Matrix.of((2 * chance.integers(-60, 61, (targets, sources))).astype(np.int32)),
        delay=full(0),
        du=full(4095),
        dv=full(400),
        vth=full(300),
        bias=full(0),
        bias_exp=full(6),
    )


def lava_milliseconds(network: IntegerNetwork, events: np.ndarray) -> tuple[float, np.ndarray]:
    """Time of a sample and the output spikes."""
    finished: list[tuple[float, int]] = []
    answer = run_in_lava(
        network, events, sink=True, advance=lambda samples: finished.append((time.perf_counter(), samples))
    )
    (start, _), (end, _) = finished[0], finished[-1]
    return 1e3 * (end - start) / sum(samples for _, samples in finished[1:]), answer.spikes


def twin_milliseconds(network: Network, events: np.ndarray) -> float:
    output_spikes(network, events, lag=0)  # sorts the synapses
    start = time.perf_counter()
    for _ in range(TWIN_BATCHES):
        output_spikes(network, events, lag=0)
    return 1e3 * (time.perf_counter() - start) / (TWIN_BATCHES * events.shape[1])


def main() -> None:
    options = arguments(__doc__, rounds=8)
    network = integer_network()
    events = (np.random.default_rng(1).random((STEPS, BATCH, SIZES[0])) < RATE).astype(np.uint8)
    hidden, output = (trace.spikes for trace in run_network(network, events))
    assert 0.01 < hidden.mean() < 0.5, "a network without spikes proves nothing"
    times = {"lava-nc": float("inf"), "twin": float("inf")}
    for _ in range(options.rounds):
        lava, spikes = lava_milliseconds(network, events[:, :LAVA_SAMPLES])
        assert np.array_equal(spikes, output[:, :LAVA_SAMPLES])
        times["lava-nc"] = min(times["lava-nc"], lava)
        times["twin"] = min(times["twin"], twin_milliseconds(processes(network), events))
    ratio = times["lava-nc"] / times["twin"]
    report(
        Comparison("a sample in the twin and in Lava", times, ratio, f"at least {GOAL}", ratio >= GOAL),
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
