"""ONNX graphs as networks: what enters, what leaves, whose axes are whose."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_network import read_onnx_network
from nsc_deploy.graphs.readout import readout_of
from tests.support.int8 import DT, INPUTS, OUTPUTS, STEPS, graph, reals, write_inputs
from tests.support.small_runs import weights


def flat_graph(path: Path, batch: int | str, *, also: str | None = None) -> Path:
    """y = x W on [batch, inputs], perhaps with a second input."""
    shapes = {"input": [batch, INPUTS], **({also: [batch, INPUTS]} if also else {})}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, OUTPUTS])
    node = helper.make_node("MatMul", ["input", "w"], ["output"])
    constant = numpy_helper.from_array(weights(INPUTS, OUTPUTS), "w")
    made = helper.make_graph([node], "flat", inputs, [output], [constant])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    return path


def test_a_graph_says_what_enters_and_a_recording_what_it_does_not(tmp_path: Path) -> None:
    path, inputs = graph(tmp_path, "gru"), write_inputs(tmp_path / "in.npz", "gru")
    network = read_onnx_network(path, inputs=inputs, readout=(3, 2))
    assert (network.dt, network.steps, network.steps_first) == (DT, STEPS, True)
    assert (network.input_node.emits, network.input_node.output_shape) == (Signal.REAL, (INPUTS,))
    assert readout_of(network) == (3, 2)
    assert [node.primitive for node in network.nodes] == [
        *("Input", "GRU", "Squeeze", "MatMul", "Add", "Output"),
    ]
    assert network.conventional
    assert read_onnx_network(path, signal=Signal.EVENTS).input_node.emits is Signal.EVENTS


@pytest.mark.parametrize("batch", ["N", 1, 5])
def test_a_graph_without_steps_runs_each_step_apart(batch: int | str, tmp_path: Path) -> None:
    network = read_onnx_network(flat_graph(tmp_path / "flat.onnx", batch))
    assert not network.steps_first
    values = reals()
    np.testing.assert_allclose(network.run(values), values @ weights(INPUTS, OUTPUTS), atol=1e-5)


def test_states_from_outside_are_refused(tmp_path: Path) -> None:
    path = flat_graph(tmp_path / "flat.onnx", "N", also="state")
    with pytest.raises(GraphError, match="has 2 inputs and 1 outputs where one of each is wanted"):
        read_onnx_network(path)


def test_a_stated_number_of_steps_stands_in_front_of_open_samples(tmp_path: Path) -> None:
    path = tmp_path / "steps.onnx"
    one = helper.make_tensor_value_info("input", TensorProto.FLOAT, [4, "N", 3])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, [4, "N", 3])
    made = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "steps", [one], [out])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    network = read_onnx_network(path)
    assert (network.steps_first, network.given_steps) == (True, 4)
    assert network.input_node.output_shape == (3,)


def test_open_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.onnx"
    one = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["T", "N", "C"])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["T", "N", "C"])
    made = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "open", [one], [out])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    with pytest.raises(GraphError, match="leaves sizes of its inputs or outputs open"):
        read_onnx_network(path)


@pytest.mark.parametrize(("kept", "steps", "leaving"), [("all", 1, (2, 3)), ("samples", 4, None)])
def test_sizes_that_an_exporter_left_open_follow_from_those_that_enter(
    kept: str, steps: int, leaving: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """torch leaves them open behind a Reshape whose sizes it computes; those that change with N stay so."""
    path = tmp_path / "reshaped.onnx"
    one = helper.make_tensor_value_info("input", TensorProto.FLOAT, [steps, "N", 6])
    out = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["a", "b", "c", "d"])
    shape = [steps, -1, 2, 3] if kept == "all" else [1, 2, 3, -1]
    constants = [numpy_helper.from_array(np.array(shape), "sizes")]
    nodes = [helper.make_node("Reshape", ["input", "sizes"], ["output"])]
    made = helper.make_graph(nodes, "reshaped", [one], [out], constants)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))
    if leaving is None:
        with pytest.raises(GraphError, match="leaves sizes of its inputs or outputs open"):
            read_onnx_network(path)
    else:
        assert read_onnx_network(path).nodes[-1].input_shape == leaving
