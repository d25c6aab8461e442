"""The compiled code on every core that QEMU has: the same bits, and instructions that add up."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import BackendError, ConfigError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.events import EmulatorRunner, EventCode
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.qemu import QemuRunner, boards, find_board
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.verification.runner import RunTrace
from tests.support.c_graphs import ORIGIN, needs_qemu, random_c_graph, random_events


def run_on(cpu: str, network: Network, events: np.ndarray, silence_s: float = 60.0) -> RunTrace:
    """Events through the code on a core; every layer is held to the emulator."""
    program = lower_to_program(network).program
    layout = lay_out(program, "net")
    with ExitStack() as closing:
        settings = RunSettings(cpu=cpu, silence_s=silence_s, closing=closing)
        trace = QemuRunner(EventCode(layout, network), source_text(layout, ORIGIN), settings).run(events)
    emulated = EmulatorRunner(program, network).run(events)
    np.testing.assert_array_equal(trace.output, emulated.output)
    for name, layer in trace.layers.items():
        np.testing.assert_array_equal(layer.spikes, emulated.layers[name].spikes)
    return trace


def dense(inputs: int, neurons: int) -> Network:
    """A layer of leaky neurons."""
    build = GraphBuilder(0.001)
    build.input(inputs, Signal.EVENTS)
    build.linear("w", np.random.default_rng(0).normal(0, 0.3, (neurons, inputs)))
    build.lif("n", 0.9, 1.0, neurons)
    build.output(neurons)
    return assemble(build.build())


@needs_qemu
@pytest.mark.parametrize("cpu", sorted(boards()))
def test_every_core_computes_the_spikes_of_the_emulator(cpu: str) -> None:
    for seed in (0, 4, 7):
        network = assemble(random_c_graph(seed))
        trace = run_on(cpu, network, random_events(seed, 10, 2, network))
        assert trace.instructions is not None
        assert trace.instructions.shape == (10, 2)
        assert (trace.instructions > 0).all()


@needs_qemu
def test_instructions_are_the_same_each_time_and_grow_with_the_events() -> None:
    network = dense(64, 64)
    events = np.zeros((4, 1, 64), np.uint8)
    for step in range(4):
        events[step, 0, : 8 * step] = 1
    counts = [run_on("m4", network, events).instructions for _ in range(2)]
    np.testing.assert_array_equal(*counts)
    grown = np.diff(counts[0][:, 0])
    assert (grown > 0).all()
    # Eight events at 64 synapses each, in at most six instructions a synapse and some for each event.
    assert (grown < 8 * 64 * 6).all()


@needs_qemu
def test_a_net_of_the_benchmark_takes_fewer_than_6000_instructions_a_step_on_an_m4() -> None:
    chance = np.random.default_rng(1)
    build = GraphBuilder(0.001)
    build.input(64, Signal.EVENTS)
    build.linear("w", chance.normal(0, 0.25, (128, 64)))
    build.lif("n", 0.9, 1.0, 128)
    build.linear("v", chance.normal(0, 0.25, (10, 128)))
    build.lif("out", 0.9, 1.0, 10)
    build.output(10)
    events = (np.random.default_rng(2).random((30, 5, 64)) < 0.08).astype(np.uint8)
    trace = run_on("m4", assemble(build.build()), events)
    assert trace.instructions is not None
    assert trace.instructions.mean() < 6000


def test_boards_are_found_by_their_short_names() -> None:
    assert find_board("m7") is find_board("cortex-m7") is find_board("Cortex-M7")
    assert find_board(None).cpu == "cortex-m4"
    with pytest.raises(ConfigError, match="no board with a 'z80'"):
        find_board("z80")


def test_without_qemu_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("qemu-system-arm") is None
    with pytest.raises(BackendError) as caught:
        run_on("m4", dense(2, 2), np.zeros((1, 1, 2), np.uint8))
    assert caught.value.hint is not None
    assert "apt-get install gcc-arm-none-eabi qemu-system-arm" in caught.value.hint
