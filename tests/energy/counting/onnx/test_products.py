"""What ONNX operators with weights cost, and what they read and write."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.onnx.operators import Site
from nsc_deploy.energy.counting.onnx.products import meetings
from nsc_deploy.energy.counting.operations import Footprint, Kind
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from tests.energy.counting.onnx.test_formulas import ADDITION, FUNCTION, PRODUCT, price
from tests.support.small_runs import DT, SAMPLES, STEPS, dense_graph, events, lstm_graph, onnx_graph, reals

MAC = Kind.MAC


def test_gemm_with_factors() -> None:
    shapes = (5, 4), (4, 3), (3,)
    plain = {MAC: 60, ADDITION: 15}
    assert price("Gemm", *shapes, out=(5, 3)) == plain
    assert price("Gemm", *shapes, out=(5, 3), alpha=0.5) == plain | {PRODUCT: 15}
    assert price("Gemm", *shapes, out=(5, 3), alpha=0.5, beta=2.0) == plain | {PRODUCT: 30}


def test_recurrent_layers_with_biases() -> None:
    steps, samples, inputs, hidden = 5, 2, 3, 4
    units = steps * samples * hidden

    def found(kind: str, gates: int, **attributes: Any) -> dict[Kind, int]:
        shapes = (steps, samples, inputs), (1, gates * hidden, inputs), (1, gates * hidden, hidden)
        return price(kind, *shapes, (1, 2 * gates * hidden), out=(1,), hidden_size=hidden, **attributes)

    macs = units * (inputs + hidden)
    assert found("RNN", 1) == {MAC: macs, ADDITION: units, FUNCTION: units}
    gru = {MAC: 3 * macs, PRODUCT: 3 * units, ADDITION: 5 * units, FUNCTION: 3 * units}
    assert found("GRU", 3) == gru
    assert found("GRU", 3, linear_before_reset=1) == gru | {ADDITION: 6 * units}
    for attribute in ({"clip": 1.0}, {"input_forget": 1}):
        with pytest.raises(GraphError, match=next(iter(attribute))):
            found("LSTM", 4, **attribute)


@pytest.mark.parametrize(
    ("left", "right"),
    [((3,), (2, 3, 4)), ((2, 5, 3), (3,)), ((3,), (3,)), ((5, 3), (2, 3, 4)), ((2, 5, 3), (1, 3, 4))],
)
@pytest.mark.parametrize("constant", [True, False])
def test_events_in_products_of_stacks(left: tuple[int, ...], right: tuple[int, ...], constant: bool) -> None:
    chance = np.random.default_rng(0)
    events = (chance.random(left) < 0.4).astype(np.float32)
    values = chance.integers(-1, 2, size=right).astype(np.float32)
    node = helper.make_node("MatMul", ["events", "values"], ["output"])
    site = Site("site", node, {"values": values} if constant else {}, frozenset({"events"}))
    # A changing real tensor is there with all its values; of constant weights those that are not zero.
    there = (values != 0) if constant else np.ones(right, dtype=bool)
    met = np.matmul((events != 0).astype(np.int64), there.astype(np.int64)).sum()
    assert meetings(site, {"events": events, "values": values}) == met


def moved(layer) -> dict[str, int]:
    """Accesses of the first sample, those that occur."""
    return {name: int(numbers[0]) for name, numbers in vars(layer.traffic).items() if numbers.any()}


def test_a_dense_layer_reads_every_weight_for_every_value(tmp_path: Path) -> None:
    dense_graph(tmp_path / "graph.onnx", [6, 5, 4])
    part = count_onnx(tmp_path / "graph.onnx", reals(6))
    products = [layer for layer in part.layers if layer.synapses]
    assert [moved(layer) for layer in products] == [
        {"weight_reads": STEPS * 30, "activation_reads": STEPS * 6, "activation_writes": STEPS * 5},
        {"weight_reads": STEPS * 20, "activation_reads": STEPS * 5, "activation_writes": STEPS * 4},
    ]
    assert products[0].footprint == Footprint(weights=30, states=0, activations=6)
    functions = [layer for layer in part.layers if not layer.synapses]
    assert all(not layer.traffic.any for layer in functions)


def test_events_are_read_alone_and_fetch_only_the_weights_they_meet(tmp_path: Path) -> None:
    dense_graph(tmp_path / "graph.onnx", [6, 5])
    recording = events(6)
    layer = count_onnx(tmp_path / "graph.onnx", recording).layers[0]
    fired = recording.values.sum(axis=(0, 2)).astype(np.int64)
    assert layer.traffic.activation_reads.tolist() == fired.tolist()
    for accesses in (layer.traffic.weight_reads, layer.traffic.state_reads, layer.traffic.state_writes):
        assert accesses.tolist() == (5 * fired).tolist()
    assert layer.traffic.activation_writes.tolist() == [STEPS * 5] * SAMPLES
    assert layer.footprint == Footprint(weights=30, states=5, activations=6)  # the sums wait for the others


def test_an_lstm_reads_its_weights_each_step_and_keeps_two_states(tmp_path: Path) -> None:
    inputs, hidden, outputs = 6, 5, 4
    lstm_graph(tmp_path / "graph.onnx", inputs, hidden, outputs)
    part = count_onnx(tmp_path / "graph.onnx", reals(inputs))
    lstm = next(layer for layer in part.layers if layer.primitive == "LSTM")
    assert moved(lstm) == {
        "weight_reads": STEPS * (4 * hidden * (inputs + hidden) + 4 * hidden),
        "state_reads": STEPS * 2 * hidden,
        "state_writes": STEPS * hidden,
        "activation_reads": STEPS * inputs,
        "activation_writes": STEPS * hidden,
    }
    assert lstm.footprint.states == 2 * hidden


@pytest.mark.parametrize("shape", [[-1, 6], [-1, 1, 6], [0, 0, 2, 3]])
def test_of_a_sequence_the_values_of_one_step_are_kept_whatever_its_axes(
    tmp_path: Path, shape: list[int]
) -> None:
    inner = shape[-1]
    nodes = [
        helper.make_node("Reshape", ["input", "shape"], ["apart"]),
        helper.make_node("MatMul", ["apart", "w"], ["product"], name="product"),
        helper.make_node("Reshape", ["product", "together"], ["output"]),
    ]
    outputs = 6 // inner * 4
    constants = {
        "shape": np.array(shape),
        "w": np.ones((inner, 4), np.float32),
        "together": np.array([STEPS, -1, outputs]),
    }
    onnx_graph(tmp_path / "graph.onnx", nodes, constants, 6, outputs)
    for recording, sums in (reals(6), 0), (events(6), outputs):
        [layer] = count_onnx(tmp_path / "graph.onnx", recording).layers
        assert (layer.footprint.activations, layer.footprint.states) == (6, sums)


def test_a_table_that_is_looked_up_is_kept_and_read(tmp_path: Path) -> None:
    """An embedding: one row for each word, of which none is multiplied."""
    table = np.ones((7, 5), np.float32)
    table[0] = 0
    nodes = [
        helper.make_node("Cast", ["input"], ["words"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["words", "last"], ["line"]),
        helper.make_node("Gather", ["table", "line"], ["output"], name="embedding"),
    ]
    onnx_graph(tmp_path / "graph.onnx", nodes, {"last": np.array([2]), "table": table}, 1, 5)
    words = np.random.default_rng(0).integers(0, 7, size=(STEPS, SAMPLES, 1)).astype(np.float32)
    [layer] = count_onnx(tmp_path / "graph.onnx", Recording(words, Signal.GRADED, DT)).layers
    assert layer.name == "embedding"
    assert layer.footprint.weights == 6 * 5
    assert moved(layer) == {"weight_reads": STEPS * 5}
    assert not layer.per_sample.any


FLOATS = helper.make_node("Cast", ["product"], ["output"], to=TensorProto.FLOAT)


def quantised(path: Path, product: Any, weights: np.ndarray, zeros: np.ndarray, outputs: int) -> None:
    """Inputs rounded to tenths around 128, before a product of integers."""
    nodes = [
        helper.make_node("Transpose", ["input"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("QuantizeLinear", ["turned", "scale", "zero"], ["rounded"]),
        product,
        FLOATS,
    ]
    constants = {
        "scale": np.float32(0.1),
        "zero": np.uint8(128),
        "w": weights,
        "w_zero": zeros,
    }
    onnx_graph(path, nodes, constants, 6, outputs)


@pytest.mark.parametrize("zeros", [np.uint8(9), np.array([9], np.uint8), np.array([9, 3, 0, 9], np.uint8)])
def test_products_of_integers_are_left_out_where_a_value_is_its_zero_point(
    tmp_path: Path, zeros: np.ndarray
) -> None:
    weights = np.random.default_rng(0).choice(np.array([0, 3, 9, 12], np.uint8), size=(6, 4))
    product = helper.make_node("MatMulInteger", ["rounded", "w", "zero", "w_zero"], ["product"])
    quantised(tmp_path / "graph.onnx", product, weights, zeros, 4)
    recording = replace(reals(6), values=reals(6).values * (reals(6).values > 0))
    [layer] = [one for one in count_onnx(tmp_path / "graph.onnx", recording).layers if one.synapses]
    there = np.count_nonzero(weights != zeros)
    assert layer.synapses == there
    assert layer.footprint.weights == there + 1 + np.count_nonzero(zeros)  # zero points are kept too
    assert layer.per_sample.macs.tolist() == [STEPS * 24] * SAMPLES
    part = count_onnx(tmp_path / "graph.onnx", recording, skip_zeros=True)
    [layer] = [one for one in part.layers if one.synapses]
    met = (np.rint(recording.values * 10) != 0).astype(int) @ (weights != zeros).astype(int)
    assert layer.per_sample.macs.tolist() == met.sum(axis=(0, 2)).tolist()
    assert layer.per_step is not None
    assert layer.per_step.macs.tolist() == met.sum(axis=(1, 2)).tolist()


@pytest.mark.parametrize("skip_zeros", [False, True])
def test_inputs_at_the_zero_point_meet_nothing_in_a_convolution(tmp_path: Path, skip_zeros: bool) -> None:
    weights = np.random.default_rng(0).integers(0, 255, (4, STEPS, 3)).astype(np.uint8)
    product = helper.make_node("ConvInteger", ["rounded", "w", "zero", "zero"], ["product"], pads=[1, 1])
    quantised(tmp_path / "graph.onnx", product, weights, np.uint8(0), 6)
    silent = replace(reals(6), values=np.zeros_like(reals(6).values))
    part = count_onnx(tmp_path / "graph.onnx", silent, skip_zeros=skip_zeros)
    [layer] = [one for one in part.layers if one.synapses]
    assert layer.synapses == np.count_nonzero(weights != 128)
    macs = 0 if skip_zeros else 4 * STEPS * (6 * 3 - 2)
    assert layer.per_sample.macs.tolist() == [macs] * SAMPLES


@pytest.mark.parametrize(("zero", "arrives"), [(0, Signal.EVENTS), (1, Signal.REAL)])
def test_events_are_none_where_their_zero_is_another(tmp_path: Path, zero: int, arrives: Signal) -> None:
    nodes = [
        helper.make_node("Cast", ["input"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", ["bytes", "w", "zero"], ["product"]),
        FLOATS,
    ]
    constants = {"w": np.ones((6, 4), np.uint8), "zero": np.uint8(zero)}
    onnx_graph(tmp_path / "graph.onnx", nodes, constants, 6, 4)
    [layer] = [one for one in count_onnx(tmp_path / "graph.onnx", events(6)).layers if one.synapses]
    assert layer.arrives is arrives
    part = count_onnx(tmp_path / "graph.onnx", events(6), skip_zeros=True)
    [layer] = [one for one in part.layers if one.synapses]
    met = 4 * (events(6).values != zero).sum(axis=(0, 2))
    assert layer.per_sample.synaptic.tolist() == met.tolist()
    assert layer.arrives is arrives


def test_a_zero_point_that_changes_is_refused_with_its_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["input"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["input"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["zero"], to=TensorProto.UINT8),
        helper.make_node("MatMulInteger", ["bytes", "w", "zero"], ["product"], name="product"),
        FLOATS,
    ]
    onnx_graph(tmp_path / "graph.onnx", nodes, {"w": np.ones((6, 4), np.uint8)}, 6, 4)
    with pytest.raises(GraphError, match=r"zero point that is no constant") as caught:
        count_onnx(tmp_path / "graph.onnx", events(6))
    assert "product" in caught.value.message
