from pathlib import Path

import numpy as np

from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import Footprint
from tests.support.small_runs import SAMPLES, STEPS, dense_graph, events, lstm_graph, reals


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
