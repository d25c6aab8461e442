import numpy as np
import pytest

from nsc_deploy.energy.counting.inputs import nonzero, nonzero_and_fan_out, refuse_foreign
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.network import Signal


@pytest.mark.parametrize("heaviest", [3, 2**29, 2**31, 2**60])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_sums_are_exact_however_heavy_the_weights(heaviest: int, kind: type) -> None:
    chance = np.random.default_rng(0)
    values = (chance.random((3, 4, 5)) < 0.5).astype(kind)
    weights = np.array([heaviest, 0, 1, heaviest, 7], dtype=np.int64)
    numbers, sums = nonzero_and_fan_out(values, weights)
    expected = [
        [sum(int(weight) for weight, value in zip(weights, row, strict=True) if value) for row in step]
        for step in values
    ]
    assert sums.tolist() == expected
    assert numbers.tolist() == nonzero(values).tolist() == np.count_nonzero(values, axis=2).tolist()


def test_graded_values_count_once() -> None:
    values = np.array([[[0.0, -2.5, 3.0]]], dtype=np.float32)
    assert nonzero_and_fan_out(values, np.array([1, 10, 100]))[1].tolist() == [[110]]


def test_graded_values_are_whole_numbers() -> None:
    refuse_foreign(np.array([-2.0, 0.0, 3.0]), Signal.GRADED, "input")
    refuse_foreign(np.array([0.5]), Signal.REAL, "input")
    with pytest.raises(DataError, match="input 'it': holds values that are no whole numbers"):
        refuse_foreign(np.array([0.0, 0.5]), Signal.GRADED, "it")
