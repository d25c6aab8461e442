"""Factors in integers round as single precision does, for every sum."""

import numpy as np
import pytest

from nsc_deploy.exporters.c.int8.rounding import exact_factor, in_single_precision, nearest_factor


def in_integers(sums: np.ndarray, multiplier: int, shift: int, largest: int) -> np.ndarray:
    return np.clip((sums * multiplier + (1 << (shift - 1))) >> shift, 0, largest)


@pytest.mark.parametrize("largest", [1, 31, 127])
@pytest.mark.parametrize("size", [0.003, 0.01, 0.6, 40.0])
def test_every_sum_rounds_alike(largest: int, size: float) -> None:
    for factor in size * np.random.default_rng(largest).uniform(0.5, 1, 10):
        found = exact_factor(factor, largest)
        assert found is not None
        assert 2**30 <= found.multiplier < 2**31
        sums = np.arange(-1000, int(1.2 * largest / factor) + 1000)
        expected = in_single_precision(sums, factor, largest)
        np.testing.assert_array_equal(
            in_integers(sums, found.multiplier, found.shift, largest), expected, err_msg=str(factor)
        )
        assert expected.max() == largest


@pytest.mark.parametrize(("factor", "reach"), [(0.5, 100), (0.25, 20), (2.5, 1000)])
def test_halves_that_go_to_even_have_no_multiplier(factor: float, reach: int) -> None:
    assert exact_factor(factor, 31, reach) is None


def test_a_sum_that_never_comes_asks_for_nothing() -> None:
    assert exact_factor(0.25, 31, 1) is not None


def test_what_no_shift_reaches_is_none() -> None:
    for factor in (2.0**40, 2.0**-40):
        assert exact_factor(factor, 31) is nearest_factor(factor) is None
    near = nearest_factor(0.3)
    assert near is not None
    assert near.multiplier * 2.0**-near.shift == np.float32(0.3)
