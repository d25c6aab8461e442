"""Where the samples lie in an ONNX graph is proven or not said: what is said holds when the graph runs."""

import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.energy.counting.onnx.axes import samples_in
from nsc_deploy.energy.counting.onnx.constants import work_out_constants
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.onnx.operators import Axis
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, cross_attention
from tests.support.small_runs import DT, SAMPLES, dense_graph, events, lstm_graph, onnx_graph, weights

T, N, C = 3, 5, 2


def sample_axes(model: onnx.ModelProto) -> Mapping[str, Axis] | None:
    channels = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    known = work_out_constants(model, np.zeros((T, 1, channels), np.float32))
    return samples_in(model, known, (T, N, channels)) or None


class Graph:
    """A graph under construction, run after each operator to see what shape it has come to."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self.last = "input"

    def constant(self, value: Any, kind: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype=kind)
        return name

    def add(self, kind: str, *inputs: str, **form: Any) -> str:
        self.last = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [self.last], **form))
        return self.last

    def model(self, sizes: tuple[Any, ...] = ("T", "N", C)) -> onnx.ModelProto:
        inner = [name for node in self.nodes for name in node.output]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, sizes)],
            [helper.make_empty_tensor_value_info(name) for name in inner],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9)

    def run(self, values: np.ndarray) -> dict[str, np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        made = self.model().SerializeToString()
        session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        return dict(zip(names, session.run(names, {"input": values}), strict=True))


def _running_sum(graph: Graph, source: str) -> None:
    graph.add("Shape", source, start=1)
    state = graph.add("ConstantOfShape", graph.last)
    body = helper.make_graph(
        [helper.make_node("Add", ["v", "x"], ["next"]), helper.make_node("Identity", ["next"], ["y"])],
        "body",
        [helper.make_empty_tensor_value_info(name) for name in ("v", "x")],
        [helper.make_empty_tensor_value_info(name) for name in ("next", "y")],
    )
    name = f"t{len(graph.nodes)}"
    outputs = [f"{name}:state", f"{name}:all"]
    graph.nodes.append(helper.make_node("Scan", [state, source], outputs, num_scan_inputs=1, body=body))
    graph.last = outputs[1]


@dataclass
class Next:
    """What the next operator is drawn from: the graph, what leaves it so far, and one of its axes."""

    draw: Any
    graph: Graph
    shape: tuple[int, ...]
    axis: int

    @property
    def rank(self) -> int:
        return len(self.shape)

    def add(self, kind: str, *others: str, **form: Any) -> None:
        self.graph.add(kind, self.graph.last, *others, **form)

    def choose(self, *values: Any) -> Any:
        return self.draw(st.sampled_from(values))


def _transposed(one: Next) -> None:
    one.add("Transpose", perm=one.draw(st.permutations(range(one.rank))))


def _gathered(one: Next) -> None:
    indices = one.choose(0, [0], list(range(one.shape[one.axis]))[::-1])
    one.add("Gather", one.graph.constant(indices, np.int64), axis=one.axis)


def _multiplied_by_itself(one: Next) -> None:
    last = one.graph.last
    one.add("Transpose", perm=[*range(one.rank - 2), one.rank - 1, one.rank - 2])
    one.graph.add("MatMul", last, one.graph.last)


def _gemm(one: Next) -> None:
    turned = one.choose(0, 1)
    one.add("Gemm", one.graph.constant(weights(one.shape[0 if turned else 1], 3)), transA=turned)


def _centred(one: Next) -> None:
    last = one.graph.last
    one.add("ReduceMean", axes=[one.axis], keepdims=1)
    one.graph.add("Sub", last, one.graph.last)


def _largest(one: Next) -> None:
    one.add("ArgMax", axis=one.axis, keepdims=1)
    one.add("Cast", to=TensorProto.FLOAT)


def _divided_by_its_size(one: Next) -> None:
    last = one.graph.last
    one.add("Size")
    one.add("Cast", to=TensorProto.FLOAT)
    one.graph.add("Div", last, one.graph.last)


def _zeros_beside(one: Next) -> None:
    """Zeros of all sizes but the last, added to every value."""
    last = one.graph.last
    one.add("Shape", end=one.rank - 1)
    one.add("ConstantOfShape")
    one.add("Unsqueeze", one.graph.constant([-1], np.int64))
    one.graph.add("Add", last, one.graph.last)


def _lstm(one: Next) -> None:
    constants = one.graph.constant(weights(1, 8, one.shape[2])), one.graph.constant(weights(1, 8, 2))
    one.add("LSTM", *constants, hidden_size=2)


# What can follow, and the ranks of what it takes in.
OPERATORS: dict[str, tuple[Callable[[Next], object], range]] = {
    "transpose": (_transposed, range(1, 6)),
    "softmax": (lambda one: one.add("Softmax", axis=one.axis), range(1, 6)),
    "mean": (lambda one: one.add("ReduceMean", axes=[one.axis], keepdims=one.choose(0, 1)), range(2, 6)),
    "max": (lambda one: one.add("ReduceMax", axes=[one.axis], keepdims=one.choose(0, 1)), range(2, 6)),
    "argmax": (_largest, range(2, 6)),
    "unsqueeze": (lambda one: one.add("Unsqueeze", one.graph.constant([one.axis], np.int64)), range(1, 5)),
    "gather": (_gathered, range(2, 6)),
    "concat": (lambda one: one.add("Concat", one.graph.last, axis=one.axis), range(1, 6)),
    "matmul": (lambda one: one.add("MatMul", one.graph.constant(weights(one.shape[-1], 2))), range(2, 6)),
    "product": (_multiplied_by_itself, range(2, 5)),
    "gemm": (_gemm, range(2, 3)),
    "add": (
        lambda one: one.add(
            "Add", one.graph.constant(weights(*one.choose(one.shape, one.shape[-1:], (1, 1))))
        ),
        range(1, 6),
    ),
    "centre": (_centred, range(2, 6)),
    "normalise": (
        lambda one: one.add(
            "LayerNormalization", one.graph.constant(np.ones(one.shape[one.axis :])), axis=one.axis
        ),
        range(2, 6),
    ),
    "flatten": (lambda one: one.add("Flatten", axis=1), range(1, 6)),
    "reshape": (
        lambda one: one.add("Reshape", one.graph.constant([-1, one.shape[-1]], np.int64)),
        range(1, 6),
    ),
    "scan": (lambda one: _running_sum(one.graph, one.graph.last), range(2, 6)),
    "pool": (lambda one: one.add("MaxPool", kernel_shape=[1]), range(3, 4)),
    "lstm": (_lstm, range(3, 4)),
    "zeros": (_zeros_beside, range(2, 6)),
    "size": (_divided_by_its_size, range(1, 6)),
}


def part(tensor: np.ndarray, axis: Axis, sample: int) -> np.ndarray:
    """What belongs to a sample: whole blocks of the axis that holds the samples."""
    of_each = np.arange(tensor.shape[axis.index]) // axis.block % N
    return np.compress(of_each == sample, tensor, axis=axis.index)


def assert_apart(graph: Graph, axes: Mapping[str, Axis], values: np.ndarray) -> None:
    together = graph.run(values)
    for sample in range(values.shape[1]):
        for name, alone in graph.run(values[:, sample : sample + 1]).items():
            if name in axes:
                found = part(together[name], axes[name], sample)
                assert found.shape == alone.shape
                np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_samples_that_are_said_to_be_apart_are_what_they_are_alone(data: Any) -> None:
    graph, values = Graph(), np.random.default_rng(0).normal(size=(T, N, C)).astype(np.float32)
    graph.add("Identity", "input")
    for _ in range(data.draw(st.integers(2, 6))):
        before = graph.last, list(graph.nodes)
        shape = graph.run(values)[graph.last].shape
        fitting = [make for make, ranks in OPERATORS.values() if len(shape) in ranks]
        axis = data.draw(st.integers(-len(shape), len(shape) - 1))
        data.draw(st.sampled_from(fitting))(Next(data.draw, graph, shape, axis))
        if sample_axes(graph.model()) is None:
            graph.last, graph.nodes = before
    axes = sample_axes(graph.model())
    assert axes is not None
    assert_apart(graph, axes, values)


def _columns_of_samples(graph: Graph) -> None:
    graph.add("ReduceMean", "input", axes=[0], keepdims=0)
    graph.add("Gemm", graph.last, graph.constant(weights(N, 3)), transA=1)


def _states_over_samples(graph: Graph) -> None:
    graph.add("Transpose", "input", perm=[1, 0, 2])
    _running_sum(graph, graph.last)


def _pool_over_samples(graph: Graph) -> None:
    graph.add("Transpose", "input", perm=[0, 2, 1])
    graph.add("MaxPool", graph.last, kernel_shape=[2])


def _mean_of_a_flattened_axis(graph: Graph) -> None:
    graph.add("Flatten", "input", axis=1)
    graph.add("ReduceMean", graph.last, axes=[1])


MIXING: dict[str, Callable[[Graph], object]] = {
    "softmax": lambda graph: graph.add("Softmax", "input", axis=1),
    "mean": lambda graph: graph.add("ReduceMean", "input", axes=[1], keepdims=1),
    "argmax": lambda graph: graph.add("ArgMax", "input", axis=-2),
    "gather": lambda graph: graph.add("Gather", "input", graph.constant([0, 0], np.int64), axis=1),
    "reshape": lambda graph: graph.add("Reshape", "input", graph.constant([-1, N, C, T], np.int64)),
    "flatten": _mean_of_a_flattened_axis,
    "size": lambda graph: graph.add("Size", "input"),
    "concat": lambda graph: graph.add("Concat", "input", "input", axis=1),
    "product": lambda graph: graph.add("MatMul", "input", "input"),
    "weights of each sample": lambda graph: graph.add("Add", "input", graph.constant(weights(N, C))),
    "normalise": lambda graph: graph.add("LayerNormalization", "input", graph.constant([1.0]), axis=1),
    "gemm": _columns_of_samples,
    "scan": _states_over_samples,
    "pool": _pool_over_samples,
}


@pytest.mark.parametrize("kind", list(MIXING))
def test_a_graph_that_may_mix_samples_is_told_from_one_that_does_not(kind: str) -> None:
    graph = Graph()
    MIXING[kind](graph)
    assert sample_axes(graph.model()) is None


def test_samples_are_found_in_what_is_made_from_a_shape() -> None:
    graph = Graph()
    graph.add("Identity", "input")
    _zeros_beside(Next(None, graph, (T, N, C), 0))
    axes = sample_axes(graph.model())
    assert axes is not None
    assert [axes[name] for name in ("t2", "t3", "t4")] == [Axis(-1), Axis(-2), Axis(-2)]


@pytest.mark.parametrize("shape", [[-1, C], [-1, 1], [T, -1], [0, 0, C, 1], [1, T, -1, C]])
def test_samples_behind_a_reshape_lie_in_blocks(shape: list[int]) -> None:
    graph = Graph()
    graph.add("Reshape", "input", graph.constant(shape, np.int64))
    graph.add("Relu", graph.last)
    axes = sample_axes(graph.model())
    assert axes is not None
    assert_apart(graph, axes, np.random.default_rng(0).normal(size=(T, N, C)).astype(np.float32))


@pytest.mark.parametrize("shape", [[N * T, 1, C], [T, N, C, 1], [-1, N, C, T]])
def test_a_reshape_to_the_size_of_a_batch_holds_no_samples(shape: list[int]) -> None:
    graph = Graph()
    graph.add("Reshape", "input", graph.constant(shape, np.int64))
    assert sample_axes(graph.model()) is None


def attention(path: Path, channels: int) -> Path:
    """Two convolutions over events, and a gate whose neurons are a Scan; sums over its weights are exact."""
    chance = np.random.default_rng(0)
    left, right, gate = (
        (chance.integers(-8, 9, size=(channels, *rest)) / 8).astype(np.float32)
        for rest in ((1, 5), (channels, 3), (channels,))
    )
    block = CrossAttention(left=left, right=right, beta=0.5, threshold=0.25, gate=gate)
    write_onnx(path, cross_attention(block, signal=Signal.EVENTS, dt=DT))
    return path


def test_the_graphs_of_transmitters_and_receivers_are_run_in_batches(tmp_path: Path) -> None:
    lstm_graph(tmp_path / "lstm.onnx", 4, 3, 2)
    dense_graph(tmp_path / "fc.onnx", [4, 3, 2])
    attention(tmp_path / "attention.onnx", 4)
    for name in ("lstm", "fc", "attention"):
        axes = sample_axes(onnx.load(tmp_path / f"{name}.onnx"))
        assert axes is not None
        assert axes["output"] == Axis(-2)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_batch_is_counted_as_its_samples_are(tmp_path: Path, batch: int) -> None:
    path, recording = attention(tmp_path / "attention.onnx", 6), events(6, rate=0.3)
    part = count_onnx(path, recording, batch=batch)
    found = {layer.name: layer for layer in part.layers}
    assert found["gate"].per_sample.acs.any()
    for sample in range(SAMPLES):
        single = Recording(recording.values[:, sample : sample + 1], Signal.EVENTS, DT)
        for one in count_onnx(path, single).layers:
            for counts in ("per_sample", "traffic"):
                for kind, number in vars(getattr(one, counts)).items():
                    assert getattr(getattr(found[one.name], counts), kind)[sample] == number[0]


def test_a_sample_counts_the_same_beside_others_that_it_is_mixed_with(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["input", "mean"], ["apart"]),
        helper.make_node("Greater", ["apart", "zero"], ["fired"]),
        helper.make_node("Cast", ["fired"], ["spikes"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["spikes", "w"], ["output"], name="dense"),
    ]
    onnx_graph(tmp_path / "mixed.onnx", nodes, {"zero": np.float32(0), "w": weights(4, 3)}, 4, 3)
    part = count_onnx(tmp_path / "mixed.onnx", events(4, rate=0.5))
    dense = next(one for one in part.layers if one.name == "dense")
    # Alone, every value is its own mean.
    assert dense.per_sample.acs.tolist() == [0] * SAMPLES


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    path = attention(tmp_path / "attention.onnx", 128)

    def peak(samples: int) -> int:
        recording = Recording(np.ones((20, samples, 128), dtype=np.uint8), Signal.EVENTS, DT)
        tracemalloc.start()
        count_onnx(path, recording, batch=16)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(16)
    assert peak(512) < 1.5 * peak(32)


def test_a_graph_for_one_sample_is_run_one_by_one() -> None:
    graph = Graph()
    graph.add("Relu", "input")
    assert sample_axes(graph.model()) is not None
    assert sample_axes(graph.model(("T", 1, C))) is None


@pytest.mark.parametrize(("kind", "first"), [("Relu", 7), ("Softmax", 13), ("LogSoftmax", 13)])
def test_axes_are_followed_from_the_opset_on_that_keeps_them_apart(kind: str, first: int) -> None:
    graph = Graph()
    graph.add(kind, "input")
    model = graph.model()
    for opset in (6, 7, 11, 12, 13, 17):
        model.opset_import[0].version = opset
        assert (sample_axes(model) is not None) is (opset >= first)


OLD: dict[str, tuple[str, Callable[[int], dict[str, Any]], int]] = {
    "sum": ("ReduceSum", lambda axis: {"axes": [axis], "keepdims": 0}, 12),
    "mean": ("ReduceMean", lambda axis: {"axes": [axis]}, 12),
    "slice": ("Slice", lambda axis: {"axes": [axis], "starts": [0], "ends": [1]}, 9),
    "unsqueeze": ("Unsqueeze", lambda axis: {"axes": [axis]}, 12),
    "argmax": ("ArgMax", lambda axis: {"axis": axis, "keepdims": 0}, 12),
    "softmax": ("Softmax", lambda axis: {"axis": axis}, 12),
    "log softmax": ("LogSoftmax", lambda axis: {"axis": axis}, 12),
    "clip": ("Clip", lambda axis: {"min": 0.0, "max": 0.5 + axis}, 9),
}


@pytest.mark.parametrize("case", OLD)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_samples_are_kept_apart_by_operators_of_old_opsets(case: str, axis: int) -> None:
    kind, form, opset = OLD[case]
    graph = Graph(opset)
    graph.add("Identity", "input")
    graph.add(kind, graph.last, **form(axis))
    graph.add("Relu" if kind != "ArgMax" else "Identity", graph.last)
    axes = sample_axes(graph.model())
    assert (axes is None) is ("softmax" in case or (axis == 1 and case not in {"unsqueeze", "clip"}))
    if axes is not None:
        assert graph.last in axes
        assert_apart(graph, axes, np.random.default_rng(0).normal(size=(T, N, C)).astype(np.float32))


def test_a_graph_of_an_old_opset_has_figures_of_each_step(tmp_path: Path) -> None:
    node = helper.make_node("MatMul", ["input", "w"], ["output"])
    onnx_graph(tmp_path / "graph.onnx", [node], {"w": weights(4, 3)}, 4, 3, opset=11)
    [layer] = count_onnx(tmp_path / "graph.onnx", events(4)).layers
    assert layer.per_step is not None
    assert layer.per_step.acs.tolist() == (3 * events(4).values.sum(axis=(1, 2))).tolist()
