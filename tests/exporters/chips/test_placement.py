"""Placement on many cores, against counts made neuron by neuron."""

import cProfile
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.chips.chip import Chip, ListFormat, ManyCores, bundled_chip
from nsc_deploy.exporters.chips.fit import fit
from nsc_deploy.exporters.chips.placement import Core, Placement
from nsc_deploy.exporters.chips.projections import build_projections
from nsc_deploy.exporters.chips.timing import align
from nsc_deploy.graphs.network import Network
from tests.support.chips import chain, convolution, dense_projections, layered_graphs, small_chip

chips = st.builds(
    small_chip,
    name=st.sampled_from(["loihi1", "loihi2"]),
    neurons_per_core=st.integers(1, 16),
    axons_in=st.integers(40, 80),
    axons_out=st.integers(20, 60),
    memory=st.integers(600, 2000),
    cores=st.integers(6, 64),
)


def placed(answer: CheckResult) -> Placement:
    assert answer.placement is not None
    return answer.placement


def members(core: Core, population: str) -> list[int]:
    shares = [share for share in core.shares if share.population == population]
    return [int(neuron) for share in shares for neuron in share.neurons]


def used(core: Core, pool: str) -> int:
    return next(one.used for one in core.pools if one.pool == pool)


def brute_force_list_bits(synapses: int, neurons: int, bits: int, index_bits: int, form: ListFormat) -> int:
    """Bits of one list, block by block."""

    def blocks(entries: int, width: int) -> int:
        total = 0
        while entries > 0:
            take = min(entries, form.block)
            total += ceil((take * width + form.header_bits) / form.word_bits) * form.word_bits
            entries -= take
        return total

    return min(blocks(neurons, bits), blocks(synapses, bits + index_bits)) if synapses else 0


def brute_force_memory(network: Network, chip: Chip, core: Core, delays: dict[tuple[str, str], int]) -> int:
    layout = chip.layout
    assert isinstance(layout, ManyCores)
    form, index_bits = layout.memory.lists, 0
    if form is not None:
        while 2**index_bits < (layout.neurons_per_core.value or 0):
            index_bits += 1
        index_bits = max(1, index_bits)
    total = 0
    for source, target, weight in dense_projections(network):
        rows = members(core, target)
        for line in range(weight.shape[1]):
            synapses = sum(weight[row, line] != 0 for row in rows)
            if form is None:
                total += 8 * synapses
            else:
                width = 8 + delays[source, target].bit_length()
                total += brute_force_list_bits(synapses, len(rows), width, index_bits, form)
    if layout.memory.holds_states:
        total += sum(share.size for share in core.shares) * 24
    return ceil(total / 8)


@settings(max_examples=40, deadline=None)
@given(layered_graphs(), chips)
def test_every_neuron_lies_in_one_core_and_no_core_is_over_a_limit(network: Network, chip: Chip) -> None:
    answer = fit(network, chip)
    placement = placed(answer)
    for node in network.nodes:
        if node.spiking:
            found = sorted(n for core in placement.cores for n in members(core, node.name))
            assert found == list(range(node.output_shape[0]))
    layout = chip.layout
    assert isinstance(layout, ManyCores)
    for core in placement.cores:
        assert used(core, "neurons") <= (layout.neurons_per_core.value or 0)
        assert used(core, "axons in") <= (layout.axons_in.value or 0)
        assert used(core, "memory") <= (layout.memory.capacity.value or 0)
    over = [core.index for core in placement.cores if used(core, "axons out") > (layout.axons_out.value or 0)]
    assert [f"core {index}" for index in over] == [
        one.where for one in answer.breaches if one.rule == "fan-out axons"
    ]
    too_many = len(placement.cores) > (layout.cores.value or 0)
    assert too_many == any(one.rule == "cores of the chip" for one in answer.breaches)


@settings(max_examples=30, deadline=None)
@given(layered_graphs(), chips)
def test_pools_are_what_counting_synapse_by_synapse_gives(network: Network, chip: Chip) -> None:
    placement = placed(fit(network, chip))
    projections = dense_projections(network)
    graph = build_projections(network)
    timing = align(graph, 1)
    delays = {
        (one.source, one.target): longest
        for one, (_, longest) in zip(graph.projections, timing.delays, strict=True)
    }
    home = {
        (share.population, n): core.index
        for core in placement.cores
        for share in core.shares
        for n in range(share.start, share.stop)
    }
    edges: dict[int, set[tuple[str, int, int]]] = {core.index: set() for core in placement.cores}
    for core in placement.cores:
        lines, synapses = set(), 0
        for source, target, weight in projections:
            for row in members(core, target):
                for line in np.flatnonzero(weight[row]):
                    lines.add((source, int(line)))
                    synapses += 1
        for source, line in lines:
            if (source, line) in home:
                edges[home[source, line]].add((source, line, core.index))
        assert used(core, "axons in") == len(lines)
        assert used(core, "synapses") == synapses
        assert used(core, "memory") == brute_force_memory(network, chip, core, delays)
    for core in placement.cores:
        assert used(core, "axons out") == len(edges[core.index])
    nonzeros = sum(int(np.count_nonzero(weight)) for _, _, weight in projections)
    assert sum(used(core, "synapses") for core in placement.cores) == nonzeros == graph.synapses
    assert sum(route.synapses for route in placement.routes) == nonzeros


@settings(max_examples=15, deadline=None)
@given(layered_graphs(), chips)
def test_the_same_graph_is_placed_the_same(network: Network, chip: Chip) -> None:
    one, two = fit(network, chip), fit(network, chip)
    assert one == two
    assert one.pools == two.pools


def test_populations_share_cores_and_are_split_where_one_is_full() -> None:
    placement = placed(fit(chain(2, 5, 3), small_chip(neurons_per_core=4)))
    held = [
        [(share.population, share.start, share.stop) for share in core.shares] for core in placement.cores
    ]
    assert held == [[("n0", 0, 4)], [("n0", 4, 5), ("n1", 0, 3)]]


def test_feature_maps_are_placed_with_all_channels_of_a_place_together() -> None:
    placement = placed(fit(convolution(outputs=2, size=(4, 4)), small_chip(neurons_per_core=4)))
    assert [members(core, "n") for core in placement.cores] == [[0, 4, 1, 5], [2, 6, 3, 7]]
    assert [used(core, "axons in") for core in placement.cores] == [12, 12]


def test_routes_name_the_lines_that_travel() -> None:
    weight = np.zeros((2, 4))
    weight[0, 1] = weight[1, 1] = weight[1, 3] = 1
    network = chain(1, 4, 2, weights=[np.ones((4, 1)), weight])
    placement = placed(fit(network, small_chip(neurons_per_core=2)))
    between = {(one.source_core, one.target_core): one for one in placement.routes if one.source == "n0"}
    assert {cores: list(one.lines) for cores, one in between.items()} == {(0, 2): [1], (1, 2): [3]}
    assert between[0, 2].synapses == 2
    assert [one.source_core for one in placement.routes if one.source == "input"] == [None, None]


def test_hops_are_counted_between_tiles() -> None:
    placement = placed(fit(chain(1, 40), small_chip(neurons_per_core=1)))
    tiles = [core.tile for core in placement.cores]
    assert tiles[:5] == [(0, 0)] * 4 + [(1, 0)]
    assert tiles[32] == (0, 1)
    network = chain(1, 36, 1)
    placement = placed(fit(network, small_chip(neurons_per_core=1)))
    last = [one for one in placement.routes if one.target_core == 36 and one.source_core == 4]
    assert [placement.hops(one) for one in last] == [(0, 1)]
    from_host = next(one for one in placement.routes if one.source_core is None)
    assert placement.hops(from_host) is None


def test_a_core_with_too_many_output_axons_is_filled_thinner() -> None:
    """Four neurons that reach four cores each make 16 edges from one core; two that reach five make ten."""
    network = chain(1, 4, 16)
    free = placed(fit(network, small_chip(neurons_per_core=4)))
    assert [used(core, "axons out") for core in free.cores] == [16, 0, 0, 0, 0]
    answer = fit(network, small_chip(neurons_per_core=4, axons_out=10))
    assert [used(core, "axons out") for core in placed(answer).cores] == [10, 10, 0, 0, 0]
    assert answer.fits


def test_a_graph_of_a_million_synapses_fits_loihi() -> None:
    answer = fit(chain(300, 1500, 500), small_chip())
    assert answer.fits
    assert sum(used(core, "synapses") for core in placed(answer).cores) == 300 * 1500 + 1500 * 500


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_synapses_of_skip_connections_wait_for_the_longer_path(name: str) -> None:
    from nsc_deploy.graphs.assemble import assemble
    from nsc_deploy.graphs.build import GraphBuilder
    from nsc_deploy.graphs.network import Signal

    build = GraphBuilder(0.001)
    build.input(1, Signal.EVENTS)
    build.linear("w", [[1.0]])
    build.lif("a", 0.5, 1.0, 1)
    build.linear("v", [[1.0]])
    build.lif("b", 0.5, 1.0, 1)
    build.linear("direct", [[1.0]], after="input")
    build.linear("behind", [[1.0]], after="b")
    build.lif("c", 0.5, 1.0, 1, after=["direct", "behind"])
    build.output(1)
    answer = fit(assemble(build.build()), small_chip(name))
    assert next(one for one in answer.pools if one.pool == "delay steps").used == 2
    assert placed(answer).latency == {"input": 0, "a": 1, "b": 2, "c": 3}


def test_only_the_population_that_sends_too_much_is_spread_thinner() -> None:
    """Two full layers of 1000 share cores; thinning the second would give the first ever more to send to."""
    answer = fit(chain(20, 1000, 1000, 6), bundled_chip("loihi1"))
    assert answer.fits
    assert answer.placement is not None
    assert len(answer.placement.cores) == 9
    assert (
        max(pool.used for core in answer.placement.cores for pool in core.pools if pool.pool == "axons out")
        <= 4096
    )


def calls(layers: int) -> int:
    """Python calls that it takes to fit a chain of so many layers."""
    network = chain(*[4] * (layers + 1))
    profile = cProfile.Profile(builtins=False)
    assert profile.runcall(fit, network, bundled_chip("loihi2")).fits
    return sum(one.callcount for one in profile.getstats())


def test_the_work_grows_with_the_layers_and_not_with_their_square() -> None:
    assert calls(300) < 3.3 * calls(100)
