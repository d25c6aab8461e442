"""Received samples in, events out: comparators in integers beside the graph they were made from."""

from contextlib import ExitStack
from pathlib import Path

import nir
import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.comparators import HIGHEST, LOWEST, find_front_end, fraction_bits
from nsc_deploy.exporters.c.compilers import STRICT
from nsc_deploy.exporters.c.deployment import read_c_deployment
from nsc_deploy.exporters.c.emulator import emulate, entering
from nsc_deploy.exporters.c.events import EmulatorRunner, EventCode
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.program_file import read_program, write_program
from nsc_deploy.exporters.c.write import source_text
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.verdict import Status
from tests.support.c_graphs import ORIGIN, SANITISED, needs_compiler, needs_qemu, run_compiled
from tests.support.small_runs import event_run

SAMPLES, LINES = 6, 5


def samples(steps: int, count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.6, (steps, count, SAMPLES)).astype(np.float32)


def receiver(*, joins: bool = True, spread: float = 1.0) -> Network:
    """Comparators of both signs, some joined to one line, and two layers of neurons."""
    chance = np.random.default_rng(3)
    compare = np.zeros((2 * LINES, SAMPLES))
    compare[np.arange(2 * LINES), chance.integers(0, SAMPLES, 2 * LINES)] = chance.choice(
        [-1.0, 1.0, 0.5], 2 * LINES
    )
    build = GraphBuilder(0.03)
    build.input(SAMPLES, Signal.REAL)
    build.affine("compare", compare, -spread * chance.uniform(0.1, 0.6, 2 * LINES))
    build.threshold("crossing", np.zeros(2 * LINES), 2 * LINES)
    if joins:
        build.linear("join", np.tile(np.eye(LINES), (1, 2)))
        build.threshold("detect", np.full(LINES, 0.5), LINES)
    build.linear("w", chance.normal(0, 1, (8, LINES if joins else 2 * LINES)))
    build.lif("hidden", 0.8, 1.0, 8)
    build.linear("v", chance.normal(0, 1, (4, 8)))
    build.lif("out", 0.8, 0.5, 4)
    build.output(4)
    return assemble(build.build())


def test_weights_with_several_matrices_are_no_comparators() -> None:
    weight = np.zeros((2, 3, SAMPLES))
    weight[:, 0] = 1
    build = GraphBuilder(0.03)
    build.input((2, SAMPLES), Signal.REAL)
    build.add("w", nir.Linear(weight))
    build.threshold("crossing", np.zeros((2, 3)), (2, 3))
    build.output((2, 3))
    network = assemble(build.build())
    assert find_front_end(network) is None
    assert not load_target("c").check(network).fits


@pytest.mark.parametrize("joins", [True, False])
def test_events_are_those_of_the_graph_on_samples_that_need_no_rounding(joins: bool) -> None:
    network = receiver(joins=joins)
    found = find_front_end(network)
    assert found is not None
    assert found.comparators.name == ("detect" if joins else "crossing")
    values = samples(20, 10)
    exact = np.round(values * 2**10).astype(np.float32) / 2**10
    events = found.comparators.events(found.comparators.quantised(exact))
    np.testing.assert_array_equal(events, simulate(found.graph, exact).outputs["output"])
    assert 0.1 < events.mean() < 0.9


def test_what_is_cut_off_at_the_end_of_the_range_changes_no_comparison() -> None:
    found = find_front_end(receiver(spread=2.0))
    assert found is not None
    loud = samples(10, 4) * 100
    quantised = found.comparators.quantised(loud)
    assert (quantised.min(), quantised.max()) == (LOWEST, HIGHEST)
    expected = simulate(found.graph, loud).outputs["output"]
    np.testing.assert_array_equal(found.comparators.events(quantised), expected)


@pytest.mark.parametrize(
    ("limit", "bits"), [(0.0, 15), (0.4, 15), (0.9, 14), (3.9, 12), (5e3, 1), (1e6, None)]
)
def test_limits_lie_in_half_of_the_range(limit: float, bits: int | None) -> None:
    assert fraction_bits(limit) == bits


def test_what_mixes_samples_is_no_front_end_and_is_refused() -> None:
    build = GraphBuilder(0.03)
    build.input(2, Signal.REAL)
    build.linear("mix", np.ones((3, 2)))
    build.threshold("fire", np.full(3, 0.5), 3)
    build.output(3)
    network = assemble(build.build())
    assert find_front_end(network) is None
    refused = load_target("c").check(network).refused
    assert "Begin with comparators" in refused[0].hint
    every = load_target("c").check(receiver()).verdicts
    assert [one.status for one in every[:5]] == [Status.NATIVE] * 5
    assert every[0].reason == "comparators of samples of 16 bits, 13 of them behind the point"


@needs_compiler
@pytest.mark.parametrize("joins", [True, False])
def test_compiled_code_is_the_emulator(joins: bool, tmp_path: Path) -> None:
    network = receiver(joins=joins)
    program = lower_to_program(network).program
    write_program(tmp_path / "program.npz", program)
    layout = lay_out(read_program(tmp_path / "program.npz"), "net", classes=2, group=2)
    values = samples(12, 5, seed=1)
    compiled = run_compiled(layout, network, values, (*SANITISED, *STRICT))
    emulated = EmulatorRunner(program, network).run(values)
    np.testing.assert_array_equal(compiled.output, emulated.output)
    for name, layer in compiled.layers.items():
        np.testing.assert_array_equal(layer.spikes, emulated.layers[name].spikes)
    assert emulated.layers["hidden"].spikes is not None
    assert emulated.layers["hidden"].spikes.sum() > 20
    behind = lower_to_program(find_front_end(network).behind).program  # type: ignore[union-attr]
    events = program.front_end.events(entering(program, values))  # type: ignore[union-attr]
    np.testing.assert_array_equal(emulate(behind, events).output, emulated.output)


@needs_qemu
def test_a_cortex_m_receives_samples_too() -> None:
    from nsc_deploy.exporters.c.qemu import QemuRunner

    network = receiver()
    program = lower_to_program(network).program
    layout = lay_out(program, "net", classes=2, group=2)
    values = samples(6, 2, seed=2)
    with ExitStack() as closing:
        settings = RunSettings(cpu="m4", closing=closing)
        found = QemuRunner(EventCode(layout, network), source_text(layout, ORIGIN), settings).run(values)
    np.testing.assert_array_equal(found.output, EmulatorRunner(program, network).run(values).output)
    assert found.instructions is not None
    assert found.instructions.min() > 100


@needs_compiler
def test_a_run_is_exported_with_its_front_end(tmp_path: Path) -> None:
    trained = event_run(tmp_path / "run")
    said: list[str] = []
    (out,) = export_all(trained, "c", tmp_path / "out", notify=said.append)
    manifest = read_c_deployment(out).manifest
    assert read_network(out / "source.nir").input_node.emits is Signal.REAL
    assert manifest.compiled is not None
    assert "goes along: received samples come in" in " ".join(said)
    header = next(out.glob("*.h")).read_text()
    assert "_receive(" in header
    assert "_SAMPLE_ONE" in header
    parity = run(open_deployment(out), "host").parity()
    assert parity["agreement"] == 1.0
    # Events of one's own are taken as they are.
    events = trained / "receiver.npz"
    (plain,) = export_all(trained, "c", tmp_path / "plain", inputs=events)
    assert read_network(plain / "source.nir").input_node.emits is Signal.EVENTS


@needs_compiler
def test_scales_are_chosen_on_the_events_of_recorded_samples(tmp_path: Path) -> None:
    write_network(tmp_path / "whole.nir", receiver())
    for name, seed in (("inputs", 0), ("others", 9)):
        recorded = Recording(samples(8, 6, seed), Signal.REAL, 0.03)
        write_recording(tmp_path / f"{name}.npz", recorded)
    (out,) = export_all(
        tmp_path / "whole.nir",
        "c",
        tmp_path / "out",
        inputs=tmp_path / "inputs.npz",
        calibration=tmp_path / "others.npz",
    )
    assert read_c_deployment(out).manifest.calibration.samples == 6
