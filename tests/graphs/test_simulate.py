import re

import nir
import numpy as np
import pytest
import snntorch
import torch
from hypothesis import find, given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import DataError, GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.operators import Setting
from nsc_deploy.graphs.operators.neurons import Neuron
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.graphs.simulate import simulate, simulate_batches
from tests.support.graph_strategies import cases
from tests.support.naive_simulator import Naive

DT = 0.25


def grid(rng, *shape, step=1 / 16, reach=24):
    return (rng.integers(-reach, reach + 1, shape) * step).astype(np.float32)


def events(rng, steps, samples, *shape, rate=0.4):
    return (rng.random((steps, samples, *shape)) < rate).astype(np.uint8)


def one_node(node, shape, out_shape, **metadata):
    return nir.NIRGraph(
        {"in": nir.Input(np.array(shape)), "node": node, "out": nir.Output(np.array(out_shape))},
        [("in", "node"), ("node", "out")],
        metadata={"dt": DT, **metadata},
        type_check=False,
    )


def neuron_nodes(rng, size):
    def near(low, high):
        return rng.uniform(low, high, size)

    common = {"v_threshold": near(0.3, 1.2), "v_reset": near(-0.3, 0.2)}
    leak = {"r": near(0.5, 4.0), "v_leak": near(-0.2, 0.4)}
    taus = {"tau_syn": near(0.3, 2.0), "tau_mem": near(0.3, 2.0), "w_in": near(0.5, 2.0)}
    return {
        "LIF": nir.LIF(tau=near(0.3, 2.0), **leak, **common),
        "IF": nir.IF(r=near(0.5, 4.0), **common),
        "CubaLIF": nir.CubaLIF(**taus, **leak, **common),
        "LI": nir.LI(tau=near(0.3, 2.0), **leak),
        "CubaLI": nir.CubaLI(**taus, **leak),
        "I": nir.I(r=near(0.5, 4.0)),
        "Threshold": nir.Threshold(near(-0.5, 0.5)),
        "Scale": nir.Scale(near(-2, 2)),
        "Delay": nir.Delay(rng.integers(0, 5, size) * DT),
    }


@pytest.mark.parametrize("kind", neuron_nodes(np.random.default_rng(0), 5))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_elementwise_primitive_is_its_equation_number_by_number(kind, dtype):
    rng = np.random.default_rng(7)
    node = neuron_nodes(rng, (2, 3))[kind]
    values = rng.normal(size=(40, 3, 2, 3)).astype(dtype)
    graph = one_node(node, (2, 3), (2, 3), reset="zero")
    got = simulate(assemble(graph), values, dtype=dtype).output
    for sample in range(3):
        wanted = Naive(graph, values[:, sample], DT, "zero", dtype=dtype).run("out")
        np.testing.assert_array_equal(got[:, sample], wanted)
    assert np.unique(got).size > 1
    assert got.dtype == dtype


@pytest.mark.parametrize("kind", ["LIF", "IF", "CubaLIF"])
def test_reset_by_subtraction_is_its_equation_number_by_number(kind):
    rng = np.random.default_rng(8)
    node = neuron_nodes(rng, 6)[kind]
    node.v_reset = np.zeros(6)
    values = rng.normal(0.4, size=(60, 2, 6)).astype(np.float32)
    graph = one_node(node, (6,), (6,), reset="subtract")
    trace = simulate(assemble(graph), values, potentials="all")
    for sample in range(2):
        naive = Naive(graph, values[:, sample], DT, "subtract")
        np.testing.assert_array_equal(trace.output[:, sample], naive.run("out"))
        charged = [naive.state("node", t)[3] for t in range(60)]
        np.testing.assert_array_equal(trace.potentials["node"][:, sample], charged)
    assert 0 < trace.output.mean() < 1


def test_a_spike_needs_a_potential_above_the_threshold():
    builder = GraphBuilder(DT)
    builder.input(1, Signal.REAL)
    builder.lif("lif", 0.5, 1.0, 1)
    builder.output(1)
    values = np.array([1.0, 0.5, np.nextafter(np.float32(0.5), np.float32(1)) + 0.25], np.float32)
    assert simulate(assemble(builder.build()), values[:, None, None]).output.ravel().tolist() == [0, 0, 1]


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.95, 0.99])
def test_spikes_and_potentials_are_those_of_snntorch(beta):
    rng = np.random.default_rng(3)
    weights = grid(rng, 24, 40, step=1 / 64, reach=40)
    x = events(rng, 80, 5, 40, rate=0.25)
    builder = GraphBuilder(0.03)
    builder.input(40, Signal.EVENTS)
    builder.linear("weights", weights)
    builder.lif("lif", beta, 0.3, 24)
    builder.output(24)
    got = simulate(assemble(builder.build()), x, potentials=["lif"])

    leaky = snntorch.Leaky(beta=beta, threshold=0.3, reset_mechanism="zero", reset_delay=False)
    state, spikes = leaky.init_leaky(), []
    with torch.no_grad():
        for step in torch.from_numpy(x).float() @ torch.from_numpy(weights).T:
            spike, state = leaky(step, state)
            spikes.append(spike)
    np.testing.assert_array_equal(got.output, torch.stack(spikes).numpy())
    assert 0.02 < got.output.mean() < 0.9


def test_beta_survives_nir_s_time_constants_to_the_last_bit():
    beta = np.float32(np.random.default_rng(0).random(20_000))
    for dt in (1e-4, 0.001, 0.03, 1.0, 7.0):
        builder = GraphBuilder(dt)
        builder.input(beta.size, Signal.REAL)
        builder.lif("lif", beta, 1e9, beta.size)
        builder.output(beta.size)
        values = np.zeros((2, 1, beta.size), np.float32)
        values[0] = 1
        potentials = simulate(assemble(builder.build()), values, potentials=["lif"]).potentials["lif"]
        np.testing.assert_array_equal(potentials[0, 0], np.ones_like(beta))
        np.testing.assert_array_equal(potentials[1, 0], beta)


def test_the_compiled_scan_and_the_numpy_loop_agree_bit_for_bit():
    rng = np.random.default_rng(5)
    builder = GraphBuilder(DT)
    builder.input((4, 5), Signal.REAL)
    builder.lif("lif", rng.random((4, 5)) * 0.99, 0.6, (4, 5))
    builder.output((4, 5))
    node = assemble(builder.build()).node("lif")
    setting = Setting(DT, Reset.ZERO, np.dtype(np.float32), 3)
    values = rng.normal(0.2, size=(50, 3, 4, 5)).astype(np.float32)
    share = DT / node.parameters.tau
    arguments = (node, setting, 1 - share, node.parameters.r * share, np.zeros((4, 5)))
    compiled, loop = Neuron(*arguments), Neuron(*arguments)
    compiled.keep_potentials = loop.keep_potentials = True
    np.testing.assert_array_equal(compiled._scan(values.copy()), loop._loop(values.copy()))
    np.testing.assert_array_equal(compiled.potentials, loop.potentials)


SPIKING = ["lif", "if", "threshold"]


def add_stage(builder, rng, kind, name, size):
    if kind == "lif":
        return builder.lif(name, rng.random(size) * 0.95, 0.4, size)
    if kind == "if":
        return builder.integrate_and_fire(name, 0.7, size)
    if kind == "threshold":
        return builder.threshold(name, 0.3, size)
    if kind == "delay":
        return builder.delay(name, rng.integers(0, 4, size), size)
    if kind == "li":  # decays that keep every value exact
        tau = rng.choice([DT, 2 * DT, 4 * DT], size)
        return builder.add(name, nir.LI(tau=tau, r=np.ones(size), v_leak=np.zeros(size)))
    return builder.affine(name, grid(rng, size, size), grid(rng, size))


@st.composite
def random_graphs(draw):
    """A chain with skips and feedback through every kind of layer.

    Weights lie on a grid, and real values meet a spiking layer before their sums become inexact, so that
    the order of summation does not matter.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    kinds = [] if dtype is np.float32 else ["delay", "li", "affine"]
    sizes = draw(st.lists(st.integers(1, 4), min_size=2, max_size=7))
    builder = GraphBuilder(DT, draw(st.sampled_from(list(Reset))))
    stages, spiking = [builder.input(sizes[0], draw(st.sampled_from([Signal.EVENTS, Signal.REAL])))], {}
    for index, size in enumerate(sizes[1:], 1):
        builder.linear(f"w{index}", grid(rng, size, sizes[index - 1]), after=stages[-1])
        kind = draw(st.sampled_from(SPIKING + (kinds if spiking.get(index - 1, True) else [])))
        spiking[index] = kind in SPIKING
        stages.append(add_stage(builder, rng, kind, f"n{index}", size))
    builder.output(sizes[-1])
    ends = st.integers(0, len(sizes) - 1)
    late = []
    for source, target in sorted(draw(st.sets(st.tuples(ends, ends), max_size=4))):
        if spiking.get(target):
            name = f"skip{source}_{target}"
            builder.linear(name, grid(rng, sizes[target], sizes[source], reach=8), after=stages[source])
            builder.connect(name, f"n{target}")
            late += [(name, f"n{target}")] if target <= source else []
    values = rng.integers(0, 2, (9, 2, sizes[0]))
    return builder.build(), late, values.astype(dtype)


def settled(graph, late):
    """What the package makes of a random graph, or None where it rightly refuses the cycle."""
    try:
        return assemble(graph)
    except GraphError as error:
        assert late, "a graph without feedback is refused"
        assert "neither a neuron nor a delay" in error.problem
        return None


@settings(max_examples=80, deadline=None)
@given(random_graphs())
def test_random_graphs_equal_the_naive_simulator(case):
    graph, late, values = case
    network = settled(graph, late)
    if network is None:
        return
    assert network.back_edges <= set(late)
    cycles_with_delay = {
        edge for edge in late if edge not in network.back_edges
    }  # a Delay of a step or more in the cycle takes the place of the implicit step
    for source, target in cycles_with_delay:
        component = next(group for group in network.components if source in group)
        assert any(network.node(name).primitive == "Delay" for name in component) or target not in component
    trace = simulate(network, values, record="all", dtype=values.dtype)
    for sample in range(values.shape[1]):
        reset, late_edges = str(network.reset), network.back_edges
        naive = Naive(graph, values[:, sample], DT, reset, late_edges, values.dtype.type)
        for name in graph.nodes:
            np.testing.assert_array_equal(trace.outputs[name][:, sample], naive.run(name), err_msg=name)


@settings(max_examples=40, deadline=None)
@given(cases(rounding=False), st.sampled_from([np.float32, np.float64]))
def test_random_graphs_of_every_node_equal_the_naive_simulator(case, dtype):
    network = case.network
    trace = simulate(network, case.values, record="all", dtype=dtype)
    for sample in range(2):
        naive = Naive(
            case.graph, case.values[:, sample], network.dt, str(network.reset), network.back_edges, dtype
        )
        for node in network.nodes:
            got = trace.outputs[node.name][:, sample]
            assert got.dtype == dtype
            np.testing.assert_array_equal(got, naive.run(node.name), err_msg=node.name)


def test_the_random_graphs_hold_every_node():
    wanted = set(PRIMITIVES) - {"Conv1d"}  # held against the naive simulator below

    def lacking(case):
        wanted.difference_update(node.primitive for node in case.network.nodes)
        return not wanted

    find(cases(rounding=False), lacking, settings=settings(max_examples=2000, deadline=None, database=None))


@pytest.mark.parametrize("padding", [0, 2, "same", "valid"])
@pytest.mark.parametrize(
    ("dilation", "groups", "kernel", "stride"), [(1, 1, 4, 1), (2, 2, 3, 1), (3, 4, 2, 1), (2, 1, 3, 3)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolutions_over_one_dimension_equal_the_naive_simulator(
    padding, dilation, groups, kernel, stride, dtype
):
    rng = np.random.default_rng(0)
    stride = 1 if padding == "same" else stride
    weight, bias = grid(rng, 4, 4 // groups, kernel), grid(rng, 4)
    node = nir.Conv1d(None, weight, stride, padding, dilation, groups, bias)
    graph = one_node(node, (4, 11), (1,))
    graph.nodes["out"] = nir.Output(None)
    values = grid(rng, 2, 2, 4, 11).astype(dtype)
    got = simulate(assemble(graph), values, dtype=dtype).output
    for sample in range(2):
        np.testing.assert_array_equal(
            got[:, sample], Naive(graph, values[:, sample], DT, None, (), dtype).run("out")
        )


def recurrent():
    rng = np.random.default_rng(1)
    builder = GraphBuilder(DT)
    builder.input(6, Signal.EVENTS)
    builder.linear("w", grid(rng, 8, 6))
    builder.lif("lif", 0.8, 0.5, 8)
    builder.linear("rec", grid(rng, 8, 8))
    builder.connect("rec", "lif")
    builder.output(8, after="lif")
    return builder.build(), events(rng, 30, 4, 6)


def test_a_cycle_has_one_step_of_delay():
    graph, values = recurrent()
    network = assemble(graph)
    assert network.back_edges == {("rec", "lif")}
    got = simulate(network, values).output
    weights = {name: graph.nodes[name].weight for name in ("w", "rec")}
    v = spikes = np.zeros((4, 8), np.float32)
    for t in range(30):
        current = values[t].astype(np.float32) @ weights["w"].T + spikes @ weights["rec"].T
        v = np.float32(0.8) * v + current
        spikes = (v > 0.5).astype(np.float32)
        v = np.where(spikes > 0, np.float32(0), v)
        np.testing.assert_array_equal(got[t], spikes)
    without = simulate(network, values * 0).output
    assert not without.any()
    assert got.any()


def test_a_delay_in_a_cycle_takes_the_place_of_the_implicit_step():
    graph, values = recurrent()
    delayed = nir.NIRGraph(
        {**graph.nodes, "delay": nir.Delay(np.full(8, DT))},
        [("input", "w"), ("w", "lif"), ("lif", "rec"), ("rec", "delay"), ("delay", "lif"), ("lif", "output")],
        metadata=graph.metadata,
        type_check=False,
    )
    network = assemble(delayed)
    assert not network.back_edges
    assert network.recurrent
    np.testing.assert_array_equal(simulate(network, values).output, simulate(assemble(graph), values).output)


def test_batches_leave_the_outputs_as_they_are_and_report_progress():
    graph, _ = recurrent()
    network = assemble(graph)
    values = events(np.random.default_rng(4), 12, 23, 6)
    done = []
    got = simulate_batches(network, values, batch=5, progress=done.append)
    np.testing.assert_array_equal(got["output"], simulate(network, values).output)
    assert done == [5, 5, 5, 5, 3]


def test_every_node_is_observed_once_in_order():
    graph, values = recurrent()
    network = assemble(graph)
    seen = []
    trace = simulate(
        network, values, record="all", observe=lambda name, array: seen.append((name, array.copy()))
    )
    assert [name for name, _ in seen] == [node.name for node in network.nodes]
    for name, array in seen:
        np.testing.assert_array_equal(array, trace.outputs[name])


def test_the_layout_of_the_input_in_memory_does_not_matter():
    graph, values = recurrent()
    network = assemble(graph)
    sample_first = np.ascontiguousarray(values.transpose(1, 0, 2)).transpose(1, 0, 2)
    np.testing.assert_array_equal(simulate(network, sample_first).output, simulate(network, values).output)


def test_two_inputs_are_named():
    graph = nir.NIRGraph(
        {"a": nir.Input(np.array([3])), "b": nir.Input(np.array([3])), "out": nir.Output(np.array([3]))},
        [("a", "out"), ("b", "out")],
        type_check=False,
    )
    network = assemble(graph, signal=Signal.EVENTS)
    ones = np.ones((2, 1, 3))
    assert (simulate(network, {"a": ones, "b": ones}).output == 2).all()
    with pytest.raises(GraphError, match="2 inputs"):
        simulate(network, ones)
    with pytest.raises(DataError, match="wanted"):
        simulate(network, {"a": ones})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 2, 5)), "shape"),
        (np.zeros((3, 6)), "shape"),
        (np.zeros((0, 2, 6)), "shape"),
        (np.full((3, 2, 6), np.nan), "NaN"),
    ],
)
def test_values_that_do_not_fit_are_refused(values, message):
    with pytest.raises(DataError, match=message):
        simulate(assemble(recurrent()[0]), values)


@pytest.mark.parametrize("spiking", [False, True])
def test_what_grows_beyond_every_number_is_refused(spiking):
    """NaN passes no threshold: what follows would be silent, and count as that."""
    size = np.ones(2)
    neuron = (
        nir.IF(r=size / DT, v_threshold=np.full(2, 3e38))
        if spiking
        else nir.LI(tau=2 * DT * size, r=2 * size, v_leak=0 * size)
    )
    nodes = {
        "in": nir.Input(np.array([2])),
        "neuron": neuron,
        "back": nir.Linear(np.array([[2.0, -3.0], [3.0, 2.0]])),
        "cut": nir.Threshold(size),
        "out": nir.Output(np.array([2])),
    }
    edges = [("in", "neuron"), ("neuron", "cut"), ("cut", "out")]
    loop = [] if spiking else [("neuron", "back"), ("back", "neuron")]
    if spiking:
        del nodes["back"]
    graph = nir.NIRGraph(nodes, edges + loop, metadata={"dt": DT, "reset": "subtract"}, type_check=False)
    values = np.full((200, 1, 2), -3e38 if spiking else 1.0)
    with pytest.raises(GraphError, match="node 'neuron': gives NaN or infinity"):
        simulate(assemble(graph), values)


def test_a_time_constant_below_the_time_step_is_refused():
    node = nir.LIF(tau=np.full(2, 0.001), r=np.ones(2), v_leak=np.zeros(2), v_threshold=np.ones(2))
    network = assemble(one_node(node, (2,), (2,), reset="zero"))
    with pytest.raises(GraphError, match="shorter than the time step") as caught:
        simulate(network, np.zeros((1, 1, 2)))
    assert "node 'node'" in str(caught.value)


def test_a_delay_that_is_no_whole_number_of_steps_is_refused():
    network = assemble(one_node(nir.Delay(np.array([DT, 1.5 * DT])), (2,), (2,)))
    with pytest.raises(GraphError, match="no whole number of steps"):
        simulate(network, np.zeros((1, 1, 2)))


def test_a_reset_potential_and_subtraction_exclude_each_other():
    node = nir.IF(r=np.ones(2), v_threshold=np.ones(2), v_reset=np.full(2, 0.5))
    with pytest.raises(GraphError, match="exclude"):
        simulate(assemble(one_node(node, (2,), (2,), reset="subtract")), np.zeros((1, 1, 2)))


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((25, 300, 63), None),
        ((3, 25, 300), r"turn them to \[steps, samples, 3\]"),
        ((25, 3, 300), "another order"),
        ((25, 3), r"one sample is \[steps, 1, 3\]"),
    ],
)
def test_a_shape_that_does_not_fit_is_told_whole_with_the_axes_that_seem_turned(
    shape: tuple[int, ...], said: str | None
) -> None:
    builder = GraphBuilder(1e-3)
    builder.input(3, Signal.EVENTS)
    builder.threshold("cells", 0.5, 3)
    builder.output(3)
    network = assemble(builder.build())
    with pytest.raises(DataError, match=re.escape(str(shape))) as caught:
        simulate(network, np.zeros(shape, np.uint8))
    assert caught.value.hint is None if said is None else re.search(said, caught.value.hint or "")
