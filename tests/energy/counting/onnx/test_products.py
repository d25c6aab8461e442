"""What ONNX operators with weights cost, and what they read and write."""

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
    [layer] = count_onnx(tmp_path / "graph.onnx", reals(6)).layers
    assert layer.footprint.activations == 6


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
