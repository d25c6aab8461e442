"""From ONNX to 8 bits: the integers beside floating point, and how they are rounded."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.emulator import count_cut_off, decide, emulate
from nsc_deploy.exporters.c.int8.layers import Chain, FloatDense, FloatLstm
from nsc_deploy.exporters.c.int8.network import Dense, Int8Network, Lstm, products_of
from nsc_deploy.exporters.c.int8.quantise import choose_ranges, notes_on_ranges, quantise
from tests.support.int8 import FLOAT_KINDS, INPUTS, OUTPUTS, code, network, reals


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_whole_numbers_follow_floating_point(kind: str, tmp_path: Path) -> None:
    made = code(tmp_path, kind)
    values = reals(kind, 2)
    found, expected = made.emulate(values).output, made.network.run(values)
    assert found.shape == expected.shape
    error = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.06
    votes = expected.mean(axis=0).reshape(-1, 3, 2).sum(axis=2)
    first, second = np.sort(votes, axis=1)[:, -1], np.sort(votes, axis=1)[:, -2]
    clear = first - second > 0.06 * np.abs(votes).max()
    assert clear.sum() >= 2
    decided = decide(made.int8, emulate(made.int8, made.entering(values)))
    np.testing.assert_array_equal(decided[clear], votes.argmax(axis=1)[clear])


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_layers_in_floating_point_are_those_of_onnxruntime(kind: str, tmp_path: Path) -> None:
    read, values = network(tmp_path, kind), reals(kind, 3)
    chain = read_chain(read, kind)
    flowing = chain.entering(values).astype(np.float64)
    for layer in chain.layers:
        flowing = layer.run(flowing)
    np.testing.assert_allclose(flowing.reshape(*flowing.shape[:2], OUTPUTS), read.run(values), atol=2e-5)


def test_each_row_has_a_factor_of_its_own(tmp_path: Path) -> None:
    layers = code(tmp_path, "dense").int8.layers
    assert [type(layer) for layer in layers] == [Dense, Dense, Dense]
    for layer in layers:
        for _, product in products_of(layer):
            assert (np.abs(product.weight.astype(int)).max(axis=1) == 127).all()
            assert len(set(product.multiplier.tolist())) > 1
    assert [layer.low for layer in layers if isinstance(layer, Dense)] == [0, 0, 0]
    assert [type(layer) for layer in code(tmp_path, "lstm").int8.layers] == [Lstm, Dense]


def two_layers(*, size: float = 1.0, bias: float = 0.0) -> Chain:
    """A ReLU layer whose first row has weights of another size, and a layer behind it."""
    chance = np.random.default_rng(3)
    first = chance.normal(size=(5, INPUTS))
    first[0] *= size
    shift = np.append(0.0, np.full(4, bias))
    layers = (
        FloatDense("hidden", first, shift, relu=True),
        FloatDense("out", chance.normal(size=(3, 5)), np.ones(3)),
    )
    return Chain(layers, None)


def close(chain: Chain, network: Int8Network, values: np.ndarray) -> bool:
    expected = chain.entering(values).astype(np.float64)
    for layer in chain.layers:
        expected = layer.run(expected)
    found = emulate(network, network.quantised(values)) * network.output_scale
    return bool(np.abs(found - expected).max() < 0.05 * np.abs(expected).max())


@pytest.mark.parametrize("size", [0.0, 1e-13, 1e-30, 1e-300])
def test_a_row_that_is_pruned_gives_0(size: float) -> None:
    chain, values = two_layers(size=size), reals(seed=4)
    made = quantise(chain, choose_ranges(chain, values))
    hidden = made.layers[0]
    assert isinstance(hidden, Dense)
    assert not hidden.product.of(np.full((1, INPUTS), 127))[0, 0]
    assert hidden.product.multiplier.min() >= 2**30
    assert hidden.product.shift.max() <= 62
    assert close(chain, made, values)


def test_a_small_network_keeps_its_numbers() -> None:
    chain, values = two_layers(), 1e-12 * reals(seed=4)
    small = Chain((FloatDense("out", 1e-12 * chain.layers[0].weight, np.zeros(5)),), None)
    assert close(small, quantise(small, choose_ranges(small, values)), values)


def test_a_layer_that_nothing_stirs_takes_the_range_of_its_sums() -> None:
    chain, values = two_layers(size=0.0, bias=-50.0), reals(seed=4)
    ranges = choose_ranges(chain, values)
    assert ranges.silent == ("hidden",)
    assert 45 < ranges.behind[0] < 65
    made = quantise(chain, ranges)
    assert close(chain, made, values)
    (note,) = notes_on_ranges(made, ranges, values)
    assert (note.kind, note.node, note.exact) == ("silent", "hidden", False)


def test_sums_that_cancel_have_no_range() -> None:
    weight = np.array([[1.0, -1.0]])
    chain = Chain((FloatDense("equal", weight, np.full(1, 1e-12)),), None)
    with pytest.raises(GraphError, match="'equal': gives out values that are too small") as caught:
        quantise(chain, choose_ranges(chain, np.ones((2, 2, 2))))
    assert "--calibration" in str(caught.value.hint)


def test_values_beyond_their_ranges_are_counted() -> None:
    chain, values = two_layers(), reals(seed=4)
    ranges = choose_ranges(chain, values)
    made = quantise(chain, ranges)
    assert notes_on_ranges(made, ranges, values) == []
    notes = notes_on_ranges(made, ranges, 2 * values)
    assert [(note.kind, note.node, note.exact) for note in notes] == [
        ("cut-off", name, False) for name in (None, "hidden", "out")
    ]
    beyond = int((np.abs(2 * values) > 127.5 / 127 * np.abs(values).max()).sum())
    assert f"cuts off {beyond} values of {values.size:,} that enter on recorded inputs" in notes[0].text
    assert notes[0].error == beyond / values.size


def test_full_cells_are_counted() -> None:
    """A cell that lets everything in and forgets nothing is full at 16."""
    cell = FloatLstm("cells", np.ones((4, INPUTS)), np.zeros((4, 1)), np.full(4, 8.0))
    values = np.ones((40, 2, INPUTS))
    chain = Chain((cell,), None)
    made = quantise(chain, choose_ranges(chain, values))
    assert count_cut_off(made, values) == [(0, 40 * 2 * INPUTS), (2 * 24, 40 * 2)]
