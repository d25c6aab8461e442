"""ONNX graphs as chains of layers: what is refused, by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.errors import ConfigError, ExportError, GraphError
from nsc_deploy.exporters.c.int8.chain import read_chain, require_what_runs
from nsc_deploy.exporters.c.int8.check import operator_verdicts
from nsc_deploy.exporters.c.int8.layers import Chain, FloatDense
from nsc_deploy.graphs.onnx_network import OnnxNetwork, read_onnx_network
from nsc_deploy.passes.verdict import Status
from tests.support.int8 import INPUTS, graph, reals
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
    network = read_onnx_network(tmp_path / "s.onnx")
    with pytest.raises(GraphError, match="gives out 'output', behind which it goes on"):
        read_chain(network, "s.onnx")
    refused_at_its_end(network, "behind which it goes on")


def refused_at_its_end(network: OnnxNetwork, reason: str) -> None:
    (found,) = [one for one in operator_verdicts(network) if one.status is Status.REFUSED]
    assert found.primitive == "Output"
    assert reason in found.reason
    assert found.hint


def test_a_graph_without_layers_is_refused_at_its_end(tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["input"], ["output"], name="same")]
    onnx_graph(tmp_path / "s.onnx", nodes, {}, INPUTS, INPUTS)
    refused_at_its_end(read_onnx_network(tmp_path / "s.onnx"), "holds no layer")


def test_classes_have_to_fit(tmp_path: Path) -> None:
    path = graph(tmp_path, "dense")
    with pytest.raises(ConfigError, match="6 outputs cannot be shared out among 4 classes"):
        read_onnx_network(path, classes=4)
    with pytest.raises(ConfigError, match=r"gives out 6 values, not 5 \* 2"):
        read_onnx_network(path, readout=(5, 2))


def chain_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    entering: list[object],
    leaving: list[object],
) -> OnnxNetwork:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, entering)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, leaving)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return read_onnx_network(path)


def reduced(path: Path, operator: str, axis: int) -> OnnxNetwork:
    nodes = [
        helper.make_node(operator, ["input", "axes"], ["one"], name="reduce", keepdims=0),
        helper.make_node("MatMul", ["one", "w"], ["output"]),
    ]
    constants = {"axes": np.array([axis]), "w": weights(4, 3)}
    return chain_graph(path, nodes, constants, ["T", "N", 4, 4], ["T", "N", 3])


@pytest.mark.parametrize("operator", ["ReduceMax", "ReduceMean"])
@pytest.mark.parametrize("axis", [3, -1])
def test_places_of_a_channel_lie_behind_the_axes_of_steps_and_samples(
    operator: str, axis: int, tmp_path: Path
) -> None:
    read = reduced(tmp_path / "r.onnx", operator, axis)
    values = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)
    chain = read_chain(read, "r.onnx")
    flowing = chain.entering(values).astype(np.float64)
    for layer in chain.layers:
        flowing = layer.run(flowing)
    np.testing.assert_allclose(flowing, read.run(values), atol=2e-6)
    with pytest.raises(GraphError, match=r"'reduce' .*: reduces other axes than those of an image"):
        read_chain(reduced(tmp_path / "other.onnx", operator, 2), "other.onnx")


def test_normalising_over_samples_is_refused(tmp_path: Path) -> None:
    """ONNX normalises the second axis, which is that of channels only where no steps stand in front."""
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sums"]),
        helper.make_node("BatchNormalization", ["sums", "s", "s", "s", "s"], ["output"], name="norm"),
    ]
    constants = {"w": weights(6, 3), "s": np.ones(3, np.float32)}
    read = chain_graph(tmp_path / "b.onnx", nodes, constants, ["T", "N", 6], ["T", "N", 3])
    with pytest.raises(GraphError, match=r"'norm' \(BatchNormalization\): normalises the axis of samples"):
        read_chain(read, "b.onnx")
    assert (
        len(read_chain(chain_graph(tmp_path / "c.onnx", nodes, constants, ["N", 6], ["N", 3]), "c").layers)
        == 1
    )


@pytest.mark.parametrize("operator", ["Gemm", "Add"])
@pytest.mark.parametrize("shape", [(3, 1), (2, 3)])
def test_numbers_for_each_sample_are_no_bias(operator: str, shape: tuple[int, int], tmp_path: Path) -> None:
    constants = {"w": weights(6, 3), "c": np.ones(shape, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sums"]),
        helper.make_node("Add", ["sums", "c"], ["output"], name="added"),
    ]
    if operator == "Gemm":
        nodes = [helper.make_node("Gemm", ["input", "w", "c"], ["output"], name="added")]
    read = chain_graph(tmp_path / "g.onnx", nodes, constants, [shape[0], 6], [shape[0], 3])
    with pytest.raises(GraphError, match=rf"'added' \({operator}\): adds something else than a bias"):
        read_chain(read, "g.onnx")


def test_a_negative_variance_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sums"]),
        helper.make_node("BatchNormalization", ["sums", "s", "s", "s", "v"], ["output"], name="norm"),
    ]
    constants = {"w": weights(6, 3), "s": np.ones(3, np.float32), "v": np.array([1, -2, 3], np.float32)}
    read = chain_graph(tmp_path / "b.onnx", nodes, constants, ["N", 6], ["N", 3])
    with pytest.raises(GraphError, match=r"'norm' \(BatchNormalization\): has a variance of -2, which"):
        read_chain(read, "b.onnx")


def test_a_chain_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    read = read_onnx_network(graph(tmp_path, "dense"))
    chain, values = read_chain(read, "dense.onnx"), reals("dense", 2)
    require_what_runs(chain, read, values, "dense.onnx")
    first, *others = chain.layers
    assert isinstance(first, FloatDense)
    for wrong in (replace(first, bias=first.bias + 0.1), replace(first, relu=False)):
        with pytest.raises(ExportError, match="that compute something else than onnxruntime"):
            require_what_runs(Chain((wrong, *others), None), read, values, "dense.onnx")
