"""Graphs that compute in integers: the C gives out what onnxruntime does, bit for bit; others are refused."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.exporters.base import RunSettings
from nsc_deploy.exporters.c.code import HERE
from nsc_deploy.exporters.c.compilers import host_compiler
from nsc_deploy.exporters.c.int8.check import operator_verdicts
from nsc_deploy.exporters.c.int8.code import Int8Code
from nsc_deploy.exporters.c.int8.integers import read_integers
from nsc_deploy.exporters.c.int8.network import Convolution, Dense, HardGru, products_of
from nsc_deploy.exporters.c.runners import HostRunner
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_integers import IntegerLayer, integer_mlp
from nsc_deploy.graphs.onnx_network import OnnxNetwork, read_onnx_network
from nsc_deploy.passes.verdict import Status
from tests.support.c_graphs import SANITISED, needs_compiler
from tests.support.int8 import DT, INPUTS, INTEGER_KINDS, code, integer_graph, reals, write_inputs

Change = Callable[[onnx.GraphProto], None]


def read(folder: Path, model: onnx.ModelProto) -> OnnxNetwork:
    write_onnx(folder / "graph.onnx", model)
    inputs = write_inputs(folder / "inputs.npz", "qnn")
    return read_onnx_network(folder / "graph.onnx", inputs=inputs)


def made(folder: Path, model: onnx.ModelProto) -> Int8Code:
    network = read(folder, model)
    return Int8Code(read_integers(network, "graph.onnx"), "net", network)


@pytest.mark.parametrize("kind", INTEGER_KINDS)
@pytest.mark.parametrize("largest", [1, 6, 31, 127])
def test_outputs_are_those_of_onnxruntime(kind: str, largest: int, tmp_path: Path) -> None:
    for seed in range(4):
        model = integer_graph(kind, seed, largest)
        found, values = made(tmp_path, model), reals(kind, seed, 60)
        expected = found.network.run(values)
        np.testing.assert_array_equal(found.emulate(values).output, expected)
        assert len(np.unique(expected)) > min(largest, 10) // 2


@needs_compiler
@pytest.mark.parametrize("kind", ["hard_gru", "halves"])
@pytest.mark.parametrize("factor", [0.02, 1.0, 3.7])
def test_single_precision_in_integers_is_that_of_the_processor(
    kind: str, factor: float, tmp_path: Path
) -> None:
    found = made(tmp_path, integer_graph(kind, 5, factor=factor))
    assert any(product.single for layer in found.int8.layers for _, product in products_of(layer))
    values = reals(kind, 6, 200)
    with ExitStack() as closing:
        settings = RunSettings(closing=closing)
        runner = HostRunner(found, found.source(HERE), settings, SANITISED, host_compiler())
        for steps in (1, 2, 3, 12):  # of a recurrent unit only the last one is seen
            output = runner.run(values[:steps]).output
            np.testing.assert_array_equal(output, found.network.run(values[:steps]))


@needs_compiler
def test_sums_beyond_2_to_the_24_are_rounded_before_they_are_scaled(tmp_path: Path) -> None:
    """A graph converts a sum to single precision, then multiplies: 110, where one rounding gives 109."""
    weight = np.full((1, 1600), 127)
    weight[:, 1440:] = 1
    total, factor = 16_827_363, float.fromhex("0x1.b4b1d8p-18")
    values = np.zeros((1, 1, 1600), np.float32)
    values[..., :1440] = (total // 127) // 1440
    values[..., : (total // 127) % 1440] += 1
    values[..., 1440] = total % 127
    assert int((values.astype(np.int64) * weight).sum()) == total
    model = integer_mlp(
        [IntegerLayer(weight, None, factor)], signal=Signal.REAL, dt=DT, largest=127, values_last=False
    )
    write_onnx(tmp_path / "graph.onnx", model)
    write_recording(tmp_path / "inputs.npz", Recording(values, Signal.REAL, DT))
    network = read_onnx_network(tmp_path / "graph.onnx", inputs=tmp_path / "inputs.npz")
    found = Int8Code(read_integers(network, "graph.onnx"), "net", network)
    assert found.int8.layers[0].product.single
    with ExitStack() as closing:
        settings = RunSettings(closing=closing)
        runner = HostRunner(found, found.source(HERE), settings, SANITISED, host_compiler())
        outputs = [one.item() for one in (runner.run(values).output, network.run(values))]
    assert outputs == [110, 110]


def test_the_integers_are_the_graphs(tmp_path: Path) -> None:
    found = code(tmp_path, "qnn").int8
    first, second = found.layers
    assert isinstance(first, Dense)
    assert isinstance(second, Dense)
    known = {one.name: numpy_helper.to_array(one) for one in integer_graph("qnn").graph.initializer}
    np.testing.assert_array_equal(first.product.weight, known["dense1_weight"].T)
    np.testing.assert_array_equal(second.product.bias, known["dense2_bias"])
    assert (first.low, first.high) == (0, 127)
    assert (found.input_scale, found.output_scale) == (1.0, float(known["dense2_factor"]))
    assert (found.output_bits, found.integer, found.final) == (32, True, False)
    assert not first.product.single
    kinds = [type(layer) for layer in code(tmp_path, "hard_gru").int8.layers]
    assert kinds == [HardGru]
    convolutions = code(tmp_path, "ds_cnn").int8.layers[:3]
    assert [type(layer) for layer in convolutions] == [Convolution] * 3


def test_other_than_whole_numbers_are_refused(tmp_path: Path) -> None:
    found, values = code(tmp_path, "qnn"), reals("qnn")
    for wrong in (0.5, -1.0, 128.0, np.nan):
        values[0, 0, 0] = wrong
        with pytest.raises(ConfigError, match="other values than whole numbers 0 to 127"):
            found.emulate(values)


def constant(name: str, value: object) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        [one] = [one for one in graph.initializer if one.name == name]
        one.CopyFrom(numpy_helper.from_array(np.asarray(value), name))

    return change


def operator(name: str, kind: str) -> Change:
    def change(graph: onnx.GraphProto) -> None:
        [node] = [node for node in graph.node if node.name == name]
        node.CopyFrom(helper.make_node(kind, node.input[:1], node.output, name=name))

    return change


def zero_point(graph: onnx.GraphProto) -> None:
    graph.initializer.append(numpy_helper.from_array(np.uint8(3), "zero"))
    graph.node[1].input.append("zero")


def body(graph: onnx.GraphProto) -> None:
    """A recurrent unit that adds where it should multiply."""
    [scan] = [node for node in graph.node if node.op_type == "Scan"]
    [node] = [node for node in scan.attribute[0].g.node if node.name == "kept"]
    node.op_type = "Add"


@pytest.mark.parametrize(
    ("kind", "change", "problem"),
    [
        ("qnn", operator("dense1_scale", "Sigmoid"), r"'dense1_scale' \(Sigmoid\): has no form"),
        ("qnn", zero_point, r"'dense1' \(MatMulInteger\): has a zero point"),
        ("qnn", constant("dense1_weight", np.ones((INPUTS, 18), np.uint8)), "has weights of uint8"),
        (
            "qnn",
            constant("dense1_factor", np.float32(-1)),
            r"'dense1_scale' \(Mul\): multiplies with a number",
        ),
        ("qnn", constant("dense1_factor", np.float32(1e-30)), "which no shift reaches"),
        ("qnn", constant("relu1_low", np.float32(-5)), r"'relu1' \(Clip\): cuts off elsewhere"),
        ("qnn", constant("relu1_high", np.float32(255)), r"'relu1' \(Clip\): cuts off elsewhere"),
        ("qnn", constant("relu1_one", np.float32(0.5)), r"'relu1_round' \(QuantizeLinear\): rounds to other"),
        ("qnn", constant("dense1_bias", np.full(18, 2**31 - 1, np.int32)), "could leave 32 bits"),
        ("qnn", constant("dense2_factor", np.linspace(0.1, 1, 6, dtype=np.float32)), "which have no unit"),
        ("ds_cnn", operator("relu1", "Identity"), r"'relu1_round' \(QuantizeLinear\): stands behind scaled"),
        ("hard_gru", body, r"'gru' \(Scan\): computes something else"),
    ],
)
def test_what_has_no_form_is_refused_by_name(kind: str, change: Change, problem: str, tmp_path: Path) -> None:
    model = integer_graph(kind)
    change(model.graph)
    network = read(tmp_path, model)
    with pytest.raises(GraphError, match=problem) as caught:
        read_integers(network, "graph.onnx")
    assert "Export the graph in floating point instead" in str(caught.value.hint)
    assert Status.REFUSED in {one.status for one in operator_verdicts(network)}


@pytest.mark.parametrize(("kept", "last"), [(2, "MatMulInteger"), (3, "Add"), (4, "Cast"), (5, "Mul")])
def test_an_end_without_a_form_is_refused_where_the_graph_leaves(
    kept: int, last: str, tmp_path: Path
) -> None:
    model = integer_graph("qnn")
    del model.graph.node[kept:]
    assert model.graph.node[-1].op_type == last
    kind = TensorProto.FLOAT if kept > 3 else TensorProto.INT32
    leaving = helper.make_tensor_value_info(model.graph.node[-1].output[0], kind, ["T", "N", 18])
    model.graph.output[0].CopyFrom(leaving)
    found = operator_verdicts(read(tmp_path, model))
    refused = [one.node for one in found if one.status is Status.REFUSED]
    assert refused == ([] if last == "Mul" else [found[-1].node])


def test_a_factor_for_each_row_is_taken_inside(tmp_path: Path) -> None:
    model = integer_graph("qnn")
    constant("dense1_factor", np.linspace(0.004, 0.03, 18, dtype=np.float32))(model.graph)
    found, values = made(tmp_path, model), reals("qnn", 3, 50)
    np.testing.assert_array_equal(found.emulate(values).output, found.network.run(values))
