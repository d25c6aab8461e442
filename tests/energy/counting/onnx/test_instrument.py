"""What tensors are proven to hold: events, graded events, and which of them the graph decides itself."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import LayerCount, PartCount
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT, SAMPLES, STEPS, events, onnx_graph, reals, weights

FLOAT = {"to": TensorProto.FLOAT}
CONSTANTS = {"w": weights(4, 4), "v": weights(4, 3), "zero": np.float32(0), "half": np.float32(0.5)}


def node(kind: str, inputs: str, output: str, **form: Any) -> Any:
    return helper.make_node(kind, inputs.split(), [output], name=output, **form)


def counted(
    path: Path, nodes: list[Any], recording: Recording, more: dict[str, Any] | None = None
) -> PartCount:
    onnx_graph(path / "graph.onnx", nodes, CONSTANTS | (more or {}), 4, 3)
    return count_onnx(path / "graph.onnx", recording)


def layer(part: PartCount, name: str) -> LayerCount:
    return next(one for one in part.layers if one.name == name)


FIRED = [node("Greater", "a zero", "t"), node("Cast", "t", "s", **FLOAT)]
CONVENTIONAL = {
    "a mask of its own values": [*FIRED, node("Mul", "a s", "r")],
    "a choice of its own values": [node("Greater", "a zero", "t"), node("Where", "t a zero", "r")],
    "a truth value that leaves": [
        node("Relu", "a", "r"),
        node("Greater", "r zero", "u"),
        node("Cast", "u", "y", **FLOAT),
    ],
}


@pytest.mark.parametrize("case", CONVENTIONAL)
def test_a_comparison_alone_makes_no_network_spike(tmp_path: Path, case: str) -> None:
    nodes = [node("MatMul", "input w", "a"), *CONVENTIONAL[case], node("MatMul", "r v", "output")]
    part = counted(tmp_path, nodes, reals(4))
    assert not part.spiking
    assert layer(part, "output").arrives is Signal.REAL


def test_a_truth_value_that_meets_weights_is_a_spike(tmp_path: Path) -> None:
    part = counted(
        tmp_path, [node("MatMul", "input w", "a"), *FIRED, node("MatMul", "s v", "output")], reals(4)
    )
    assert part.spiking
    assert layer(part, "output").arrives is Signal.EVENTS


INTEGERS = {"to": TensorProto.INT32}
LAST = {"axes": [3], "keepdims": 0}
CUT = [node("Clip", "a zero one", "c"), node("Cast", "c", "i", **INTEGERS)]
ROUNDED = {
    "a floor": [node("Clip", "a zero one", "c"), node("Floor", "c", "s")],
    "a cast to integers and back": [*CUT, node("Cast", "i", "s", **FLOAT)],
    "arithmetic on integers": [*CUT, node("Add", "i i", "j"), node("Cast", "j", "s", **FLOAT)],
}
NOT_ROUNDED = {
    "numbers that are looked up": [*CUT, node("Gather", "w i", "g"), node("ReduceMax", "g", "s", **LAST)],
    "a comparison that leaves": [*CUT, node("Greater", "i none", "t"), node("Identity", "a", "s")],
    "events as integers": [
        node("Cast", "input", "i", **INTEGERS), node("Cast", "i", "f", **FLOAT), node("Identity", "f", "s")
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", [*ROUNDED, *NOT_ROUNDED])
def test_no_limit_on_spikes_can_be_shown_where_values_are_rounded(tmp_path: Path, case: str) -> None:
    middle = {**ROUNDED, **NOT_ROUNDED}[case]
    nodes = [node("MatMul", "input w", "a"), *middle, node("MatMul", "s v", "output")]
    more = {"one": np.float32(1), "none": np.int32(0)}
    part = counted(tmp_path, nodes, events(4), more)
    assert ("spikes" in part.unknown) is (case in ROUNDED)


def test_a_number_that_is_recognised_is_no_neuron_that_fires(tmp_path: Path) -> None:
    """Padded words have the number 0: telling them apart takes comparisons, and no update of a neuron."""
    padded = [node("Equal", "input zero", "t"), node("Cast", "t", "s", **FLOAT)]
    part = counted(tmp_path, [*padded, node("MatMul", "s w", "a"), node("MatMul", "a v", "output")], reals(4))
    assert not part.spiking
    assert part.unknown == ("neurons",)
    assert not layer(part, "t").decides
    fires = [node("MatMul", "input w", "b"), node("Greater", "b zero", "t"), padded[1]]
    part = counted(tmp_path, [*fires, node("MatMul", "s v", "output")], reals(4))
    assert part.unknown == ("neurons", "spikes", "neuron_updates")
    assert layer(part, "t").decides


def masked(case: str, source: str) -> list[Any]:
    """Nodes that mask a tensor by truth values made of it, into the tensor x."""
    loudest = [node("ReduceMax", source, "loudest", axes=[2]), node("Greater", "loudest zero", "loud")]
    return {
        "as it is": [node("Identity", source, "x")],
        "a mask": [*loudest, node("Cast", "loud", "mask", **FLOAT), node("Mul", f"{source} mask", "x")],
        "a choice": [*loudest, node("Where", f"loud {source} zero", "x")],
        "asked again": [node("Greater", f"{source} half", "above"), node("Cast", "above", "x", **FLOAT)],
        "through truth values": [
            node("Cast", source, "there", to=TensorProto.BOOL),
            node("Not", "there", "away"),
            node("Cast", "away", "x", **FLOAT),
        ],
    }[case]


MASKS = ("as it is", "a mask", "a choice", "asked again", "through truth values")


@pytest.mark.parametrize("case", MASKS)
def test_masked_events_that_entered_stay_what_they_are(tmp_path: Path, case: str) -> None:
    nodes = [*masked(case, "input"), node("MatMul", "x v", "output")]
    part = counted(tmp_path, nodes, events(4, rate=0.4))
    assert layer(part, "output").arrives is Signal.EVENTS
    assert not part.spiking


@pytest.mark.parametrize("case", MASKS)
def test_spikes_stay_spikes_behind_masks(tmp_path: Path, case: str) -> None:
    nodes = [node("MatMul", "input w", "a"), *FIRED, *masked(case, "s"), node("MatMul", "x v", "output")]
    part = counted(tmp_path, nodes, reals(4))
    assert layer(part, "output").arrives is Signal.EVENTS
    assert part.spiking


def graded(rate: float = 0.4) -> Recording:
    rng = np.random.default_rng(3)
    values = rng.integers(-2, 4, size=(STEPS, SAMPLES, 4)) * (rng.random((STEPS, SAMPLES, 4)) < rate)
    return Recording(values.astype(np.float32), Signal.GRADED, DT)


def thinned() -> np.ndarray:
    weight = weights(4, 3)
    weight[1] = 0
    weight[2, 1] = 0
    return weight


GRADED = {
    "as they enter": ([], "input", lambda x: x),
    "doubled": ([node("Add", "input input", "x")], "x", lambda x: 2 * x),
    "joined with nothing": ([node("Sum", "input nothing input", "x")], "x", lambda x: 2 * x),
    "taken off each other": ([node("Sub", "input input", "x")], "x", lambda x: 0 * x),
    "multiplied": ([node("Mul", "input input", "x")], "x", lambda x: x * x),
    "through an axis": (
        [node("Unsqueeze", "input axis", "t"), node("Squeeze", "t axis", "x")],
        "x",
        lambda x: x,
    ),
    "cut off below": ([node("Relu", "input", "x")], "x", lambda x: np.maximum(x, 0)),
    "without a sign": ([node("Abs", "input", "x")], "x", np.abs),
    "negated": ([node("Neg", "input", "x")], "x", np.negative),
    "held between whole numbers": (
        [node("Clip", "input minus_one two", "x")],
        "x",
        lambda x: np.clip(x, -1, 2),
    ),
    "held from below": ([node("Clip", "input zero", "x")], "x", lambda x: np.maximum(x, 0)),
    "the largest of one": (
        [node("Unsqueeze", "input axis", "t"), node("ReduceMax", "t", "x", axes=[1], keepdims=0)],
        "x",
        lambda x: x,
    ),
}


@pytest.mark.parametrize("case", GRADED)
def test_graded_events_cost_only_where_they_are_not_zero(tmp_path: Path, case: str) -> None:
    nodes, name, value = GRADED[case]
    weight, recording = thinned(), graded()
    more = {"v": weight, "nothing": np.zeros(4, np.float32), "axis": np.array([1])}
    more |= {"minus_one": np.float32(-1), "two": np.float32(2)}
    part = counted(tmp_path, [*nodes, node("MatMul", f"{name} v", "output")], recording, more)
    fan_out = (weight != 0).sum(axis=1)
    met = ((value(recording.values) != 0) * fan_out).sum(axis=2)
    found = layer(part, "output")
    assert found.arrives is Signal.GRADED
    assert found.per_sample.macs.tolist() == met.sum(axis=0).tolist()
    assert not found.per_sample.acs.any()
    assert found.traffic.weight_reads.tolist() == met.sum(axis=0).tolist()
    assert found.per_step is not None
    assert found.per_step.macs.tolist() == met.sum(axis=1).tolist()


KEPT = {
    "one of two trains": [node("Add", "input input", "t"), node("Clip", "t zero one", "x")],
    "cut off below": [node("Relu", "input", "x")],
    "rounded": [node("Round", "input", "x")],
    "the largest": [node("Unsqueeze", "input axis", "t"), node("ReduceMax", "t", "x", axes=[1], keepdims=0)],
}


@pytest.mark.parametrize("case", KEPT)
def test_functions_that_keep_0_and_1_keep_events(tmp_path: Path, case: str) -> None:
    more = {"v": thinned(), "axis": np.array([1]), "one": np.float32(1)}
    recording = events(4, rate=0.4)
    part = counted(tmp_path, [*KEPT[case], node("MatMul", "x v", "output")], recording, more)
    met = (recording.values * (thinned() != 0).sum(axis=1)).sum(axis=(0, 2))
    assert layer(part, "output").per_sample.acs.tolist() == met.tolist()
    assert not layer(part, "output").per_sample.macs.any()


REAL = {
    "a constant is added": [node("Add", "input half", "x")],
    "a constant factor": [node("Mul", "input half", "x")],
    "held below a half": [node("Clip", "input zero half", "x")],
    "held above a half": [node("Clip", "input half", "x")],
    "a mean": [node("AveragePool", "input", "x", kernel_shape=[1])],
    "one of them is real": [node("Add", "input w0", "x")],
}


@pytest.mark.parametrize("case", REAL)
def test_what_is_not_whole_costs_everywhere(tmp_path: Path, case: str) -> None:
    nodes = [*REAL[case], node("MatMul", "x v", "output")]
    part = counted(tmp_path, nodes, graded(), {"v": thinned(), "w0": weights(4)})
    assert layer(part, "output").per_sample.macs.tolist() == [STEPS * 12] * SAMPLES


TIME_LAST = node("Transpose", "input", "last", perm=[1, 2, 0])
NO_EVENTS = {
    "a pad with half": (10, [node("Pad", "input", "p", pads=[0, 0, 1, 0, 0, 1], value=0.5)], 6),
    "a pad with an input of half": (13, [node("Pad", "input pads half", "p")], 6),
    "indices of a pool": (
        13,
        [
            TIME_LAST,
            helper.make_node("MaxPool", ["last"], ["most", "indices"], kernel_shape=[1]),
            node("Cast", "indices", "floats", **FLOAT),
            node("Transpose", "floats", "p", perm=[2, 0, 1]),
        ],
        4,
    ),
    "windows in the padding alone": (
        13,
        [node("MaxPool", "input", "p", kernel_shape=[2], dilations=[5], pads=[1, 1])],
        1,
    ),
}


@pytest.mark.parametrize("case", NO_EVENTS)
def test_values_that_are_no_events_are_not_taken_for_events(tmp_path: Path, case: str) -> None:
    opset, nodes, width = NO_EVENTS[case]
    path = tmp_path / "graph.onnx"
    more = {"v": weights(width, 3), "pads": np.array([0, 0, 1, 0, 0, 1])}
    onnx_graph(path, [*nodes, node("MatMul", "p v", "output")], CONSTANTS | more, 4, 3)
    model = onnx.load(path)
    model.opset_import[0].version = opset
    onnx.save(model, path)
    found = layer(count_onnx(path, events(4, rate=0.4)), "output")
    assert not found.per_sample.acs.any()
    assert found.per_sample.macs.all()


def test_a_dropout_that_drops_is_refused(tmp_path: Path) -> None:
    def dropout(mode: str) -> list[Any]:
        return [
            helper.make_node("Dropout", ["input", "half", mode], ["x"], name="drop"),
            node("MatMul", "x v", "output"),
        ]

    modes = {"yes": np.array(True), "no": np.array(False)}
    with pytest.raises(GraphError, match="'drop': has the operator Dropout in training mode"):
        counted(tmp_path, dropout("yes"), events(4), modes)
    part = counted(tmp_path, dropout("no"), events(4, rate=0.4), modes)
    assert layer(part, "output").arrives is Signal.EVENTS


def test_states_of_a_scan_keep_what_they_hold(tmp_path: Path) -> None:
    """A line of graded events starts at rest; a count of spikes grows and is whole; a potential is real."""
    body = helper.make_graph(
        [
            node("MatMul", "late v", "from_late"),
            node("MatMul", "count v", "from_count"),
            node("MatMul", "potential v", "from_potential"),
            node("Identity", "x", "late_next"),
            node("Add", "count x", "count_next"),
            node("MatMul", "x w", "driven"),
            node("Add", "potential driven", "potential_next"),
            node("Sum", "from_late from_count from_potential", "row"),
        ],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("late", "count", "potential", "x")],
        [
            helper.make_empty_tensor_value_info(name)
            for name in ("late_next", "count_next", "potential_next", "row")
        ],
    )
    nodes = [
        helper.make_node("Shape", ["input"], ["size"], start=1),
        helper.make_node("ConstantOfShape", ["size"], ["rest"]),
        helper.make_node(
            "Scan",
            ["rest"] * 3 + ["input"],
            ["a", "b", "c", "output"],
            name="scan",
            num_scan_inputs=1,
            body=body,
        ),
    ]
    recording = events(4, rate=0.3)
    part = counted(tmp_path, nodes, recording)
    values = recording.values.astype(int)
    late, count = values[:-1], np.cumsum(values, axis=0)[:-1]
    assert layer(part, "scan/from_late").per_sample.acs.tolist() == (3 * late.sum(axis=(0, 2))).tolist()
    assert (
        layer(part, "scan/from_count").per_sample.macs.tolist() == (3 * (count > 0).sum(axis=(0, 2))).tolist()
    )
    assert layer(part, "scan/from_potential").per_sample.macs.tolist() == [STEPS * 12] * SAMPLES


def scanning(opset: int, inputs: list[str], **form: Any) -> Any:
    """A Scan whose body multiplies by a matrix and hands on a state."""
    names = ("state", "x"), ("state_next", "row")
    entering, leaving = ([helper.make_empty_tensor_value_info(name) for name in some] for some in names)
    nodes = [node("MatMul", "x w", "row"), node("Identity", "state", "state_next")]
    held = [numpy_helper.from_array(CONSTANTS["w"], "w")] if opset < 9 else []
    body = helper.make_graph(nodes, "body", entering, leaving, held)
    return helper.make_node(
        "Scan", inputs, ["last", "output"], name="scan", num_scan_inputs=1, body=body, **form
    )


@pytest.mark.parametrize(
    "form",
    [
        {"scan_output_axes": [0]},
        {"scan_output_axes": [1]},
        {"scan_output_directions": [0]},
        {"scan_output_directions": [1]},
        {"scan_output_axes": [0], "scan_output_directions": [1], "scan_input_directions": [1]},
    ],
)
def test_where_a_scan_puts_its_outputs_changes_no_count(tmp_path: Path, form: dict[str, list[int]]) -> None:
    rest = {"rest": np.zeros(1, np.float32)}
    onnx_graph(tmp_path / "graph.onnx", [scanning(17, ["rest", "input"], **form)], CONSTANTS | rest, 4, 4)
    model = onnx.load(tmp_path / "graph.onnx")
    anything = helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * 3)
    model.graph.output[0].CopyFrom(anything)
    onnx.save(model, tmp_path / "graph.onnx")
    recording = events(4, rate=0.4)
    [found] = count_onnx(tmp_path / "graph.onnx", recording).layers
    met = recording.values.astype(int) @ (CONSTANTS["w"] != 0)
    assert found.per_sample.acs.tolist() == met.sum(axis=(0, 2)).tolist()


def test_a_scan_over_samples_too_is_refused_with_its_name(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", "input", "apart", axes=[0]),
        scanning(8, ["", "rest", "apart"]),
    ]
    nodes[1].output[1] = "rows"
    nodes.append(node("Squeeze", "rows", "output", axes=[0]))
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["T", "N", 4])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * 3)],
        [numpy_helper.from_array(np.zeros((1, 1), np.float32), "rest")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=4)
    model.graph.input.append(helper.make_tensor_value_info("rest", TensorProto.FLOAT, [1, 1]))
    onnx.save(model, tmp_path / "graph.onnx")
    with pytest.raises(GraphError, match="node 'scan': is a Scan of opset 8"):
        count_onnx(tmp_path / "graph.onnx", events(4))


def test_weights_that_follow_from_a_shape_are_known(tmp_path: Path) -> None:
    fill = numpy_helper.from_array(np.ones(1, np.float32))
    nodes = [
        node("Shape", "input", "size", start=2),
        node("Concat", "size columns", "sizes", axis=0),
        node("ConstantOfShape", "sizes", "ones", value=fill),
        node("MatMul", "input ones", "output"),
    ]
    part = counted(tmp_path, nodes, events(4, rate=0.4), {"columns": np.array([3])})
    assert layer(part, "output").synapses == 12
    assert (
        layer(part, "output").per_sample.acs.tolist()
        == (3 * events(4, rate=0.4).values.sum(axis=(0, 2))).tolist()
    )


def test_event_trains_joined_in_onnx_cost_what_they_cost_in_nir(tmp_path: Path) -> None:
    values = np.array([[[0, 0, 0, 1]], [[1, 0, 0, 1]], [[0, 1, 1, 1]]], np.uint8)
    recording = Recording(values, Signal.EVENTS, DT)
    builder = GraphBuilder(DT)
    builder.input(4, Signal.EVENTS)
    builder.threshold("s", 0.5, 4, after="input")
    builder.lif("joined", 0.9, 0.5, 4, after=["input", "s"])
    builder.output(4, after="joined")
    of_nir = layer(count_network(assemble(builder.build()), recording, name="graph"), "joined")
    asked = [node("Greater", "input half", "t"), node("Cast", "t", "s", **FLOAT)]
    joined = [*asked, node("Add", "input s", "joined"), node("MatMul", "joined v", "output")]
    part = counted(tmp_path, joined, recording)
    of_onnx = layer(part, "joined")
    assert of_onnx.per_step is not None
    assert of_nir.per_step is not None
    assert of_onnx.per_step.additions.tolist() == of_nir.per_step.additions.tolist() == [1, 2, 3]
    assert of_onnx.traffic.activation_reads.tolist() == of_nir.traffic.activation_reads.tolist() == [12]
    assert of_onnx.traffic.activation_writes.tolist() == [6]


def test_events_added_to_real_values_cost_where_they_are(tmp_path: Path) -> None:
    values = np.array([[[0, 0, 0, 1]], [[1, 0, 0, 1]]], np.uint8)
    recording = Recording(values, Signal.EVENTS, DT)
    added = [node("MatMul", "input w", "a"), node("Add", "a input", "x"), node("MatMul", "x v", "output")]
    found = layer(counted(tmp_path, added, recording), "x")
    assert found.per_sample.additions.tolist() == [3]
    assert found.traffic.activation_reads.tolist() == [8 + 3]
    assert found.traffic.activation_writes.tolist() == [8]


def test_a_fault_of_this_tool_is_not_taken_for_one_of_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: Any) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr("nsc_deploy.energy.counting.onnx.constants.find_constants", broken)
    with pytest.raises(IndexError, match="a bug"):
        counted(tmp_path, [node("MatMul", "input v", "output")], reals(4))
