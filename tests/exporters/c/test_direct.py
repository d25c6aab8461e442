"""What Lava refuses and C can: exact where nothing rounds, and near the reference where potentials leave."""

from collections.abc import Sequence
from dataclasses import replace

import nir
import numpy as np
import pytest

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.c.direct import firing
from nsc_deploy.exporters.c.emulator import emulate
from nsc_deploy.exporters.c.events import EmulatorRunner
from nsc_deploy.exporters.c.layout import lay_out
from nsc_deploy.exporters.c.lowering import lower_to_program
from nsc_deploy.exporters.c.program import validate
from nsc_deploy.exporters.c.rules import verdicts
from nsc_deploy.exporters.lava.rules import verdicts as lava_verdicts
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import RESETTING, Network, Reset, Signal
from nsc_deploy.graphs.rewrite import reparametrised, with_nodes
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.verdict import Status
from tests.support.exact_lava_graphs import random_cyclic_graph, random_image_graph


def refused(network: Network, rules=verdicts) -> bool:
    return any(one.status is Status.REFUSED for one in rules(network))


def fires_as_the_reference(network: Network, seed: int) -> int:
    """Held to the reference in every output spike; how many there are."""
    assert not refused(network)
    program = lower_to_program(network).program
    validate(program)
    shape = network.input_node.output_shape
    events = (np.random.default_rng(seed).random((14, 3, *shape)) < 0.4).astype(np.uint8)
    expected = simulate(network, events).output.reshape(14, 3, -1)
    np.testing.assert_array_equal(emulate(program, events.reshape(14, 3, -1)).output, expected)
    return int(expected.sum())


@pytest.mark.parametrize("make", [random_cyclic_graph, random_image_graph])
def test_resets_by_subtraction_are_exact(make) -> None:
    fired = 0
    for seed in range(15):
        network = replace(assemble(make(seed)), reset=Reset.SUBTRACT)
        fired += fires_as_the_reference(network, seed)
    assert fired


def test_resets_to_a_value_are_exact() -> None:
    fired = 0
    for seed in range(15):
        network = assemble(random_cyclic_graph(seed))
        chance = np.random.default_rng(seed)
        changed = [
            reparametrised(one, v_reset=chance.integers(-4, 2, one.output_shape) / 2)
            for one in network.nodes
            if one.primitive in RESETTING
        ]
        fired += fires_as_the_reference(with_nodes(network, changed), seed)
    assert fired


def test_biases_in_front_of_delays_and_in_cycles_are_exact() -> None:
    fired = late = 0
    for seed in range(20):
        network = assemble(random_cyclic_graph(seed, late_biases=True))
        fired += fires_as_the_reference(network, seed)
        late += lower_to_program(network).program.settled > 0
    assert fired
    assert late > 10


@pytest.mark.parametrize("leaves", ["n", "v"])
@pytest.mark.parametrize("late", [0, 2])
def test_resets_by_subtraction_that_a_graph_writes_out_are_exact(late: int, leaves: str) -> None:
    chance, shape = np.random.default_rng(0), (3, 6, 6)
    build = GraphBuilder(0.01)
    build.input((2, 6, 6), Signal.EVENTS)
    weight, bias = chance.integers(-3, 6, (3, 2, 3, 3)) / 8, np.array([0.125, 0, -0.125])
    build.add("c", nir.Conv2d((6, 6), weight, 1, 1, 1, 1, bias))
    build.delay("d", late, shape)
    build.add("v", nir.I(r=np.full(shape, 100.0)))
    build.threshold("n", 1.0, shape)
    build.add("back", nir.Scale(np.full(shape, -1.0, np.float32)))
    build.connect("back", "v")
    build.output(shape, after=leaves)
    network = assemble(build.build())
    if leaves == "n":
        assert fires_as_the_reference(network, 0) > 100
    else:
        events = (chance.random((20, 3, 2, 6, 6)) < 0.3).astype(np.uint8)
        output = EmulatorRunner(lower_to_program(network).program, network).run(events).output
        np.testing.assert_array_equal(output, simulate(network, events).output)
    told = {one.node: one.reason for one in verdicts(network)}
    assert all("reset by subtraction" in told[name] for name in ("v", "n", "back"))
    (population,) = lower_to_program(network).program.populations
    assert population.floor is None
    assert all(one.kernel is not None for one in population.connections)


def test_a_cycle_needs_no_more_than_the_step_it_has() -> None:
    build = GraphBuilder(0.01)
    build.input(3, Signal.EVENTS)
    build.linear("in", [[1, 2, -1], [0, 1, 1]])
    build.integrate_and_fire("a", [1.5, 0.5], 2, after="in")
    build.linear("forth", [[1, -1], [2, 1]])
    build.integrate_and_fire("b", [0.5, 1.5], 2)
    build.linear("back", [[-1, 1], [1, 0]])
    build.connect("back", "a")
    build.output(2, after="b")
    network = assemble(build.build())
    assert refused(network, lava_verdicts)
    assert fires_as_the_reference(network, 0)


def ends_in(node: nir.NIRNode | None, classes: int = 3, late: Sequence[int] | None = None) -> Network:
    """Leaky neurons and a readout in front of an integrator, or of nothing; perhaps with a Delay between."""
    chance = np.random.default_rng(1)
    build = GraphBuilder(0.01)
    build.input(20, Signal.EVENTS)
    build.linear("w", chance.normal(0, 0.4, (30, 20)))
    build.lif("hidden", 0.8, 1.0, 30)
    build.affine("readout", chance.normal(0, 0.4, (classes, 30)), chance.normal(0, 0.1, classes))
    if late is not None:
        build.delay("late", late, classes)
    if node is not None:
        build.add("end", node)
    build.output(classes)
    return assemble(build.build())


ENDS = {
    "LI": nir.LI(tau=np.full(3, 0.05), r=np.ones(3), v_leak=np.full(3, 0.1)),
    "I": nir.I(r=np.full(3, 100.0)),
    "CubaLI": nir.CubaLI(
        tau_syn=np.full(3, 0.03),
        tau_mem=np.full(3, 0.1),
        r=np.ones(3),
        v_leak=np.full(3, 0.1),
        w_in=np.full(3, 2.0),
    ),
    "weights": None,
}


@pytest.mark.parametrize("late", [None, (0, 2, 7)])
@pytest.mark.parametrize("end", sorted(ENDS))
def test_potentials_that_leave_are_near_the_reference(end: str, late: tuple[int, ...] | None) -> None:
    network = ends_in(ENDS[end], late=late)
    events = (np.random.default_rng(2).random((25, 8, 20)) < 0.3).astype(np.uint8)
    trace = EmulatorRunner(lower_to_program(network).program, network).run(events)
    reference = simulate(network, events).output
    # The spikes of the hidden layer differ too, so outputs agree to some per cent, and in their course.
    assert np.median(np.abs(trace.output - reference)) < 0.05 * np.abs(reference).max()
    assert np.corrcoef(trace.output.reshape(-1), reference.reshape(-1))[0, 1] > 0.9


@pytest.mark.parametrize("late", [0, 4])
@pytest.mark.parametrize("reset", list(Reset))
def test_a_synapse_filters_a_bias_as_in_the_reference(reset: Reset, late: int) -> None:
    build = GraphBuilder(0.01, reset)
    build.input(6, Signal.EVENTS)
    chance = np.random.default_rng(4)
    build.affine("w", chance.normal(0, 0.3, (5, 6)), [0.1, -0.2, 0.3, 0.4, 0.5])
    build.delay("d", late, 5)
    full = np.ones(5)
    taus = {"tau_syn": full * 0.03, "tau_mem": full * 0.1, "w_in": full * 2}
    build.add("n", nir.CubaLIF(r=full * 4, v_leak=full * 0.1, v_threshold=full * 0.8, **taus))
    build.output(5)
    network = assemble(build.build())
    events = (chance.random((60, 4, 6)) < 0.2).astype(np.uint8)
    reference = simulate(network, events).output
    program = lower_to_program(network).program
    assert [one.start for one in program.population("n").constants] == [late]
    assert reference.any()
    assert np.mean(emulate(program, events).output != reference.reshape(60, 4, 5)) < 0.03


@pytest.mark.parametrize("end", ["LI", "I", "CubaLI"])
def test_an_integrator_has_room_for_every_event_and_its_bias(end: str) -> None:
    node = ENDS[end]
    if end != "I":
        node.v_leak = np.full(3, 2.0)
    network = ends_in(node)
    program = lower_to_program(network).program
    events = np.ones((200, 1, 20), np.uint8)
    reference = simulate(network, events).output
    output = EmulatorRunner(program, network).run(events).output
    assert not lay_out(program, "net").output.clip_high or end == "I"
    assert np.abs(output - reference).max() < 0.05 * np.abs(reference).max()


@pytest.mark.parametrize("end", ["LI", "CubaLI"])
def test_what_an_integrator_loses_is_told_in_the_units_of_the_graph(end: str) -> None:
    """It has no threshold that anything could be a share of."""
    notes = [note for _, note in lower_to_program(ends_in(ENDS[end])).notes if note.node == "end"]
    (drain,) = [note for note in notes if note.kind == "truncation"]
    assert 0 < drain.error < 0.01
    assert drain.text.endswith("% of 1 in the graph's units")
    assert not any("of the threshold" in note.text for note in notes)


def test_integrators_share_one_scale_so_that_their_potentials_compare() -> None:
    program = lower_to_program(ends_in(ENDS["LI"]), granularity=ScaleGranularity.NEURON).program
    last = program.population("end")
    assert program.gives_values
    assert len(set(last.scale.tolist())) == 1


def test_recorded_inputs_choose_scales_that_agree_no_less() -> None:
    network = replace(ends_in(None), reset=Reset.SUBTRACT)
    chance = np.random.default_rng(3)
    recorded, others = ((chance.random((25, 20, 20)) < 0.3).astype(np.uint8) for _ in range(2))
    expected = simulate(network, others, record=["hidden"]).outputs["hidden"]

    def differing(inputs: np.ndarray | None) -> int:
        program = lower_to_program(network, bits=4, inputs=inputs).program
        return int((emulate(program, others, record=True).populations["hidden"].spikes != expected).sum())

    assert differing(recorded) < differing(None)


def test_the_graph_for_the_passes_fires_everywhere() -> None:
    plain, integrators = firing(ends_in(None))
    assert integrators == {"output.sum"}
    assert plain.reset is Reset.ZERO
    assert plain.arrives(plain.output_node.name) is Signal.EVENTS


@pytest.mark.parametrize("recorded", [False, True])
def test_a_potential_has_room_above_a_threshold_that_is_subtracted(recorded: bool) -> None:
    """Its weights are small beside the threshold, which would fill the 24 bits at the finest exponent."""
    build = GraphBuilder(0.01, Reset.SUBTRACT)
    build.input(31, Signal.EVENTS)
    build.linear("w", np.full((1, 31), 1 / 64))
    build.integrate_and_fire("n", 1.0, 1)
    build.output(1)
    network = assemble(build.build())
    events, others = (
        (np.random.default_rng(seed).random((60, 3, 31)) < 0.95).astype(np.uint8) for seed in (0, 1)
    )
    program = lower_to_program(network, inputs=others if recorded else None).program
    np.testing.assert_array_equal(emulate(program, events).output, simulate(network, events).output)


@pytest.mark.parametrize("reset", list(Reset))
@pytest.mark.parametrize("above", [1.0, 0.0])
def test_a_threshold_just_below_a_sum_is_still_exceeded_by_it(above: float, reset: Reset) -> None:
    """What fires at its threshold is written so: rounded to the nearest, the threshold would be the sum."""
    threshold = float(np.nextafter(np.float32(above), np.float32(-1)))
    build = GraphBuilder(0.01, reset)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, -1.0]])
    build.integrate_and_fire("n", threshold, 1)
    build.output(1)
    network = assemble(build.build())
    if threshold < 0 and reset is Reset.SUBTRACT:
        with pytest.raises(ExportError, match="thresholds below zero"):
            lower_to_program(network)
    else:
        assert fires_as_the_reference(network, 1)


def test_a_threshold_below_zero_that_is_held_is_not_told_as_rounded() -> None:
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, -1.0]])
    build.integrate_and_fire("n", -0.5, 1)
    build.output(1)
    network = assemble(build.build())
    assert all(note.exact for _, note in lower_to_program(network).notes)
    assert fires_as_the_reference(network, 1)
