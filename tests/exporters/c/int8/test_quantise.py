"""From ONNX to 8 bits: the integers beside floating point, and how they are rounded."""

from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.exporters.c.int8.chain import read_chain
from nsc_deploy.exporters.c.int8.emulator import decide, emulate
from nsc_deploy.exporters.c.int8.network import Dense, Lstm, products_of
from tests.support.int8 import FLOAT_KINDS, OUTPUTS, code, network, reals


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
