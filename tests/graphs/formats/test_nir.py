from itertools import pairwise

import h5py
import nir
import numpy as np
import pytest

from nsc_deploy.errors import GraphError, UserError
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.graphs.simulate import simulate


@pytest.fixture
def receiver():
    rng = np.random.default_rng(0)

    def weights(rows, columns):
        return (rng.integers(-64, 65, (rows, columns)) / 64).astype(np.float32)

    builder = GraphBuilder(0.03)
    builder.input(12, Signal.EVENTS)
    builder.delay("later", 2, 12)
    builder.affine("first", weights(9, 12), weights(1, 9)[0], after=["input", "later"])
    builder.lif("hidden", rng.random(9) * 0.95, 0.5, 9)
    builder.linear("second", weights(8, 9))
    builder.lif("votes", 0.9, 0.3, 8)
    builder.output(8, classes=4, group=2)
    return builder.build()


def every_node():
    """A graph with every primitive of NIR that has arrays or settings of its own."""
    rng = np.random.default_rng(1)
    ones = np.ones((3, 6, 6))
    nodes = {
        "in": nir.Input(np.array([2, 8, 8])),
        "conv": nir.Conv2d((8, 8), rng.normal(size=(3, 2, 3, 3)), 1, "valid", 1, 1, rng.normal(size=3)),
        "cuba": nir.CubaLIF(tau_syn=ones, tau_mem=2 * ones, r=ones, v_leak=0 * ones, v_threshold=ones / 99),
        "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "sum": nir.SumPool2d(np.array([1, 1]), np.array([1, 1]), np.array([0, 0])),
        "flat2": nir.Flatten({"input": np.array([3, 3, 3])}, 1, 2),
        "conv1": nir.Conv1d(9, rng.normal(size=(3, 3, 3)), 1, "same", 1, 1, rng.normal(size=3)),
        "flat": nir.Flatten({"input": np.array([3, 9])}, 0, -1),
        "scale": nir.Scale(np.ones(27)),
        "li": nir.LI(np.ones(27), np.ones(27), np.zeros(27)),
        "cubali": nir.CubaLI(np.ones(27), np.ones(27), np.ones(27), np.zeros(27)),
        "i": nir.I(np.ones(27)),
        "if": nir.IF(np.ones(27), np.full(27, 0.05)),
        "delay": nir.Delay(np.full(27, 0.5)),
        "threshold": nir.Threshold(np.zeros(27)),
        "lif": nir.LIF(np.ones(27), np.ones(27), np.zeros(27), np.full(27, 0.1)),
        "linear": nir.Linear(rng.normal(size=(5, 27))),
        "affine": nir.Affine(rng.normal(size=(5, 5)), rng.normal(size=5)),
        "out": nir.Output(np.array([5])),
    }
    names = list(nodes)
    return nir.NIRGraph(nodes, list(pairwise(names)), type_check=False)


def test_a_graph_comes_back_as_it_was_written(tmp_path, receiver):
    path = tmp_path / "receiver.nir"
    write_network(path, receiver)
    network = read_network(path)
    assert (network.dt, network.reset) == (0.03, Reset.ZERO)
    assert network.metadata["units"] == "s"
    assert network.metadata["generator"].startswith("nsc-deploy ")
    assert network.input_node.emits is Signal.EVENTS
    assert dict(network.output_node.parameters.metadata) == {"classes": 4, "group": 2}
    for name, node in receiver.nodes.items():
        for field in ("weight", "bias", "tau", "r", "v_threshold", "delay"):
            if hasattr(node, field):
                held = getattr(network.node(name).parameters, field)
                np.testing.assert_array_equal(held, getattr(node, field))
                assert held.dtype == getattr(node, field).dtype


def test_a_network_written_again_computes_the_same(tmp_path, receiver):
    first, second = tmp_path / "a.nir", tmp_path / "b.nir"
    write_network(first, receiver)
    network = read_network(first)
    write_network(second, network)
    again = read_network(second)
    values = np.random.default_rng(2).integers(0, 2, (20, 5, 12), dtype=np.uint8)
    np.testing.assert_array_equal(simulate(network, values).output, simulate(again, values).output)
    assert again.input_node.emits is Signal.EVENTS
    assert again.metadata == network.metadata


def test_nir_s_own_reader_reads_the_file(tmp_path, receiver):
    path = tmp_path / "receiver.nir"
    write_network(path, receiver)
    theirs = nir.read(path)
    assert set(theirs.nodes) == set(receiver.nodes)
    assert [tuple(edge) for edge in theirs.edges] == receiver.edges
    assert theirs.metadata["dt"] == 0.03
    np.testing.assert_array_equal(theirs.nodes["hidden"].tau, receiver.nodes["hidden"].tau)


def test_a_file_of_nir_s_own_writer_is_read_with_every_primitive(tmp_path):
    path, own = tmp_path / "foreign.nir", tmp_path / "own.nir"
    nir.write(path, every_node())
    with pytest.raises(GraphError, match=r"dt=0\.001"):
        read_network(path)
    network = read_network(path, dt=0.25, reset=Reset.ZERO, signal=Signal.EVENTS)
    assert {node.primitive for node in network.nodes} == {
        type(n).__name__ for n in every_node().nodes.values()
    }
    values = np.random.default_rng(3).integers(0, 2, (12, 2, 2, 8, 8))
    output = simulate(network, values).output
    assert output.shape == (12, 2, 5)
    assert np.unique(output).size > 5
    write_network(own, network)
    assert nir.read(own).nodes.keys() == every_node().nodes.keys()
    np.testing.assert_array_equal(simulate(read_network(own), values).output, output)


def test_a_convolution_that_does_not_state_what_enters_takes_the_shape_of_the_input(tmp_path):
    path = tmp_path / "open.nir"
    nodes = {
        "in": nir.Input(np.array([1, 6, 6])),
        "conv": nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, 1, 1, 1, np.zeros(2)),
        "out": nir.Output(np.array([2, 6, 6])),
    }
    nir.write(path, nir.NIRGraph(nodes, [("in", "conv"), ("conv", "out")]))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/conv/input_shape"]
    assert read_network(path).node("conv").output_shape == (2, 6, 6)


def test_shapes_that_a_graph_leaves_open_are_written_out(tmp_path):
    nodes = {
        "in": nir.Input(np.array([2, 6, 6])),
        "conv": nir.Conv2d(None, np.ones((3, 2, 3, 2)), 1, "same", 1, 1, np.zeros(3)),
        "flat": nir.Flatten(None, 0, -1),
        "out": nir.Output(None),
    }
    graph = nir.NIRGraph(nodes, list(pairwise(nodes)), type_check=False)
    write_network(tmp_path / "open.nir", graph)
    network = read_network(tmp_path / "open.nir")
    assert network.node("conv").parameters.input_shape.tolist() == [6, 6]
    assert network.output_node.output_shape == (108,)
    assert tuple(nir.read(tmp_path / "open.nir").nodes["out"].input_type["input"]) == (108,)


@pytest.mark.parametrize("signal", [None, Signal.EVENTS])
def test_no_file_says_what_enters_where_nobody_did(tmp_path, receiver, signal):
    graph = receiver
    graph.nodes["input"].metadata.clear()
    nir.write(tmp_path / "open.nir", graph)
    write_network(tmp_path / "again.nir", read_network(tmp_path / "open.nir", signal=signal))
    metadata = read_network(tmp_path / "again.nir").input_node.parameters.metadata
    assert metadata.get("signal") == (None if signal is None else "events")


def test_nested_graphs_are_read_from_files(tmp_path):
    inner = nir.NIRGraph(
        {"i": nir.Input(np.array([2])), "s": nir.Scale(np.array([2.0, 3.0])), "o": nir.Output(np.array([2]))},
        [("i", "s"), ("s", "o")],
        type_check=False,
    )
    outer = nir.NIRGraph(
        {"in": nir.Input(np.array([2])), "sub": inner, "out": nir.Output(np.array([2]))},
        [("in", "sub"), ("sub", "out")],
        type_check=False,
    )
    nir.write(tmp_path / "nested.nir", outer)
    network = read_network(tmp_path / "nested.nir")
    assert [node.name for node in network.nodes] == ["in", "sub.s", "out"]
    assert simulate(network, np.ones((1, 1, 2))).output.ravel().tolist() == [2, 3]


def test_nothing_is_left_where_a_file_cannot_be_written(tmp_path, receiver):
    place = tmp_path / "file"
    place.write_text("not a folder")
    with pytest.raises(UserError):
        write_network(place / "receiver.nir", receiver)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["a/b", "/a", "", ".", "a\0b", "\ud800"])
def test_names_that_no_file_can_hold_are_refused(tmp_path, name):
    kept, called = {"units": "s"}, {name: nir.Scale(np.ones(2))}
    for inner, metadata in ((called, kept), ({"s": nir.Scale(np.ones(2))}, {**kept, name: "it"})):
        nodes = {"in": nir.Input(np.array([2])), **inner, "out": nir.Output(np.array([2]))}
        graph = nir.NIRGraph(nodes, list(pairwise(nodes)), metadata=metadata, type_check=False)
        with pytest.raises(GraphError, match="which no NIR file can hold"):
            write_network(tmp_path / "graph.nir", graph)
    assert not list(tmp_path.iterdir())


def test_only_nodes_are_known_primitives(tmp_path, receiver):
    write_network(tmp_path / "graph.nir", receiver)
    with h5py.File(tmp_path / "graph.nir", "a") as stream:
        del stream["node/nodes/later/type"]
        stream["node/nodes/later/type"] = "Any"
    with pytest.raises(GraphError, match="'Any', which is no NIR primitive") as caught:
        read_network(tmp_path / "graph.nir")
    assert str(caught.value.hint).startswith("Known: Affine, AvgPool2d, ")


def test_an_onnx_graph_is_called_one(tmp_path):
    (tmp_path / "receiver.onnx").write_bytes(b"\x08\x08")
    with pytest.raises(GraphError, match=r"(?s)is an ONNX graph.*ends in \.nir") as caught:
        read_network(tmp_path / "receiver.onnx")
    assert caught.value.where == str(tmp_path / "receiver.onnx")


def test_builder_refuses_what_nir_could_not_hold():
    builder = GraphBuilder(0.1)
    builder.input(2, Signal.REAL)
    for beta in (1.0, -0.1, 1.5):
        with pytest.raises(GraphError, match="IF neuron"):
            builder.lif("lif", beta, 1.0, 2)
    with pytest.raises(GraphError, match="is not there"):
        builder.linear("w", np.eye(2), after="nobody")
    builder.linear("w", np.eye(2))
    with pytest.raises(GraphError, match="there already"):
        builder.linear("w", np.eye(2))


@pytest.mark.parametrize("value", [np.zeros(2**18), "x" * 2**21, np.array(["x" * 2**20, "y"], object)])
@pytest.mark.parametrize("place", ["node/metadata", "node/nodes/hidden/metadata"])
def test_metadata_have_a_limit(tmp_path, receiver, value, place):
    """Whatever shows them would make as many words of them."""
    write_network(tmp_path / "graph.nir", receiver)
    with h5py.File(tmp_path / "graph.nir", "a") as stream:
        stream[f"{place}/much"] = value
    with pytest.raises(GraphError, match=r"has metadata of [\d,]+ bytes, and 1,048,576 are allowed"):
        read_network(tmp_path / "graph.nir")


def test_a_recording_in_the_place_of_a_graph_is_said_to_be_one(tmp_path):
    np.savez(tmp_path / "inputs.npz", inputs=np.zeros(3))
    with pytest.raises(GraphError, match="is a recording by its name") as caught:
        read_network(tmp_path / "inputs.npz")
    assert "--inputs" in str(caught.value.hint)
