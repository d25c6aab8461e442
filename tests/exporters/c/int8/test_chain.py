"""ONNX graphs as chains of layers: what is refused, by name."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.check import operator_verdicts
from nsc_deploy.graphs.onnx_network import read_onnx_network
from nsc_deploy.passes.verdict import Status
from tests.support.int8 import INPUTS, graph
from tests.support.small_runs import onnx_graph, weights


def test_an_operator_without_a_form_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sum"], name="first"),
        helper.make_node("Sigmoid", ["sum"], ["squashed"], name="squash"),
        helper.make_node("Relu", ["squashed"], ["output"], name="cut"),
    ]
    onnx_graph(tmp_path / "s.onnx", nodes, {"w": np.ones((INPUTS, 6), np.float32)}, INPUTS, 6)
    network = read_onnx_network(tmp_path / "s.onnx")
    with pytest.raises(GraphError, match=r"'squash' \(Sigmoid\): has no form in 8 bits") as caught:
        read_chain(network, "s.onnx")
    assert caught.value.hint is not None
    found = {one.node: one.status for one in operator_verdicts(network)}
    assert [name for name, status in found.items() if status is Status.REFUSED] == ["squash"]


def test_a_graph_that_is_no_chain_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["one"], name="first"),
        helper.make_node("Add", ["one", "input"], ["output"], name="around"),
    ]
    onnx_graph(tmp_path / "s.onnx", nodes, {"w": weights(INPUTS, INPUTS)}, INPUTS, INPUTS)
    with pytest.raises(GraphError, match=r"'around' \(Add\): is not one of a chain"):
        read_chain(read_onnx_network(tmp_path / "s.onnx"), "s.onnx")


@pytest.mark.parametrize(
    ("operator", "settings", "problem"),
    [
        ("GRU", {}, "resets its state before the product"),
        ("GRU", {"linear_before_reset": 1, "direction": "reverse"}, "runs backwards"),
        ("LSTM", {"clip": 3.0}, "has clip, which has no form"),
    ],
)
def test_recurrent_layers_of_other_kinds_are_refused(
    operator: str, settings: dict[str, object], problem: str, tmp_path: Path
) -> None:
    gates = 4 if operator == "LSTM" else 3
    nodes = [
        helper.make_node(operator, ["input", "w", "r"], ["y"], name="cells", hidden_size=5, **settings),
        helper.make_node("Squeeze", ["y", "axis"], ["output"]),
    ]
    constants = {"w": weights(1, gates * 5, INPUTS), "r": weights(1, gates * 5, 5), "axis": np.array([1])}
    onnx_graph(tmp_path / "r.onnx", nodes, constants, INPUTS, 5)
    with pytest.raises(GraphError, match=problem):
        read_chain(read_onnx_network(tmp_path / "r.onnx"), "r.onnx")


def test_convolutions_over_time_need_to_know_how_long_a_sample_is(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="of which nobody says how many there are"):
        read_chain(read_onnx_network(graph(tmp_path, "separable")), "separable.onnx")


def test_a_graph_that_computes_on_behind_its_output_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["output"], name="first"),
        helper.make_node("Relu", ["output"], ["more"], name="second"),
    ]
    onnx_graph(tmp_path / "s.onnx", nodes, {"w": weights(INPUTS, 6)}, INPUTS, 6)
    with pytest.raises(GraphError, match="gives out 'output', behind which it goes on"):
        read_chain(read_onnx_network(tmp_path / "s.onnx"), "s.onnx")


def test_classes_have_to_fit(tmp_path: Path) -> None:
    path = graph(tmp_path, "dense")
    with pytest.raises(ConfigError, match="6 outputs cannot be shared out among 4 classes"):
        read_onnx_network(path, classes=4)
    with pytest.raises(ConfigError, match=r"gives out 6 values, not 5 \* 2"):
        read_onnx_network(path, readout=(5, 2))
