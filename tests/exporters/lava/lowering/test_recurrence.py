"""Cycles, convolutions and pools are lowered exactly: the integers fire the reference simulator's spikes."""

from pathlib import Path

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.integers import Role, read_integers, write_integers
from nsc_deploy.exporters.lava.lowering import extract
from nsc_deploy.exporters.lava.lowering.extract import ExtractPopulations
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events, lava_resources, lower
from nsc_deploy.exporters.lava.lowering.populations import Tap
from nsc_deploy.exporters.lava.lowering.recurrence import CloseCycles
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.io.npz import save_npz
from nsc_deploy.passes.base import run_passes
from tests.support.exact_lava_graphs import random_cyclic_graph, random_image_graph
from tests.support.lava import random_events


def assert_exact(graph: nir.NIRGraph, seed: int) -> None:
    """Every population, at every step."""
    network = assemble(graph)
    integers = lower(network).network
    events = random_events(np.random.default_rng(seed), 14, 4, *network.input_node.output_shape, rate=0.4)
    reference = simulate(network, events, record="all")
    np.testing.assert_array_equal(output_spikes(integers, flat_events(events)), flat_events(reference.output))
    for layer, trace in zip(integers.layers, run_network(integers, flat_events(events)), strict=True):
        for group in layer.groups:
            if group.role is Role.NEURON:
                spikes = trace.spikes[..., group.rows]
                np.testing.assert_array_equal(spikes, flat_events(reference.outputs[group.node]))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_cycles_are_lowered_exactly(seed: int) -> None:
    assert_exact(random_cyclic_graph(seed), seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_images_are_lowered_exactly(seed: int) -> None:
    assert_exact(random_image_graph(seed), seed)


def test_the_random_graphs_are_worth_it() -> None:
    """They hold every kind of node, recurrence, late populations and relays within a layer, and they fire."""
    kinds: set[str] = set()
    rates, late, recurrent, within = [], 0, 0, 0
    for seed in range(40):
        for make in (random_cyclic_graph, random_image_graph):
            network = assemble(make(seed))
            kinds |= {node.primitive for node in network.nodes}
            integers = lower(network).network
            cyclic = [layer for layer in integers.layers if layer.recurrent is not None]
            recurrent += bool(cyclic)
            late += integers.late > 0
            within += any(group.role is Role.DELAY for layer in cyclic for group in layer.groups)
            shape = network.input_node.output_shape
            events = random_events(np.random.default_rng(seed), 14, 4, *shape, rate=0.4)
            rates.append(simulate(network, events).output.mean())
    assert kinds >= {"Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Linear", "Delay"}
    assert min(recurrent, late, within) > 4
    assert np.mean([0.02 < rate < 0.98 for rate in rates]) > 0.4


def two_populations(steps: int) -> nir.NIRGraph:
    """One drives the other at once, and that one the first some steps later."""
    build = GraphBuilder(0.01)
    build.input(3, Signal.EVENTS)
    build.linear("in", np.eye(3))
    build.threshold("one", 0.5, 3)
    build.linear("forth", [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    build.threshold("two", 0.5, 3)
    build.delay("wait", steps, 3)
    build.connect("wait", "one")
    build.output(3, after="two")
    return build.build()


def test_a_cycle_of_two_goes_round_in_its_own_time() -> None:
    """One spike at step 0 comes back every third step, at the next neuron."""
    network = assemble(two_populations(3))
    integers = lower(network).network
    events = np.zeros((12, 1, 3), np.uint8)
    events[0, 0, 0] = 1
    spikes = output_spikes(integers, events)[:, 0]
    np.testing.assert_array_equal(np.argwhere(spikes), [[0, 2], [3, 1], [6, 0], [9, 2]])
    assert integers.late == 1
    assert integers.latency == len(integers.layers) + 1


def test_lateness_and_what_is_left_over_as_delay() -> None:
    graph = run_passes(assemble(two_populations(5)), [ExtractPopulations(), CloseCycles()]).graph
    one, two = graph.populations
    assert (one.late, two.late) == (0, 1)
    assert {*one.recurrent, *two.recurrent} == {Tap("two", 4), Tap("one", 1)}
    assert {*one.drive} == {Tap("input")}


def test_what_lava_takes_counts_recurrent_synapses() -> None:
    used = {usage.pool: usage.used for usage in lava_resources(assemble(two_populations(2)))}
    assert used["synapses"] == 3 + 3 + 3 + 3
    assert used["neurons"] == 9


def test_files_hold_recurrent_and_sparse_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    integers = lower(assemble(random_cyclic_graph(13))).network
    groups = tuple(layer.groups for layer in integers.layers)
    for places in (2**20, 0):
        monkeypatch.setattr("nsc_deploy.exporters.lava.integers.SPARSE_PLACES", places)
        monkeypatch.setattr("nsc_deploy.exporters.lava.integers.SPARSE_SHARE", 2.0)
        write_integers(tmp_path / "n.npz", integers)
        back = read_integers(tmp_path / "n.npz", groups)
        for ours, theirs in zip(integers.layers, back.layers, strict=True):
            assert ours.weight.equals(theirs.weight)
            assert (ours.recurrent is None) == (theirs.recurrent is None)
            if ours.recurrent is not None and theirs.recurrent is not None:
                assert ours.recurrent.equals(theirs.recurrent)


def test_a_product_with_too_many_synapses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two convolutions in a row fits, what both make together does not."""
    build = GraphBuilder(0.01)
    build.input((1, 8, 8), Signal.EVENTS)
    for name in ("first", "second"):
        build.add(name, nir.Conv2d((8, 8), np.ones((1, 1, 3, 3)), 1, "same", 1, 1, np.zeros(1)))
    build.threshold("n", 0.5, (1, 8, 8))
    build.output((1, 8, 8))
    monkeypatch.setattr(extract, "LARGEST_MATRIX", 1000)
    with pytest.raises(ExportError, match=r"node 'second'.*synapses, more than the 1,000") as caught:
        lower(assemble(build.build()))
    assert caught.value.hint


@pytest.mark.parametrize(
    "broken",
    [
        {"0.weight.source": np.array([5], np.int32)},
        {"0.weight.source": np.array([-1], np.int32)},
        {"0.weight.start": np.array([0, 2], np.int32)},
        {"0.weight.start": np.array([0, 1, 0], np.int32)},
        {"0.weight.start": np.array([0], np.int32)},
        {"0.weight.values": np.array([[2]], np.int32)},
        {"0.weight.values": np.array([2.5])},
        {"0.weight.values": np.array([3], np.int32)},
        {"0.weight.sources": np.array(np.inf)},
        {"0.weight.sources": np.array([1, 2])},
        {"0.weight.values": np.zeros(0, np.int32)},
        {"0.recurrent": np.zeros((2, 2), np.int32)},
    ],
)
def test_damaged_lists_of_synapses_are_refused(tmp_path: Path, broken: dict[str, np.ndarray]) -> None:
    vectors = {
        f"0.{name}": np.zeros(1, np.int32) for name in ("delay", "du", "dv", "vth", "bias", "bias_exp")
    }
    sound = {
        "dt": np.asarray(1e-3),
        "0.weight_exp": np.asarray(0),
        "0.weight.values": np.array([2], np.int32),
        "0.weight.source": np.array([0], np.int32),
        "0.weight.start": np.array([0, 1], np.int32),
        "0.weight.sources": np.asarray(2),
        **vectors,
    }
    save_npz(tmp_path / "sound.npz", sound)
    assert read_integers(tmp_path / "sound.npz", ((),)).inputs == 2
    save_npz(tmp_path / "broken.npz", sound | broken)
    with pytest.raises(DataError):
        read_integers(tmp_path / "broken.npz", ((),))
