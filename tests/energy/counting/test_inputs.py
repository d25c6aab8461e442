import numpy as np
import pytest

from nsc_deploy.energy.counting.inputs import nonzero, nonzero_and_fan_out


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
