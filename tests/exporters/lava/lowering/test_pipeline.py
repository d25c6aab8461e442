"""Lowering without rounding is exact: the integers fire the reference simulator's spikes."""

import dataclasses
import os
import subprocess
import sys

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_layer, run_network
from nsc_deploy.exporters.lava.integers import Role
from nsc_deploy.exporters.lava.lowering.extract import ExtractPopulations
from nsc_deploy.exporters.lava.lowering.levelise import Levelise
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events, lower
from nsc_deploy.exporters.lava.lowering.populations import RemoveDead
from nsc_deploy.exporters.lava.lowering.quantise import delayed
from nsc_deploy.exporters.lava.lowering.recurrence import CloseCycles
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.base import run_passes
from tests.support.lava import random_events, random_exact_graph, receiver


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_whole_weights_are_lowered_exactly(seed: int) -> None:
    network = assemble(random_exact_graph(seed))
    integers = lower(network).network
    events = random_events(np.random.default_rng(seed), 12, 6, integers.inputs, rate=0.4)
    expected = simulate(network, events).output
    np.testing.assert_array_equal(output_spikes(integers, events), expected)


def test_the_random_graphs_are_worth_it() -> None:
    """They hold every kind of node, relays and delay lines, and they fire."""
    kinds: set[str] = set()
    roles: set[Role] = set()
    rates = []
    for seed in range(40):
        network = assemble(random_exact_graph(seed))
        kinds |= {node.primitive for node in network.nodes}
        integers = lower(network).network
        roles |= {group.role for layer in integers.layers for group in layer.groups}
        events = random_events(np.random.default_rng(seed), 12, 6, integers.inputs, rate=0.4)
        rates.append(simulate(network, events).output.mean())
    assert kinds == {"Input", "Output", "Linear", "Affine", "Scale", "Delay", "LIF", "IF", "Threshold"}
    assert roles == set(Role)
    assert np.mean([0.02 < rate < 0.98 for rate in rates]) > 0.3


@pytest.mark.parametrize("steps", [12, 18, 30])
def test_a_delay_may_be_longer_than_the_recording_that_scales_are_chosen_on(steps: int) -> None:
    """Nothing arrives over it then."""
    build = GraphBuilder(1e-3)
    build.input(3, Signal.EVENTS)
    build.linear("w", np.eye(3) / 3)
    build.lif("n", 0.5, 0.4, 3)
    build.linear("back", np.eye(3) / 7)
    build.delay("late", steps, 3)
    build.connect("late", "n")
    build.output(3, after="n")
    events = random_events(np.random.default_rng(1), 12, 4, 3, rate=0.4)
    chosen = lower(assemble(build.build()), inputs=events).network
    assert output_spikes(chosen, events).any()
    late = delayed(events, steps)
    assert late.shape == events.shape
    assert not late.any()


def test_every_hidden_spike_of_the_receiver_is_aligned() -> None:
    """Not only the output: each population's spikes stand at the graph's own steps."""
    network = assemble(receiver())
    events = random_events(np.random.default_rng(0), 30, 40, 24)
    reference = simulate(network, events, record="all").outputs
    integers = lower(network).network
    for layer, trace in zip(integers.layers, run_network(integers, events), strict=True):
        for group in layer.groups:
            spikes = trace.spikes[..., group.rows]
            expected = flat_events(reference[group.node])
            if group.role is Role.NEURON:
                assert (spikes == expected).mean() > 0.999, group
            elif group.role is Role.RELAY and group.node == "input":
                np.testing.assert_array_equal(spikes, expected)


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
def test_fewer_bits_use_fewer_weights(bits: int) -> None:
    integers = lower(assemble(receiver()), bits=bits).network
    for layer in integers.layers:
        assert len(np.unique(np.abs(layer.weight.values))) <= 2 ** (bits - 1)


def test_calibration_chooses_the_scale_that_disagrees_least() -> None:
    gains = []
    for seed in range(4):
        chance = np.random.default_rng(seed)
        build = GraphBuilder(0.01)
        build.input(20, Signal.EVENTS)
        build.linear("w", chance.normal(0, 0.3, (10, 20)))
        build.lif("n", 0.9, 0.5, 10)
        build.output(10)
        network = assemble(build.build())
        events = random_events(chance, 20, 24, 20)
        reference = simulate(network, events).output
        blind, chosen = (
            (output_spikes(lower(network, bits=4, inputs=inputs).network, events) != reference).mean()
            for inputs in (None, events)
        )
        assert chosen <= blind
        gains.append(blind - chosen)
    assert max(gains) > 0


def test_every_approximation_is_named() -> None:
    notes = [note for _, note in lower(assemble(receiver())).notes]
    found = {(note.kind, note.node) for note in notes}
    assert {
        ("delay-line", "input"),
        ("relay", "left_lif"),
        ("memoryless", "join"),
        ("decay-rounding", "left_lif"),
        ("truncation", "lif2"),
    } <= found
    assert all(note.error > 0 for note in notes if not note.exact)


def test_flatten_and_current_based_neurons() -> None:
    """Close, not exact: the current decays in 12 bits and truncates."""
    chance = np.random.default_rng(8)
    ones = np.ones(12)
    build = GraphBuilder(0.001)
    build.input((2, 5), Signal.EVENTS)
    build.add("flat", nir.Flatten({"input": np.array([2, 5])}, start_dim=0, end_dim=-1))
    build.linear("w", np.round(chance.normal(0, 0.6, (12, 10)) * 32) / 32)
    cuba = nir.CubaLIF(
        tau_syn=0.004 * ones, tau_mem=0.008 * ones, r=2 * ones, v_leak=0.02 * ones, v_threshold=0.2 * ones
    )
    build.add("cuba", cuba)
    build.output(12)
    network = assemble(build.build())
    events = random_events(chance, 40, 20, 2, 5)
    reference = simulate(network, events).output
    spikes = output_spikes(lower(network).network, flat_events(events))
    assert reference.mean() > 0.05
    assert (spikes == reference).mean() > 0.999


def test_dead_neurons_go() -> None:
    build = GraphBuilder(0.01)
    build.input(3, Signal.EVENTS)
    build.threshold("dead", 0.5, 3)
    build.threshold("alive", 0.5, 3, after="input")
    build.output(3)
    lowering = lower(assemble(build.build()))
    assert [group.node for layer in lowering.network.layers for group in layer.groups] == ["alive"]
    assert any(note.kind == "removed" and note.node == "dead" for _, note in lowering.notes)


def test_relays_carry_used_lines_only() -> None:
    build = GraphBuilder(0.01)
    build.input(6, Signal.EVENTS)
    build.threshold("first", 0.5, 6)
    build.linear("pick", [[0, 0, 0, 0, 1, 0]], after="input")
    build.linear("sum", np.ones((1, 6)), after="first")
    build.threshold("join", 1.5, 1, after=["pick", "sum"])
    build.output(1)
    layers = lower(assemble(build.build())).network.layers
    assert [(group.node, group.role, group.size) for group in layers[0].groups] == [
        ("first", Role.NEURON, 6),
        ("input", Role.RELAY, 1),
    ]


def test_a_threshold_far_above_its_weights_still_fits() -> None:
    build = GraphBuilder(0.01)
    build.input(2, Signal.EVENTS)
    build.linear("w", [[1.0, 1.0]])
    build.integrate_and_fire("slow", 1000.0, 1)
    build.output(1)
    network = assemble(build.build())
    events = np.ones((1100, 1, 2), np.uint8)
    np.testing.assert_array_equal(
        output_spikes(lower(network).network, events), simulate(network, events).output
    )


def test_broken_promises_are_seen() -> None:
    """The postconditions: each finds the fault it is there for."""
    graph = run_passes(assemble(receiver()), [ExtractPopulations()]).graph
    backwards = dataclasses.replace(graph, populations=graph.populations[::-1])
    assert "comes before its source" in str(CloseCycles().ensures(backwards))
    unknown = dataclasses.replace(graph, populations=graph.populations[1:])
    assert "unknown source" in str(ExtractPopulations().ensures(unknown))
    assert RemoveDead().ensures(graph) is None
    unread = dataclasses.replace(graph.populations[0], name="unread")
    more = dataclasses.replace(graph, populations=(*graph.populations, unread))
    assert "read by nothing" in str(RemoveDead().ensures(more))
    levels = run_passes(graph, [Levelise(62)]).graph
    holed = dataclasses.replace(levels, layers=(levels.layers[0][:1], *levels.layers[1:]))
    assert "does not carry" in str(Levelise(62).ensures(holed))


def test_notes_stand_in_the_order_of_the_graph() -> None:
    """Whatever the hashes of names are in a process."""
    script = (
        "from nsc_deploy.exporters.lava.lowering.pipeline import lower\n"
        "from nsc_deploy.graphs.assemble import assemble\n"
        "from tests.support.exact_lava_graphs import random_image_graph\n"
        "print(lower(assemble(random_image_graph(9))).notes)"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(told) == 1


@pytest.mark.parametrize("reader", ["'n'", "the output"])
def test_delays_add_up_and_may_be_too_long(reader: str) -> None:
    """The Delays on the slowest way are named, and none beside it."""
    build = GraphBuilder(0.01)
    build.input(1, Signal.EVENTS)
    if reader == "the output":
        build.threshold("n", 0.5, 1)
    build.delay("one", 40, 1)
    build.linear("w", [[1.0]])
    build.delay("two", 40, 1)
    if reader != "the output":
        build.delay("beside", 3, 1, after="input")
        build.threshold("n", 0.5, 1, after=["two", "beside"])
    build.output(1)
    with pytest.raises(ExportError) as refused:
        lower(assemble(build.build()))
    source = "n" if reader == "the output" else "input"
    late = f"'{source}' reaches {reader} 80 steps late, and a synapse can do 62"
    assert refused.value.problem == f"with 'one' in front of it, {late}"
    assert refused.value.where == "node 'two'"
    assert refused.value.hint is not None


@pytest.mark.parametrize("tau_syn, tau_mem", [(1.0, 0.01), (0.1, 0.01), (0.5, 0.05), (0.01, 0.001)])
def test_truncation_drains_no_more_than_is_told(tau_syn: float, tau_mem: float) -> None:
    """A current that lost something is missing in the potential in every step that it remembers."""
    chance = np.random.default_rng(0)
    build = GraphBuilder(0.001)
    build.input(20, Signal.EVENTS)
    build.linear("w", np.abs(chance.normal(0, 0.3, (1, 20))))
    one, threshold = np.ones(1), np.full(1, 3e-6 / tau_syn / tau_mem)
    build.add("n", nir.CubaLIF(tau_syn * one, tau_mem * one, one, 0 * one, threshold, 0 * one, w_in=one))
    build.output(1)
    lowering = lower(assemble(build.build()))
    [layer] = lowering.network.layers
    layer = dataclasses.replace(layer, vth=layer.vth * 0 + 2**17 - 1)
    events = random_events(chance, 400, 4, 20)
    events[20:] = 0
    trace = run_layer(layer, events)
    assert not trace.spikes.any()
    current = potential = np.zeros((4, 1))
    drained = 0.0
    for step, fired in enumerate(events):
        arriving = layer.weight.stored @ fired.T.astype(float) * 2.0**layer.weight_exp * 64
        current = current * (1 - (layer.du + 1) / 4096) + arriving.T
        potential = potential * (1 - layer.dv / 4096) + current
        drained = max(drained, float((potential - trace.potential[step]).max()))
    [told] = [note for _, note in lowering.notes if note.kind == "truncation"]
    assert 0 < drained / float(lowering.network.layers[0].vth[0] * 64) <= told.error
    assert f"{0:.2%}" not in told.text
