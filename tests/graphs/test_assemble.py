import json
from itertools import pairwise

import nir
import numpy as np
import pytest
from hypothesis import given, settings

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import to_nir
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate
from tests.support.graph_strategies import cases


def lif(size):
    ones = np.ones(size)
    return nir.LIF(tau=ones, r=ones, v_leak=0 * ones, v_threshold=ones)


def graph(nodes, edges, **metadata):
    return nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False)


def ends(size=2):
    return {"in": nir.Input(np.array([size])), "out": nir.Output(np.array([size]))}


def chain(*, dt=None, reset=None, **nodes):
    """A foreign graph: input, the nodes, output, and the metadata that is not None."""
    names = ["in", *nodes, "out"]
    metadata = {key: value for key, value in (("dt", dt), ("reset", reset)) if value is not None}
    return graph({**ends(), **nodes}, list(pairwise(names)), **metadata)


def test_what_nodes_emit_is_read_from_the_graph():
    builder = GraphBuilder(0.1)
    builder.input(4, Signal.EVENTS)
    builder.delay("delay", 1, 4)
    builder.linear("weights", np.eye(4), after=["input", "delay"])
    builder.lif("lif", 0.5, 1.0, 4)
    builder.delay("meeting", 1, 4, after=["lif", "delay"])
    builder.add("scale", nir.Scale(np.ones(4)))
    builder.output(4, after=["lif", "scale"])
    network = assemble(builder.build())
    emits = {node.name: node.emits for node in network.nodes}
    assert emits == {
        "input": Signal.EVENTS,
        "delay": Signal.EVENTS,
        "weights": Signal.REAL,
        "lif": Signal.EVENTS,
        "meeting": Signal.GRADED,
        "scale": Signal.REAL,
        "output": Signal.REAL,
    }
    assert network.arrives("weights") is Signal.GRADED
    assert network.arrives("input") is Signal.EVENTS


def test_events_that_meet_in_a_cycle_are_graded():
    nodes = {**ends(), "a": nir.Delay(np.ones(2)), "b": nir.Delay(np.ones(2))}
    edges = [("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")]
    network = assemble(graph(nodes, edges, dt=1.0), signal=Signal.EVENTS)
    assert {node.name: node.emits for node in network.nodes}["b"] is Signal.GRADED
    ones = np.ones((9, 1, 2))
    assert simulate(network, ones).output.max() > 1


def test_nodes_come_after_their_inputs_and_know_their_neighbours():
    nodes = {**ends(), "z": nir.Linear(np.eye(2)), "a": nir.Linear(np.eye(2)), "m": nir.Threshold(np.ones(2))}
    edges = [("z", "m"), ("a", "m"), ("in", "z"), ("in", "a"), ("m", "out")]
    network = assemble(graph(nodes, edges))
    names = [node.name for node in network.nodes]
    assert names[0] == "in"
    assert names[-2:] == ["m", "out"]
    assert network.node("m").inputs == ("z", "a")
    assert {node.name for node in network.successors("in")} == {"z", "a"}
    assert network.dt is None
    assert network.reset is None
    assert not network.recurrent


def test_nested_graphs_are_dissolved():
    inner = graph(
        {
            "start": nir.Input(np.array([2])),
            "lif": lif(2),
            "rec": nir.Linear(np.eye(2)),
            "end": nir.Output(np.array([2])),
        },
        [("start", "lif"), ("lif", "rec"), ("rec", "lif"), ("lif", "end")],
    )
    outer = graph(
        {"start": nir.Input(np.array([2])), "cell": inner, "end": nir.Output(np.array([2]))},
        [("start", "cell"), ("cell", "end")],
    )
    nodes = {**ends(), "w": nir.Linear(np.eye(2)), "sub": outer}
    network = assemble(graph(nodes, [("in", "w"), ("w", "sub"), ("sub", "out")], dt=0.5, reset="zero"))
    assert [node.name for node in network.nodes] == ["in", "w", "sub.cell.lif", "sub.cell.rec", "out"] or [
        node.name for node in network.nodes
    ] == ["in", "w", "sub.cell.lif", "out", "sub.cell.rec"]
    assert network.back_edges == {("sub.cell.rec", "sub.cell.lif")}
    assert network.node("out").inputs == ("sub.cell.lif",)


def test_step_and_reset_of_a_nested_graph_are_those_of_the_whole():
    def whole(stated, **around):
        parts = {"i": nir.Input(np.array([2])), "l": lif(2), "o": nir.Output(np.array([2]))}
        inner = graph(parts, [("i", "l"), ("l", "o")], **stated)
        return graph({**ends(), "sub": inner}, [("in", "sub"), ("sub", "out")], **around)

    network = assemble(whole({"dt": np.float32(0.1), "reset": "subtract"}, dt=0.1))
    assert (network.dt, network.reset) == (0.1, Reset.SUBTRACT)
    for stated in ({"dt": np.float32(0.1)}, {"dt": 0.1}):
        assert assemble(whole({**stated, "reset": "zero"}), dt=0.1, reset=Reset.ZERO).dt == stated["dt"]
    for stated in ({"dt": 0.2}, {"reset": "subtract"}):
        with pytest.raises(GraphError, match=f"node 'sub': is a graph of {next(iter(stated))}"):
            assemble(whole(stated, dt=0.1, reset="zero"))
    with pytest.raises(GraphError, match="'zero' was asked for"):
        assemble(whole({"dt": 0.1, "reset": "subtract"}), reset=Reset.ZERO)


@pytest.mark.parametrize(
    ("inner", "outer", "problem"),
    [
        ([("w", "o")], [("in", "sub"), ("sub", "out"), ("in", "out")], "nothing inside reads it"),
        ([("i", "w")], [("in", "sub"), ("sub", "out"), ("in", "out")], "nothing enters it"),
        ([("i", "w"), ("w", "o"), ("w", "w")], [("sub", "out"), ("in", "out")], "nothing enters it"),
    ],
)
def test_an_edge_that_ends_inside_a_nested_graph_is_not_lost_in_silence(inner, outer, problem):
    parts = {"i": nir.Input(np.array([2])), "w": lif(2), "o": nir.Output(np.array([2]))}
    whole = graph({**ends(), "sub": nir.NIRGraph(parts, inner, type_check=False)}, outer)
    with pytest.raises(GraphError, match=problem) as caught:
        assemble(whole, dt=0.1, reset=Reset.ZERO)
    assert "node 'sub." in str(caught.value)


def test_a_nested_wire_joins_what_enters_it_with_what_leaves_it():
    wire = graph({"a": nir.Input(np.array([2])), "b": nir.Output(np.array([2]))}, [("a", "b")])
    nodes = {**ends(), "x": nir.Scale(np.array([2.0, 2.0])), "wire": wire}
    network = assemble(graph(nodes, [("in", "x"), ("x", "wire"), ("in", "wire"), ("wire", "out")]))
    assert simulate(network, np.ones((1, 1, 2))).output.ravel().tolist() == [3, 3]


def test_parameters_are_copies_nobody_can_change():
    weight = np.eye(2)
    network = assemble(chain(w=nir.Linear(weight)))
    weight[0, 0] = 7
    held = network.node("w").parameters.weight
    assert held[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        held[0, 0] = 3


def test_a_step_that_changes_nothing_is_not_asked_for():
    assert assemble(chain(t=nir.Threshold(np.ones(2)))).dt is None
    assert assemble(chain(t=nir.LI(np.ones(2), np.ones(2), np.zeros(2))), dt=0.1).reset is None


def refusals():
    eye, ones = nir.Linear(np.eye(2)), np.ones(2)
    loop = graph(
        {**ends(), "a": eye, "b": nir.Scale(ones)}, [("in", "a"), ("a", "b"), ("b", "a"), ("b", "out")]
    )
    nan = nir.Linear(np.array([[1.0, np.nan], [0, 1]]))
    two_outputs = graph(
        {"i": nir.Input(np.array([2])), "o": nir.Output(np.array([2])), "p": nir.Output(np.array([2]))},
        [("i", "o"), ("i", "p")],
    )
    deep = chain(w=eye)
    for _ in range(20):
        deep = graph(
            {"i": nir.Input(np.array([2])), "g": deep, "o": nir.Output(np.array([2]))},
            [("i", "g"), ("g", "o")],
        )
    return {
        "no step": (chain(n=lif(2), reset="zero"), {}, "dt=0"),
        "no reset": (chain(n=lif(2), dt=1.0), {}, "Name it: reset zero"),
        "another step": (chain(n=lif(2), dt=1.0, reset="zero"), {"dt": 0.5}, "Leave dt out"),
        "another reset": (
            chain(n=lif(2), dt=1.0, reset="zero"),
            {"reset": Reset.SUBTRACT},
            "Leave reset out",
        ),
        "odd reset": (chain(n=lif(2), dt=1.0, reset="soft"), {}, "neither zero nor subtract"),
        "odd step": (chain(n=lif(2), dt=-1.0, reset="zero"), {}, "positive"),
        "step as text": (chain(n=lif(2), dt="fast", reset="zero"), {}, "a number is wanted"),
        "late reset": (
            graph(
                {**ends(), "n": lif(2)}, [("in", "n"), ("n", "out")], dt=1.0, reset="zero", reset_delay=True
            ),
            {},
            "reset_delay",
        ),
        "loop": (loop, {}, "neither a neuron nor a delay"),
        "nan": (chain(w=nan), {}, "node 'w'.*NaN"),
        "no input": (graph({**ends(), "w": eye}, [("in", "out"), ("w", "out")]), {}, "node 'w'.*no input"),
        "no output node": (graph({"in": nir.Input(np.array([2]))}, []), {}, "no Output"),
        "no input node": (graph({"out": nir.Output(np.array([2]))}, []), {}, "no Input"),
        "edge into input": (graph(ends(), [("in", "out"), ("out", "in")]), {}, "cannot take in"),
        "edge to nowhere": (graph(ends(), [("in", "out"), ("in", "gone")]), {}, "'gone', which is not there"),
        "edge twice": (graph(ends(), [("in", "out"), ("in", "out")]), {}, "there twice"),
        "shapes": (chain(w=nir.Linear(np.ones((3, 2)))), {}, r"node 'out'.*\(2,\).*\(3,\)|node 'out'"),
        "bias": (chain(w=nir.Affine(np.eye(2), np.ones(3))), {}, "node 'w'.*bias"),
        "negative tau": (chain(n=nir.LI(-ones, ones, ones), dt=1.0), {}, "node 'n'.*not positive"),
        "negative delay": (chain(n=nir.Delay(-ones), dt=1.0), {}, "node 'n'.*negative delay"),
        "text as weights": (chain(w=nir.Linear(np.full((2, 2), "x"))), {}, "numbers are wanted"),
        "several ends": (
            graph({**ends(), "g": two_outputs}, [("in", "g"), ("g", "out")]),
            {},
            "node 'g'.*2 Output",
        ),
        "too deep": (deep, {}, "nested more than"),
        "odd signal": (
            graph(
                {"in": nir.Input(np.array([2]), metadata={"signal": "?"}), "out": nir.Output(np.array([2]))},
                [("in", "out")],
            ),
            {},
            "node 'in'.*signal",
        ),
    }


@pytest.mark.parametrize("case", refusals())
def test_what_cannot_be_represented_is_refused_with_a_way_out(case):
    wrong, options, message = refusals()[case]
    with pytest.raises(GraphError, match=f"(?s){message}") as caught:
        assemble(wrong, where="some.nir", **options)
    assert str(caught.value).startswith("some.nir")


def test_a_graph_written_anew_keeps_the_edge_that_carries_the_step_before():
    """The edges of a new file have another order, and by that order another edge would be the late one."""
    ones = np.ones(1)
    nodes = {name: nir.IF(r=ones / 0.01, v_threshold=ones / 2) for name in ("a", "b", "c")}
    edges = [("in", "b"), ("in", "a"), ("a", "c"), ("b", "c"), ("c", "b"), ("c", "out")]
    ends = {"in": nir.Input(np.array([1])), "out": nir.Output(np.array([1]))}
    metadata = {"dt": 0.01, "reset": "zero"}
    network = assemble(nir.NIRGraph({**nodes, **ends}, edges, metadata=metadata, type_check=False))
    assert network.back_edges == {("c", "b")}
    again = assemble(to_nir(network))
    assert again.back_edges == {("c", "b")}
    assert json.loads(again.metadata["late_edges"]) == [["c", "b"]]


@settings(max_examples=40, deadline=None)
@given(cases())
def test_random_graphs_written_anew_compute_the_same(case):
    again = assemble(to_nir(case.network))
    assert again.back_edges == case.network.back_edges
    one, two = (simulate(network, case.values).output for network in (case.network, again))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ('[["in", "a"]]', "the edge from 'in' to 'a', which is in no cycle"),
        ('[["nobody", "a"]]', "the edge from 'nobody' to 'a'"),
        ("[1]", "no list of pairs"),
        ("{", "no list of pairs"),
    ],
)
def test_late_edges_that_an_edit_left_behind_are_refused(stated, problem):
    ones = np.ones(1)
    neuron = nir.IF(r=ones / 0.01, v_threshold=ones)
    nodes = {"in": nir.Input(np.array([1])), "a": neuron, "out": nir.Output(np.array([1]))}
    edges = [("in", "a"), ("a", "a"), ("a", "out")]
    metadata = {"dt": 0.01, "reset": "zero", "late_edges": stated}
    with pytest.raises(GraphError, match="late_edges") as refused:
        assemble(nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False))
    assert problem in refused.value.problem


def convolutional(enters, *, start, flattened, ends):
    """Conv2d, LIF, Flatten, with the shapes as an exporter states them."""
    kernel = np.random.default_rng(0).normal(size=(3, 2, 3, 3))
    nodes = {
        "in": nir.Input(np.array(enters)),
        "conv": nir.Conv2d((8, 8), kernel, 1, 1, 1, 1, np.zeros(3)),
        "lif": lif((3, 8, 8)),
        "flat": nir.Flatten({"input": np.array(flattened)}, start, -1),
        "out": nir.Output(np.array(ends)),
    }
    return assemble(graph(nodes, list(pairwise(nodes))), dt=0.5, reset=Reset.ZERO)


@pytest.mark.parametrize(
    ("enters", "start", "flattened", "ends"),
    [
        ((1, 2, 8, 8), 1, (1, 3, 8, 8), (1, 192)),
        ((4, 2, 8, 8), 1, (4, 3, 8, 8), (4, 192)),
        ((1, 2, 8, 8), 0, (1, 3, 8, 8), (1, 192)),
        ((2, 8, 8), 1, (1, 3, 8, 8), (192,)),
        ((2, 8, 8), 0, (3, 8, 8), (1, 1, 192)),
    ],
)
def test_a_batch_in_any_shape_is_left_out_and_told(enters, start, flattened, ends):
    network = convolutional(enters, start=start, flattened=flattened, ends=ends)
    assert [one.name for one in network.diagnostics] == ["batch-in-the-shape"]
    plain = convolutional((2, 8, 8), start=0, flattened=(3, 8, 8), ends=(192,))
    assert plain.diagnostics == ()
    shapes = [(node.input_shape, node.output_shape) for node in network.nodes]
    assert shapes == [(node.input_shape, node.output_shape) for node in plain.nodes]
    values = np.random.default_rng(1).integers(0, 2, (9, 3, 2, 8, 8))
    outputs = [simulate(one, values).output for one in (network, plain)]
    np.testing.assert_array_equal(*outputs)
    assert outputs[0].any()


@pytest.mark.parametrize(
    ("flattened", "ends"), [((2, 3, 4, 4), (192,)), ((3, 8, 8), (2, 2, 192)), ((3, 8, 8), (192, 1))]
)
def test_a_shape_that_differs_otherwise_is_refused(flattened, ends):
    with pytest.raises(GraphError, match="takes in the shape"):
        convolutional((2, 8, 8), start=0, flattened=flattened, ends=ends)


def test_parameters_with_ones_in_front_are_those_of_the_layer():
    network = assemble(chain(dt=0.5, reset="zero", dense=nir.Linear(np.eye(2)), lif=lif((1, 2))))
    assert network.node("lif").parameters.tau.shape == (2,)
    assert [one.name for one in network.diagnostics] == ["batch-in-the-shape"]


def test_step_and_reset_that_are_both_missing_are_asked_for_at_once():
    with pytest.raises(GraphError, match=r"time step, and does not state how its neurons reset") as caught:
        assemble(chain(lif=lif(2)))
    assert "--dt 0.001" in caught.value.hint and "--reset zero" in caught.value.hint


def test_a_step_of_a_known_writer_is_not_contradicted_by_an_example():
    gain = np.full(2, 1e4, dtype=np.float32)
    zeros = np.zeros(2, dtype=np.float32)
    snntorch = nir.LIF(tau=gain * np.float32(1e-4), r=gain, v_leak=zeros, v_threshold=zeros + 1)
    for missing in ({}, {"reset": "zero"}):
        with pytest.raises(GraphError, match="does not state its time step") as caught:
            assemble(chain(lif=snntorch, **missing))
        assert "--dt 1e-4" in caught.value.hint
        assert "0.001" not in caught.value.hint


def test_a_time_constant_of_one_step_is_not_shorter_for_being_single_precision():
    tau = np.full(2, 0.01, dtype=np.float32)
    assert float(tau[0]) < 0.01
    ones = np.ones(2, dtype=np.float32)
    neuron = nir.LIF(tau=tau, r=ones, v_leak=0 * ones, v_threshold=ones / 2)
    network = assemble(chain(lif=neuron), dt=0.01, reset=Reset.ZERO)
    assert network.diagnostics == ()
    assert simulate(network, np.ones((3, 1, 2))).output.all()


@pytest.mark.parametrize(("dt", "r", "told"), [(1e-3, 1.0, True), (1.0, 1.0, False), (1e-3, 1e3, False)])
def test_integrators_that_a_step_makes_deaf_are_told_of(dt, r, told):
    ones = np.ones(2)
    network = assemble(chain(neuron=nir.IF(r=r * ones, v_threshold=ones)), dt=dt, reset=Reset.ZERO)
    assert ("integrator-gain" in {one.name for one in network.diagnostics}) is told


def test_nodes_that_no_output_depends_on_are_told():
    graph = chain(dt=0.5, reset="zero", dense=nir.Linear(np.eye(2)), lif=lif((2,)))
    assert assemble(graph).diagnostics == ()
    graph.nodes |= {"away": nir.Linear(np.eye(2)), "end": lif((2,))}
    graph.edges += [("lif", "away"), ("away", "end")]
    [told] = assemble(graph).diagnostics
    assert told.name == "dead-ends"
    assert "'away', 'end'" in told.evidence
