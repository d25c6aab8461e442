"""Messages, hops, synapse events and the time of a step, counted a second time spike by spike."""

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.on_chip import ActivityCounter, ChipActivity
from nsc_deploy.exporters.chips.chip import Barrier, Chip, ManyCores, StepTime, Wait, bundled_chip
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.exporters.chips.placement import Placement
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.chips import chain, dense_projections, layered_graphs, small_chip

STEPS, SAMPLES = 7, 5


def spread_out(neurons_per_core: int, cores_per_tile: int = 1) -> Chip:
    """Loihi with so few neurons a core that small graphs need many of them."""
    chip = small_chip(neurons_per_core=neurons_per_core)
    layout = chip.layout
    assert isinstance(layout, ManyCores)
    assert layout.mesh is not None
    mesh = layout.mesh.model_copy(update={"columns": 4, "rows": 128, "cores_per_tile": cores_per_tile})
    return chip.model_copy(update={"layout": layout.model_copy(update={"mesh": mesh})})


def step_time() -> StepTime:
    layout = bundled_chip("loihi1").layout
    assert isinstance(layout, ManyCores)
    assert layout.step_time is not None
    return layout.step_time


def inputs(network: Network, rate: float, seed: int = 0) -> Recording:
    size = network.input_node.output_shape[0]
    values = np.random.default_rng(seed).random((STEPS, SAMPLES, size)) < rate
    return Recording(values.astype(np.uint8), Signal.EVENTS, 0.001)


def counted(
    network: Network, chip: Chip, recording: Recording, batch: int = 2
) -> tuple[Placement, ChipActivity]:
    answer = fit(network, chip)
    assert answer.fits
    assert answer.placement is not None
    counter = ActivityCounter(network, answer.placement, recording, step_time())
    count_network(network, recording, name="graph", batch=batch, observe=counter)
    return answer.placement, counter.activity()


def homes(placement: Placement) -> dict[tuple[str, int], int]:
    """The core of each neuron."""
    return {
        (share.population, int(neuron)): core.index
        for core in placement.cores
        for share in core.shares
        for neuron in share.neurons
    }


class PlainCount:
    """Every spike on its way, one after the other."""

    def __init__(self, network: Network, placement: Placement, recording: Recording) -> None:
        lies = homes(placement)
        tiles = {core.index: core.tile for core in placement.cores}
        trace = simulate(network, recording.values, record="all")
        wires = dense_projections(network)
        self.messages, self.from_host, self.events = (np.zeros(SAMPLES, np.int64) for _ in range(3))
        self.ew, self.ns = np.zeros(SAMPLES, np.int64), np.zeros(SAMPLES, np.int64)
        # For each step on the chip, sample and core: messages in, events, spikes, messages out.
        self.work: dict[tuple[int, int, int], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for name in placement.latency:
            for step, sample, line in np.argwhere(trace.outputs[name] != 0):
                at = int(step) + placement.latency[name]
                home = lies.get((name, int(line)))
                reached = defaultdict(int)
                for source, target, weight in wires:
                    if source == name:
                        for neuron in np.flatnonzero(weight[:, line]):
                            reached[lies[target, int(neuron)]] += 1
                if home is not None:
                    self.work[at, int(sample), home][2] += 1
                for core, synapses in reached.items():
                    self.events[sample] += synapses
                    self.work[at, int(sample), core][0] += 1
                    self.work[at, int(sample), core][1] += synapses
                    if home is None:
                        self.from_host[sample] += 1
                        continue
                    self.messages[sample] += 1
                    self.work[at, int(sample), home][3] += 1
                    here, there = tiles[home], tiles[core]
                    assert here is not None
                    assert there is not None
                    self.ew[sample] += abs(here[0] - there[0])
                    self.ns[sample] += abs(here[1] - there[1])


@settings(max_examples=40, deadline=None)
@given(layered_graphs(), st.integers(1, 9), st.sampled_from([0.0, 0.2, 0.7]), st.integers(0, 99))
def test_every_message_hop_and_event_is_counted_as_spike_by_spike(
    network: Network, room: int, rate: float, seed: int
) -> None:
    chip, recording = spread_out(room), inputs(network, rate, seed)
    placement, activity = counted(network, chip, recording)
    plain = PlainCount(network, placement, recording)
    assert activity.messages.tolist() == plain.messages.tolist()
    assert activity.from_host.tolist() == plain.from_host.tolist()
    assert activity.synapse_events.tolist() == plain.events.tolist()
    assert activity.hops is not None
    assert activity.hops.east_west.tolist() == plain.ew.tolist()
    assert activity.hops.north_south.tolist() == plain.ns.tolist()
    assert activity.late == max(placement.latency.values())
    check_times(plain, placement, activity)


@pytest.mark.parametrize("steps", [1, 2, 3, STEPS])
@pytest.mark.parametrize("late", ["back", "n1"])
def test_what_a_graph_delays_beyond_the_end_meets_no_synapse(steps: int, late: str) -> None:
    """On the chip as in the graph: behind a Delay, and in a cycle whose late edge leads to the weights."""
    build = GraphBuilder(0.001)
    build.input(4, Signal.EVENTS)
    build.delay("delay", [0, 1, 2, 3], 4)
    build.linear("w1", np.full((6, 4), 5.0))
    build.linear("straight", np.full((6, 4), 5.0), after="input")
    build.lif("n1", 0.9, 1.0, 6, after=["w1", "straight"])
    build.connect(build.linear("back", np.full((6, 6), 0.1)), "n1")
    build.linear("w2", np.full((3, 6), 5.0), after="n1")
    build.lif("n2", 0.9, 1.0, 3)
    build.output(3)
    graph = build.build()
    graph.metadata["late_edges"] = json.dumps([["back", "n1"] if late == "back" else ["n1", "back"]])
    network = assemble(graph)
    values = (np.random.default_rng(0).random((steps, SAMPLES, 4)) < 0.6).astype(np.uint8)
    recording = Recording(values, Signal.EVENTS, 0.001)
    part = count_network(network, recording, name="graph")
    for room in (2, 100):
        _, activity = counted(network, spread_out(room), recording)
        assert activity.synapse_events.tolist() == part.per_sample.synaptic.tolist()
        # Every spike of the input reaches the weights straight, and those of the cores once a core.
        assert activity.from_host.tolist() == (values.sum(axis=(0, 2)) * -(-6 // room)).tolist()


def check_times(plain: PlainCount, placement: Placement, activity: ChipActivity) -> None:
    """Each step: the busiest core and the barrier, with the published figures written out here."""
    assert activity.times is not None
    size = {core.index: sum(share.size for share in core.shares) for core in placement.cores}
    tiles = len({core.tile for core in placement.cores})
    waits = {1: (600, 600), 2: (1000, 1000), 3: (1000, 1400), 4: (1400, 1400)}
    wait = waits.get(tiles, (1400, 1800) if tiles < 29 else (1800, 1800))
    ways = [placement.hops(route) or (0, 0) for route in placement.routes]
    crossing = max((4.1 * ew + 6.5 * ns for ew, ns in ways), default=0)
    for step in range(STEPS + activity.late):
        for sample in range(SAMPLES):
            work = {core: plain.work.get((step, sample, core), [0, 0, 0, 0]) for core in size}
            low = max(
                max(6.0 * size[core] + 30 * fired + 5.1 * out, 16 * arrived + 3.1 * events)
                for core, (arrived, events, fired, out) in work.items()
            )
            send = max(9.7 * size[core] + 30 * one[2] + 5.1 * one[3] for core, one in work.items())
            take = max(16 * one[0] + 4.7 * one[1] for one in work.values())
            assert activity.times.low[step, sample] == pytest.approx(low + wait[0])
            assert activity.times.high[step, sample] == pytest.approx(send + crossing + take + wait[1])


def test_by_hand_two_layers_on_two_tiles() -> None:
    network = chain(1, 2, 2, weights=[np.full((2, 1), 9.0), np.full((2, 2), 9.0)])
    values = np.zeros((3, 1, 1), np.uint8)
    values[0] = 1
    answer = fit(network, spread_out(2))
    assert answer.placement is not None
    recording = Recording(values, Signal.EVENTS, 0.001)
    counter = ActivityCounter(network, answer.placement, recording, step_time())
    count_network(network, recording, name="graph", observe=counter)
    found = counter.activity()
    # One event in meets 2 synapses; 2 neurons fire, each to the one core of the next layer, one tile east.
    assert (found.from_host[0], found.messages[0], found.to_host[0]) == (1, 2, 2)
    assert (found.synapse_events[0], found.busiest[0]) == (2 + 4, 4)
    assert found.hops is not None
    assert (found.hops.east_west[0], found.hops.north_south[0]) == (2, 0)
    # Two connections: the second layer is two steps behind the graph, so five steps on the chip.
    assert found.late == 2
    assert found.times is not None
    assert found.times.low.shape == (5, 1)
    assert found.times.quiet == pytest.approx((1000 + 12.0, 1000 + 19.4 + 4.1))
    # In the step in which the first layer fires: 2 neurons, 2 spikes and 2 messages leave; 2 come in there.
    assert found.times.low[1, 0] == pytest.approx(1000 + 2 * 6 + 2 * 30 + 2 * 5.1)
    assert found.times.high[1, 0] == pytest.approx(1000 + 2 * 9.7 + 2 * 30 + 2 * 5.1 + 4.1 + 2 * 16 + 4 * 4.7)


def test_batches_change_nothing() -> None:
    network = chain(6, 8, 5, 3)
    recording = inputs(network, 0.4)
    first = counted(network, spread_out(3), recording, batch=1)[1]
    second = counted(network, spread_out(3), recording, batch=SAMPLES)[1]
    assert first.messages.tolist() == second.messages.tolist()
    assert first.times is not None
    assert second.times is not None
    assert (first.times.high == second.times.high).all()


def test_pooled_and_convolved_spikes_are_followed_to_their_synapses() -> None:
    from tests.support.chips import convolution

    network = convolution(2, 3, (8, 8), pool=2)
    values = (np.random.default_rng(1).random((STEPS, SAMPLES, 2, 8, 8)) < 0.3).astype(np.uint8)
    recording = Recording(values, Signal.EVENTS, 0.001)
    placement, activity = counted(network, spread_out(7), recording)
    # A 3 x 3 kernel over 4 x 4 pooled places: an event reaches the windows it lies in, of 3 channels each.
    along = np.array([1, 2, 2, 1])
    fan_out = 3 * np.kron(np.outer(along, along), np.ones((2, 2), np.int64))
    assert activity.synapse_events.tolist() == (values * fan_out).sum(axis=(0, 2, 3, 4)).tolist()
    assert len(placement.cores) > 1
    assert not activity.messages.any()
    assert (activity.from_host >= values.sum(axis=(0, 2, 3, 4))).all()


def test_a_barrier_between_two_published_sizes_is_a_range() -> None:
    barrier = step_time().barrier
    assert [barrier.nanoseconds(tiles) for tiles in (1, 2, 3, 4, 12, 29, 32)] == [
        (600, 600), (1000, 1000), (1000, 1400), (1400, 1400), (1400, 1800), (1800, 1800), (1800, 1800),
    ]  # fmt: skip


def test_a_barrier_needs_its_waits_in_order() -> None:
    for waits in ([(2, 1.0)], [(1, 1.0), (1, 2.0)], [(1, 1.0), (4, 2.0), (2, 3.0)]):
        with pytest.raises(ValueError, match="ascending"):
            Barrier(
                waits=tuple(Wait(tiles=tiles, nanoseconds=wait) for tiles, wait in waits),
                source="davies2018",
                place="a test",
            )
