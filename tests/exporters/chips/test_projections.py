"""Synapses of projections, against matrices unrolled weight by weight."""

import nir
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.exporters.chips.projections import Obstacle, build_projections
from nsc_deploy.exporters.chips.timing import align
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.chips import convolution, loop

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def unrolled(network: Network, node: str) -> np.ndarray:
    """[neurons, lines]: which line changes the input of which neuron, one event at a time."""
    lines = int(np.prod(network.input_node.output_shape))
    events = np.eye(lines, dtype=np.float32).reshape(1, lines, *network.input_node.output_shape)
    answer = simulate(network, events, record=[node]).outputs[node][0].reshape(lines, -1)
    silent = simulate(network, 0 * events[:, :1], record=[node]).outputs[node][0].reshape(1, -1)
    return (answer != silent).T


@st.composite
def convolutions(draw: st.DrawFn) -> Network:
    groups = draw(st.integers(1, 2))
    channels, outputs = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    pool = draw(st.sampled_from([1, 2]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (8, 7)
    weight = (chance.random((outputs, channels // groups, *kernel)) < 0.7).astype(np.float32)
    build = GraphBuilder(0.001)
    build.input((channels, pool * size[0], pool * size[1]), Signal.EVENTS)
    if pool > 1:
        build.add("pool", nir.SumPool2d(np.array([pool, pool]), np.array([pool, pool]), np.array([0, 0])))
    build.add("conv", nir.Conv2d(size, weight, stride, padding, dilation, groups, np.zeros(outputs)))
    out = [
        (size[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis in range(2)
    ]
    build.threshold("n", 0.5, (outputs, *out))
    build.output((outputs, *out))
    return assemble(build.build())


@settings(max_examples=25, deadline=None)
@given(convolutions(), st.data())
def test_convolutions_and_poolings_reach_what_they_reach_unrolled(
    network: Network, data: st.DataObject
) -> None:
    synapses = build_projections(network).projections[0].synapses
    matrix = unrolled(network, "conv")
    assert (synapses.lines, synapses.neurons) == matrix.shape[::-1]
    some = data.draw(st.sets(st.integers(0, synapses.neurons - 1), min_size=1))
    chosen = np.array(sorted(some))
    assert synapses.fan_out_to(chosen).tolist() == matrix[chosen].sum(axis=0).tolist()
    assert synapses.fan_in().tolist() == matrix.sum(axis=1).tolist()


def test_a_convolution_keeps_its_kernel_once() -> None:
    synapses = build_projections(convolution(channels=2, outputs=3)).projections[0].synapses
    assert synapses.kernel_weights(np.arange(synapses.neurons)) == 3 * 2 * 9
    assert synapses.kernel_weights(np.arange(1)) == 2 * 9
    assert synapses.fan_out_to(np.arange(synapses.neurons)).sum() == 3 * 36 * 2 * 9


def test_a_convolution_behind_a_scale_of_its_places_shares_no_kernel() -> None:
    places = np.linspace(0.5, 2, 64).reshape(1, 8, 8)
    assert (
        build_projections(convolution(scale=places)).projections[0].synapses.kernel_weights(np.arange(1))
        is None
    )
    channels = np.array([0.5, 2]).reshape(2, 1, 1)
    even = build_projections(convolution(channels=2, scale=channels)).projections[0].synapses
    assert even.kernel_weights(np.arange(1)) == 2 * 9


def test_matrices_in_a_row_become_their_product() -> None:
    build = GraphBuilder(0.001)
    build.input(2, Signal.EVENTS)
    build.linear("a", [[1.0, 1.0], [1.0, -1.0]])
    build.linear("b", [[1.0, 1.0], [1.0, -1.0]])
    build.threshold("n", 0.5, 2)
    build.output(2)
    (projection,) = build_projections(assemble(build.build())).projections
    assert projection.synapses.fan_out_to(np.arange(2)).tolist() == [1, 1]
    assert projection.largest.tolist() == [2, 2]


@pytest.mark.parametrize("zero", ["in front", "between", "behind"])
def test_a_scale_of_0_leaves_no_synapses(zero: str) -> None:
    build = GraphBuilder(0.001)
    build.input(3, Signal.EVENTS)
    places = {"in front": 3, "between": 4, "behind": 2}
    shapes = {"between": (4, 3), "behind": (2, 4)}
    for place, size in places.items():
        if place in shapes:
            build.linear(f"w {place}", np.abs(np.random.default_rng(size).normal(size=shapes[place])))
        build.add(place, nir.Scale(np.append(np.ones(size - 1), 0.0 if place == zero else 1.0)))
    build.threshold("n", 0.5, 2)
    build.output(2)
    (projection,) = build_projections(assemble(build.build())).projections
    fan_in, fan_out = {
        "in front": ([2, 2], [2, 2, 0]),
        "between": ([3, 3], [2, 2, 2]),
        "behind": ([3, 0], [1, 1, 1]),
    }[zero]
    assert projection.synapses.fan_in().tolist() == fan_in
    assert projection.synapses.fan_out_to(np.arange(2)).tolist() == fan_out


def test_a_channel_scaled_by_0_has_no_synapses_behind_a_convolution() -> None:
    build = GraphBuilder(0.001)
    build.input((2, 5, 5), Signal.EVENTS)
    build.add("conv", nir.Conv2d((5, 5), np.ones((3, 2, 3, 3)), 1, 0, 1, 1, np.zeros(3)))
    build.add("scale", nir.Scale(np.array([1.0, 0.0, 2.0]).reshape(3, 1, 1) * np.ones((3, 3, 3))))
    build.integrate_and_fire("n", 1.0, (3, 3, 3))
    build.output((3, 3, 3))
    synapses = build_projections(assemble(build.build())).projections[0].synapses
    assert synapses.fan_in().tolist() == [18] * 9 + [0] * 9 + [18] * 9
    assert synapses.kernel_weights(np.arange(27)) == 2 * 2 * 9
    assert synapses.fan_out_to(np.arange(27)).sum() == 2 * 9 * 18
    assert not synapses.fan_out_to(np.arange(9, 18)).any()


def test_neurons_that_follow_a_line_without_weights_have_one_synapse() -> None:
    build = GraphBuilder(0.001)
    build.input(3, Signal.EVENTS)
    build.threshold("n", 0.5, 3)
    build.output(3)
    graph = build_projections(assemble(build.build()))
    assert graph.synapses == 3
    assert graph.projections[0].synapses.fan_out_to(np.arange(1, 3)).tolist() == [0, 1, 1]


def test_a_graph_can_be_cut_short() -> None:
    from tests.support.chips import chain

    graph = build_projections(chain(2, 5, 3)).shrunk("n0", 4)
    assert [one.size for one in graph.populations] == [4, 3]
    assert [
        int(one.synapses.fan_out_to(np.arange(one.synapses.neurons)).sum()) for one in graph.projections
    ] == [
        8,
        12,
    ]


def test_a_cycle_needs_as_many_steps_in_the_graph_as_on_the_chip() -> None:
    with pytest.raises(Obstacle) as caught:
        align(build_projections(loop(0)), 1)
    assert "takes 1 step more on the chip" in caught.value.reason
    assert "Delay of 1 step" in caught.value.hint
    with pytest.raises(Obstacle):
        align(build_projections(loop(1)), 1)
    timing = align(build_projections(loop(2)), 1)
    assert timing.latency == {"input": 0, "a": 1, "b": 2}
    assert set(timing.delays) == {(0, 0)}
    assert max(longest for _, longest in align(build_projections(loop(5)), 1).delays) == 3


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_delays_bring_every_path_into_step(data: st.DataObject) -> None:
    """On the chip a spike takes one step and its synapse's delay; both ends are late by their latencies."""
    count = data.draw(st.integers(2, 5))
    build = GraphBuilder(0.001)
    names = [build.input(1, Signal.EVENTS)]
    own: dict[tuple[str, str], int] = {}
    for index in range(1, count):
        sources_of = []
        for source in sorted(data.draw(st.sets(st.integers(0, index - 1), min_size=1))):
            steps = data.draw(st.integers(0, 4))
            weights = build.linear(f"w{source}_{index}", [[1.0]], after=names[source])
            if steps:
                weights = build.delay(f"d{source}_{index}", steps, 1)
            sources_of.append(weights)
            own[names[source], f"n{index}"] = steps
        names.append(build.lif(f"n{index}", 0.5, 1.0, 1, after=sources_of))
    build.output(1, after=names[-1])
    graph = build_projections(assemble(build.build()))
    timing = align(graph, 1)
    for one, (shortest, longest) in zip(graph.projections, timing.delays, strict=True):
        assert shortest == longest >= 0
        late = timing.latency[one.target] - timing.latency[one.source]
        assert 1 + longest - late == own[one.source, one.target]


@pytest.mark.parametrize("uneven", [False, True])
def test_the_largest_weight_is_one_of_the_products_with_scales(uneven: bool) -> None:
    """As unrolled, one event at a time."""
    chance = np.random.default_rng(3)
    scales = [chance.uniform(0.1, 9, (2, 4, 4) if uneven else (2, 1, 1)) for _ in range(2)]
    build = GraphBuilder(0.001)
    build.input((2, 4, 4), Signal.EVENTS)
    for name, scale in zip(("before", "behind"), scales, strict=True):
        build.add(name, nir.Scale(np.broadcast_to(scale, (2, 4, 4)).astype(np.float32)))
        if name == "before":
            build.add("conv", nir.Conv2d((4, 4), chance.normal(0, 1, (2, 2, 3, 3)), 1, 1, 1, 1, np.zeros(2)))
    build.integrate_and_fire("n", 1.0, (2, 4, 4))
    build.output((2, 4, 4))
    network = assemble(build.build())
    events = np.eye(32, dtype=np.float32).reshape(1, 32, 2, 4, 4)
    answer = simulate(network, events, record=["behind"]).outputs["behind"][0].reshape(32, -1)
    (projection,) = build_projections(network).projections
    np.testing.assert_allclose(projection.largest, np.abs(answer).max(axis=0), rtol=1e-5)
