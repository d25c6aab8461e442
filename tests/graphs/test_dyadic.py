from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.dyadic import EXACT_STEPS, snap

SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([1e-6, 0.01, 0.3, 1.0, 37.0, 1e6])


@settings(max_examples=40, deadline=None)
@given(SEEDS, SCALES, st.integers(1, 6), st.integers(1, 300), st.sampled_from([1, 3, 255]))
def test_sums_are_exact_in_any_order(seed, scale, outputs, inputs, largest):
    rng = np.random.default_rng(seed)
    snapped = snap(rng.normal(size=(outputs, inputs)) * scale, rng.normal(size=outputs), max_input=largest)
    x = rng.integers(0, largest + 1, inputs).astype(np.float32)
    for row, offset in zip(snapped.weight, snapped.bias, strict=True):
        terms = [*(row * x), offset]
        exact = float(sum(Fraction(float(term)) for term in terms))
        for _ in range(3):
            total = np.float32(0)
            for term in rng.permutation(terms):
                total = np.float32(total + term)
            assert float(total) == exact


@settings(max_examples=60, deadline=None)
@given(SEEDS, SCALES, st.integers(1, 5), st.integers(1, 200))
def test_snapping_moves_by_half_a_step_at_most_on_the_finest_grid_that_is_exact(seed, scale, outputs, inputs):
    weight = np.random.default_rng(seed).normal(size=(outputs, inputs)) * scale
    snapped = snap(weight)
    step = 2.0**-snapped.bits
    steps = snapped.weight.astype(np.float64) / step
    assert np.array_equal(steps, steps.round())
    assert np.abs(snapped.weight - weight).max() <= step / 2
    assert np.abs(steps).sum(axis=1).max() <= EXACT_STEPS
    assert np.abs(np.round(weight / step * 2)).sum(axis=1).max() > EXACT_STEPS or snapped.bits == 60
    again = snap(snapped.weight)
    np.testing.assert_array_equal(again.weight, snapped.weight)


def test_convolutions_count_every_tap_of_an_output():
    weight = np.full((2, 3, 5), 0.3)
    assert snap(weight).bits == snap(weight.reshape(2, 15)).bits
    assert snap(weight).weight.shape == (2, 3, 5)


def test_torch_and_numpy_agree_to_the_last_bit():
    rng = np.random.default_rng(0)
    weight = snap(rng.normal(size=(128, 540))).weight
    x = (rng.random((300, 540)) < 0.2).astype(np.float32)
    torch.manual_seed(0)
    theirs = (torch.from_numpy(x) @ torch.from_numpy(weight).T).numpy()
    shuffled = rng.permutation(540)
    np.testing.assert_array_equal(x @ weight.T, theirs)
    np.testing.assert_array_equal(x[:, shuffled] @ weight[:, shuffled].T, theirs)


def test_zeros_stay_zeros_and_nan_is_refused():
    assert not snap(np.zeros((2, 3)), np.zeros(2)).weight.any()
    with pytest.raises(GraphError):
        snap(np.array([[np.nan]]))
    with pytest.raises(GraphError):
        snap(np.eye(2), max_input=0)
