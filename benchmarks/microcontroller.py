"""Instructions of C code on Cortex-M in QEMU: leaky neurons, 64-128-10, 8 % of the inputs in a step.

QEMU counts exactly and always alike, so one run is all. A hand-written integer network of the same size took
7,300 to 9,400 instructions a step on a Cortex-M4. What a synaptic operation takes is the slope between steps
with more and with fewer events into 128 neurons that never fire: the inner loop and what each event costs.
"""

import argparse
from contextlib import ExitStack
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE
from nsc_deploy.exporters.c.cost import Spread
from nsc_deploy.exporters.c.events import EmulatorRunner, EventCode
from nsc_deploy.exporters.c.layout import Layout, lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.memory import map_memory
from nsc_deploy.exporters.c.qemu import QemuRunner, boards, find_board
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Signal

SIZES = (64, 128, 10)
STEPS, SAMPLES = 30, 20
RATE = 0.08
CORE = "cortex-m4"
MOST_INSTRUCTIONS, MOST_PER_SYNOP, MOST_CODE = 6000, 6.0, 4096


def network(*sizes: int, threshold: float = 1.0) -> Network:
    chance = np.random.default_rng(1)
    build = GraphBuilder(1e-3)
    build.input(sizes[0], Signal.EVENTS)
    for index, (sources, targets) in enumerate(pairwise(sizes)):
        build.linear(f"w{index}", chance.normal(0, 0.25, (targets, sources)))
        build.lif(f"n{index}", 0.9, threshold, targets)
    build.output(sizes[-1])
    return assemble(build.build())


def layout(graph: Network) -> Layout:
    return lay_out(lower_to_program(graph).program, "net")


def instructions(
    graph: Network, written: Layout, events: NDArray[np.uint8], cpu: str
) -> tuple[NDArray[np.int64], float]:
    """Of each step [steps, samples], and synaptic operations a step; every spike is that of the emulator."""
    with ExitStack() as closing:
        source = source_text(written, HERE)
        trace = QemuRunner(EventCode(written, graph), source, RunSettings(cpu=cpu, closing=closing)).run(
            events
        )
    expected = EmulatorRunner(written.program, graph).run(events)
    for name, layer in trace.layers.items():
        assert np.array_equal(layer.spikes, expected.layers[name].spikes)
    assert trace.instructions is not None
    synops = 0
    for one, connection in written.program.connections():
        source_events = events if connection.source == "input" else expected.layers[connection.source].spikes
        fan_out = np.bincount(connection.weight.source, minlength=connection.weight.shape[1])
        synops += int((source_events.sum((0, 1)) * fan_out).sum())
        assert one.size
    return trace.instructions, synops / trace.instructions.size


def per_synop(cpu: str) -> float:
    """The slope between steps with many events and with few."""
    graph = network(64, 128, threshold=1e3)
    written = layout(graph)
    events = np.zeros((2, 1, 64), np.uint8)
    events[0, 0, ::16] = 1
    events[1, 0, ::2] = 1
    counts, _ = instructions(graph, written, events, cpu)
    synapses = written.program.populations[0].synapses
    return float((counts[1, 0] - counts[0, 0]) / ((events[1].sum() - events[0].sum()) * synapses / 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", nargs="*", default=list(boards()), help="cores (default: all)")
    graph = network(*SIZES)
    written = layout(graph)
    events = (np.random.default_rng(2).random((STEPS, SAMPLES, SIZES[0])) < RATE).astype(np.uint8)
    print(f"{'core':<12}{'mean':>8}{'95 %':>8}{'worst':>8}{'SynOps':>8}{'a SynOp':>9}{'code':>7}{'RAM':>6}")
    reached = True
    for cpu in parser.parse_args().cpu:
        counts, synops = instructions(graph, written, events, cpu)
        step, slope = Spread.of(counts), per_synop(cpu)
        memory = map_memory(EventCode(written, graph), find_board(cpu).cpu)
        code = sum(piece.bytes for piece in memory.flash if piece.holds == "code")
        print(
            f"{find_board(cpu).cpu:<12}{step.mean:>8.0f}{step.percentile_95:>8.0f}{step.worst:>8.0f}"
            f"{synops:>8.0f}{slope:>9.2f}{code:>7}{memory.ram_bytes:>6}"
        )
        if find_board(cpu).cpu == CORE:
            within = step.mean < MOST_INSTRUCTIONS and slope <= MOST_PER_SYNOP and code < MOST_CODE
            reached = reached and within
    goal = f"under {MOST_INSTRUCTIONS} a step, {MOST_PER_SYNOP:g} a SynOp at most, code under {MOST_CODE}"
    print(f"{CORE}: {goal}: {'reached' if reached else 'MISSED'}")
    raise SystemExit(not reached)


if __name__ == "__main__":
    main()
