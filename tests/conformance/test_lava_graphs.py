"""Graphs with cycles and over images in the real Lava: spikes, u and v of every layer as in the emulator."""

import nir
import numpy as np
import pytest

from nsc_deploy.exporters.lava.arithmetic import output_spikes, run_network
from nsc_deploy.exporters.lava.integers import IntegerNetwork, Role, kept_sparse
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events, lower
from nsc_deploy.exporters.lava.worker import run_in_lava
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.exact_lava_graphs import random_cyclic_graph, random_image_graph
from tests.support.lava import random_events

pytestmark = [pytest.mark.lava, pytest.mark.usefixtures("lava_environment")]

ROUND_TRIP = 13  # late populations, a recurrent layer and a delay line
WAITING = 0  # relays within a recurrent layer
FEEDBACK_OVER_AN_IMAGE = 24
LARGE = 40


def assert_equal_everywhere(network: IntegerNetwork, events: np.ndarray) -> None:
    lava = run_in_lava(network, events, probe=True)
    for ours, theirs in zip(run_network(network, events), lava.layers, strict=True):
        np.testing.assert_array_equal(ours.spikes, theirs.spikes)
        np.testing.assert_array_equal(ours.current, theirs.current)
        np.testing.assert_array_equal(ours.potential, theirs.potential)


@pytest.mark.parametrize(
    ("make", "seed"),
    [
        (random_cyclic_graph, ROUND_TRIP),
        (random_cyclic_graph, WAITING),
        (random_image_graph, FEEDBACK_OVER_AN_IMAGE),
    ],
)
def test_random_graphs(make, seed: int) -> None:
    network = assemble(make(seed))
    integers = lower(network).network
    events = random_events(np.random.default_rng(seed), 9, 4, *network.input_node.output_shape, rate=0.5)
    assert_equal_everywhere(integers, flat_events(events))
    lava = run_in_lava(integers, flat_events(events))
    assert lava.spikes.any()
    np.testing.assert_array_equal(lava.spikes, flat_events(simulate(network, events).output))


def test_the_random_graphs_hold_what_they_are_for() -> None:
    late = lower(assemble(random_cyclic_graph(ROUND_TRIP))).network
    assert late.late > 0
    assert late.layers[0].max_delay > 0 or any(layer.max_delay for layer in late.layers)
    waiting = lower(assemble(random_cyclic_graph(WAITING))).network
    cyclic = [layer for layer in waiting.layers if layer.recurrent is not None]
    assert any(group.role is Role.DELAY for layer in cyclic for group in layer.groups)
    image = lower(assemble(random_image_graph(FEEDBACK_OVER_AN_IMAGE))).network
    assert any(layer.recurrent is not None for layer in image.layers)


def recurrent_receiver(seed: int = 0) -> nir.NIRGraph:
    """Leaky neurons, with biases that keep them firing, and current-based ones that drive themselves."""
    chance = np.random.default_rng(seed)
    ones = np.ones(12)
    build = GraphBuilder(0.001)
    build.input(10, Signal.EVENTS)
    build.affine("in", chance.normal(0, 0.4, (12, 10)), np.full(12, 0.2))
    build.lif("hidden", 0.9, 0.5, 12)
    build.linear("back", chance.normal(0, 0.3, (12, 12)))
    build.connect("back", "hidden")
    build.linear("on", chance.normal(0, 0.5, (12, 12)), after="hidden")
    cuba = nir.CubaLIF(
        tau_syn=0.004 * ones, tau_mem=0.008 * ones, r=2 * ones, v_leak=0.3 * ones, v_threshold=0.2 * ones
    )
    build.add("cuba", cuba)
    build.linear("inhibit", -np.abs(chance.normal(0, 0.4, (12, 12))))
    build.delay("wait", chance.integers(1, 4, 12), 12)
    build.connect("wait", "cuba")
    build.output(12, after="cuba")
    return build.build()


def test_a_recurrent_sample_does_not_depend_on_its_neighbours() -> None:
    """The same sample first and last; what the neurons fired in between does not reach it."""
    integers = lower(assemble(recurrent_receiver())).network
    assert sum(layer.recurrent is not None for layer in integers.layers) == 2
    events = random_events(np.random.default_rng(1), 12, 5, 10)
    events[:, 1] = 1
    events[:, 2] = 0
    events[:, 4] = events[:, 0]
    spikes = run_in_lava(integers, events).spikes
    assert 0.05 < spikes.mean() < 0.95
    np.testing.assert_array_equal(spikes[:, 0], spikes[:, 4])
    np.testing.assert_array_equal(spikes, output_spikes(integers, events))


def test_recurrent_states() -> None:
    events = random_events(np.random.default_rng(2), 8, 3, 10)
    assert_equal_everywhere(lower(assemble(recurrent_receiver(1))).network, events)


def test_large_convolutions_run_as_lists_of_synapses() -> None:
    """With feedback over the image and a delay line, so that Sparse and DelaySparse both get lists."""
    chance = np.random.default_rng(3)
    shape = (1, LARGE, LARGE)
    build = GraphBuilder(0.01)
    build.input(shape, Signal.EVENTS)
    build.add(
        "conv", nir.Conv2d((LARGE, LARGE), chance.normal(0, 1, (1, 1, 3, 3)), 1, "same", 1, 1, np.zeros(1))
    )
    build.delay("late", 1, shape, after="input")
    build.lif("n", 0.9, 0.5, shape, after=["conv", "late"])
    back = nir.Conv2d((LARGE, LARGE), chance.normal(0, 0.5, (1, 1, 3, 3)), 1, "same", 1, 1, np.zeros(1))
    build.add("back", back)
    build.connect("back", "n")
    build.add("pool", nir.AvgPool2d(np.array([4, 4]), np.array([4, 4]), np.array([0, 0])), after="n")
    build.threshold("out", 0.15, (1, LARGE // 4, LARGE // 4))
    build.output((1, LARGE // 4, LARGE // 4))
    network = assemble(build.build())
    integers = lower(network).network
    assert kept_sparse(integers.layers[0].weight)
    cyclic = next(layer for layer in integers.layers if layer.recurrent is not None)
    assert cyclic.recurrent is not None
    assert kept_sparse(cyclic.recurrent)
    events = flat_events(random_events(chance, 6, 2, *shape))
    spikes = run_in_lava(integers, events).spikes
    assert 0.05 < spikes.mean() < 0.95
    np.testing.assert_array_equal(spikes, output_spikes(integers, events))
