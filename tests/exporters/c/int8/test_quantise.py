"""From ONNX to 8 bits: the emulator beside floating point, and what is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.exporters.c.int8.network import Dense, Lstm, decide, emulate
from nsc_deploy.exporters.c.int8.quantise import quantise
from nsc_deploy.graphs.onnx_run import run_onnx
from tests.support.small_runs import dense_graph, lstm_graph, onnx_graph

STEPS, SAMPLES, INPUTS, OUTPUTS = 12, 6, 7, 6


def reals(seed: int = 0, samples: int = SAMPLES) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.7, (STEPS, samples, INPUTS)).astype(np.float32)


def graph(folder: Path, kind: str) -> Path:
    path = folder / f"{kind}.onnx"
    if kind == "lstm":
        lstm_graph(path, INPUTS, 9, OUTPUTS)
    else:
        dense_graph(path, [INPUTS, 18, 11, OUTPUTS])
    return path


@pytest.mark.parametrize("kind", ["dense", "lstm"])
def test_whole_numbers_follow_floating_point(kind: str, tmp_path: Path) -> None:
    path = graph(tmp_path, kind)
    network = quantise(path, reals(1, 40), classes=3, group=2)
    values = reals(2)
    found = emulate(network, network.quantised(values)) * network.output_scale
    expected = run_onnx(path, values)
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.06
    votes = expected.mean(axis=0).reshape(SAMPLES, 3, 2).sum(axis=2)
    first, second = np.sort(votes, axis=1)[:, -1], np.sort(votes, axis=1)[:, -2]
    clear = first - second > 0.03 * np.abs(votes).max()
    assert clear.sum() >= 3
    decided = decide(network, emulate(network, network.quantised(values)))
    np.testing.assert_array_equal(decided[clear], votes.argmax(axis=1)[clear])


def test_each_row_has_a_factor_of_its_own(tmp_path: Path) -> None:
    network = quantise(graph(tmp_path, "dense"), reals(), classes=3, group=2)
    assert [type(layer) for layer in network.layers] == [Dense, Dense, Dense]
    for _, _, product in network.products:
        assert (np.abs(product.weight.astype(int)).max(axis=1) == 127).all()
        assert len(set(product.multiplier.tolist())) > 1
    assert [layer.low for layer in network.layers if isinstance(layer, Dense)] == [0, 0, 0]
    cells = quantise(graph(tmp_path, "lstm"), reals(), classes=3, group=2)
    assert [type(layer) for layer in cells.layers] == [Lstm, Dense]


def test_an_operator_without_a_form_is_named(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["sum"], name="first"),
        helper.make_node("Sigmoid", ["sum"], ["output"], name="squash"),
    ]
    onnx_graph(tmp_path / "s.onnx", nodes, {"w": np.ones((INPUTS, 6), np.float32)}, INPUTS, 6)
    with pytest.raises(GraphError, match=r"'squash' \(Sigmoid\): has no form in 8 bits") as caught:
        quantise(tmp_path / "s.onnx", reals(), classes=3, group=2)
    assert caught.value.hint is not None


def test_inputs_and_classes_have_to_fit(tmp_path: Path) -> None:
    path = graph(tmp_path, "dense")
    with pytest.raises(ConfigError, match="none of this graph"):
        quantise(path, reals()[..., :3], classes=3, group=2)
    with pytest.raises(ConfigError, match="gives out 6 values, not 10"):
        quantise(path, reals(), classes=5, group=2)
    assert onnx.load(path).graph.node
