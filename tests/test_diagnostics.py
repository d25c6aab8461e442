"""What any file may show, whoever wrote it. What the frameworks write is in tests/conformance."""

import nir
import numpy as np
import pytest

from nsc_deploy.diagnostics import Diagnostic, announce, collected, listening
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate

DT = 1e-3


def lif(size, tau=0.02, **fields):
    ones = np.ones(size)
    return nir.LIF(**{"tau": tau * ones, "r": ones, "v_leak": 0 * ones, "v_threshold": ones, **fields})


def ends(size=3, out=None):
    return {"in": nir.Input(np.array([size])), "out": nir.Output(np.array([size if out is None else out]))}


def read(nodes, edges, *, dt=DT, reset=Reset.ZERO):
    return assemble(nir.NIRGraph(nodes, edges, type_check=False), dt=dt, reset=reset)


def names(network):
    return [diagnostic.name for diagnostic in network.diagnostics]


def test_a_caution_is_told_once_to_everybody_who_listens():
    one = Diagnostic("name", "fault", "evidence", "way out", "file")
    assert one.message == "file: fault\nEvidence: evidence\nway out"
    with collected() as outer:
        with listening(lambda diagnostic: None), collected() as inner:
            announce(one)
            announce(one)
            announce(Diagnostic("name", "fault", "evidence", "way out", "file"))
        assert inner == [one]
        announce(Diagnostic("other", "fault", "evidence", "way out"))
    assert [diagnostic.name for diagnostic in outer] == ["name", "other"]
    announce(one)
    assert len(outer) == 2


def test_an_edge_that_only_the_order_in_the_file_makes_late_is_told():
    nodes = {**ends(), "a": lif(3), "b": lif(3), "w": nir.Linear(np.eye(3)), "v": nir.Linear(np.eye(3))}
    one = [("in", "a"), ("a", "w"), ("w", "b"), ("b", "v"), ("v", "a"), ("b", "out")]
    assert names(read(nodes, one)) == []
    two = [*one, ("in", "b")]
    network = read(nodes, two)
    assert names(network) == ["late-edge"]
    assert "'v' to 'a'" in network.diagnostics[0].evidence
    assert read(nodes, two[::-1]).back_edges != network.back_edges
    delay = {**nodes, "delay": nir.Delay(np.full(3, DT))}
    decided = [edge for edge in two if edge != ("v", "a")] + [("v", "delay"), ("delay", "a")]
    assert names(read(delay, decided)) == []


def test_a_graph_written_here_is_not_doubted(tmp_path):
    builder = GraphBuilder(1e-4)
    builder.input(3, Signal.EVENTS)
    builder.linear("w", np.eye(3))
    builder.lif("lif", 0.9, 1.0, 3)
    builder.linear("rec", np.eye(3))
    builder.connect("rec", "lif")
    builder.output(3, after="lif")
    write_network(tmp_path / "own.nir", builder.build())
    with collected() as told:
        assert read_network(tmp_path / "own.nir").diagnostics == ()
    assert told == []


def test_a_foreign_graph_written_anew_is_in_order(tmp_path):
    nodes = {**ends(), "w": nir.Affine(np.eye(3), np.zeros(3)), "lif": lif(())}
    network = read(nodes, [("in", "w"), ("w", "lif"), ("lif", "out")])
    assert names(network) == ["one-number-for-a-layer"]
    write_network(tmp_path / "own.nir", network)
    again = read_network(tmp_path / "own.nir")
    assert again.diagnostics == ()
    assert nir.read(tmp_path / "own.nir").nodes["lif"].tau.shape == (3,)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("LIF", {"tau": 0.02, "r": 5.0, "v_leak": 0.1, "v_threshold": 0.4}),
        ("IF", {"r": 300.0, "v_threshold": 0.4}),
        (
            "CubaLIF",
            {"tau_syn": 0.01, "tau_mem": 0.02, "r": 9.0, "v_leak": 0.0, "v_threshold": 0.4, "w_in": 5.0},
        ),
        ("LI", {"tau": 0.02, "r": 5.0, "v_leak": 0.1}),
        ("CubaLI", {"tau_syn": 0.01, "tau_mem": 0.02, "r": 9.0, "v_leak": 0.0, "w_in": 5.0}),
        ("I", {"r": 300.0}),
        ("Threshold", {"threshold": 0.5}),
        ("Scale", {"scale": 1.5}),
        ("Delay", {"delay": 2 * DT}),
    ],
)
def test_one_number_stands_for_a_layer_of_any_shape(kind, fields, shape):
    make = getattr(nir, kind)
    edges = [("in", "it"), ("it", "out")]
    frame = {"in": nir.Input(np.array([2, 3])), "out": nir.Output(np.array([2, 3]))}
    values = np.random.default_rng(0).random((20, 4, 2, 3)).astype(np.float32)
    runs = []
    for size in (shape, (2, 3)):
        node = make(**{name: np.full(size, value) for name, value in fields.items()})
        network = read({**frame, "it": node}, edges)
        runs.append(simulate(network, values).output)
        assert network.node("it").output_shape == (2, 3)
    np.testing.assert_array_equal(*runs)
    assert np.unique(runs[0]).size > 1


def test_a_batch_is_taken_off_where_the_nodes_behind_tell_so():
    convolution = nir.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2))
    nodes = {
        "in": nir.Input(np.array([8, 1, 5, 5])),
        "c": convolution,
        "out": nir.Output(np.array([8, 2, 3, 3])),
    }
    network = read(nodes, [("in", "c"), ("c", "out")])
    assert names(network) == ["batch-in-the-shape"]
    assert (network.input_node.output_shape, network.output_node.output_shape) == ((1, 5, 5), (2, 3, 3))
    with pytest.raises(GraphError, match="takes in the shape"):
        read({**nodes, "out": nir.Output(np.array([4, 2, 3, 3]))}, [("in", "c"), ("c", "out")])
    unclear = {**ends(), "in": nir.Input(np.array([8, 3])), "t": nir.Threshold(np.array(0.5))}
    with pytest.raises(GraphError, match="takes in the shape"):
        read(unclear, [("in", "t"), ("t", "out")])


def test_an_input_that_nir_added_is_told_and_refused_where_edges_were_cut():
    nodes = {
        **ends(),
        "input_w": nir.Input(np.array([3])),
        "w": nir.Linear(np.eye(3)),
        "v": nir.Linear(np.eye(3)),
    }
    told = read(nodes, [("in", "v"), ("input_w", "w"), ("v", "w"), ("w", "out")])
    assert names(told) == []
    alone = [("in", "v"), ("input_w", "w"), ("w", "out")]
    assert names(read(nodes, alone)) == ["dead-ends", "added-input"]
    with pytest.raises(GraphError, match="connections are missing"):
        read(nodes, [*alone, ("v", "out")])
    numbered = {name.replace("w", "w_1"): node for name, node in nodes.items()}
    told = read(numbered, [("in", "v"), ("input_w_1", "w_1"), ("w_1", "out")])
    assert names(told) == ["dead-ends", "added-input"]
    every = {name.replace("in", "input_v") if name == "in" else name: node for name, node in nodes.items()}
    assert names(read(every, [("input_v", "v"), ("input_w", "w"), ("v", "out"), ("w", "out")])) == []


def test_an_input_that_nothing_reads_leads_nowhere():
    nodes = {**ends(), "v": nir.Linear(np.eye(3)), "unread": nir.Input(np.array([400]))}
    told = read(nodes, [("in", "v"), ("v", "out")])
    assert names(told) == ["dead-ends"]
    assert "'unread'" in told.diagnostics[0].evidence


def test_strange_types_and_a_thousand_inputs_are_looked_through_at_once():
    truth = np.ones(3, bool)
    nodes = {"x": nir.Input(np.array([3])), "lif": nir.LIF(0.1 * truth, truth, ~truth, truth, ~truth)}
    nodes["output"] = nir.Output(np.array([3]))
    assert read(nodes, [("x", "lif"), ("lif", "output")]).node("lif").spiking
    many = {f"input_{index}": nir.Input(np.array([3])) for index in range(3000)}
    network = read({**many, "out": nir.Output(np.array([3]))}, [(name, "out") for name in many])
    assert len(network.input_nodes) == 3000


def test_a_reset_is_asked_for_only_where_it_is_open():
    edges = [("in", "lif"), ("lif", "out")]
    with pytest.raises(GraphError, match="Name it: reset zero"):
        read({**ends(), "lif": lif(3)}, edges, reset=None)
    raised = read({**ends(), "lif": lif(3, v_reset=np.full(3, -0.5))}, edges, reset=None)
    assert raised.reset is Reset.ZERO
    quiet = {**ends(), "lif": nir.LI(np.ones(3), np.ones(3), np.zeros(3))}
    assert read(quiet, edges, reset=None).reset is None
    stateless = {**ends(), "lif": nir.Threshold(np.ones(3))}
    assert read(stateless, edges, dt=None, reset=None).dt is None


def test_a_failed_write_and_an_infinite_time_constant_have_a_way_out(tmp_path):
    path = tmp_path / "half.nir"
    convolution = nir.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2))
    nodes = {**ends(), "c": convolution}
    nodes["in"].input_type = {"input": None}
    with pytest.raises(TypeError):
        nir.write(path, nir.NIRGraph(nodes, [("in", "c"), ("c", "out")], type_check=False))
    with pytest.raises(GraphError, match=r"A nir\.write that ended in an error"):
        read_network(path)
    with pytest.raises(GraphError, match="neuron without a leak is an IF"):
        read({**ends(), "lif": lif(3, tau=np.inf)}, [("in", "lif"), ("lif", "out")])
    with pytest.raises(GraphError, match="is None: the exporter found no NIR node"):
        read({**ends(), "lif": None}, [("in", "lif"), ("lif", "out")])


def test_a_diagnostic_in_python_speaks_of_arguments() -> None:
    one = Diagnostic("n", "is wrong", "it says so", "Give --step-seconds 0.1.", "it.nir")
    assert "Give --step-seconds 0.1." in one.message
    assert str(one) == "it.nir: is wrong\nEvidence: it says so\nGive step_seconds=0.1."
