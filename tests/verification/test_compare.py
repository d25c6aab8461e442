"""Comparing two runs: each figure against a hand-made case and against its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nsc_deploy.errors import DataError
from nsc_deploy.verification import Divergence, measure_parity

SHAPE = (3, 2, 4)
runs = arrays(np.uint8, SHAPE, elements=st.integers(0, 1))


def one_spike(*places: tuple[int, int, int]) -> np.ndarray:
    spikes = np.zeros(SHAPE, np.uint8)
    for place in places:
        spikes[place] = 1
    return spikes


def test_equal_runs() -> None:
    spikes = one_spike((0, 0, 1), (2, 1, 3))
    parity = measure_parity(spikes, spikes, readout=(2, 2), labels=np.array([0, 1]))
    assert parity.coincidence == parity.rate_cosine == parity.agreement == 1.0
    assert parity.reference_accuracy == parity.other_accuracy == 1.0
    assert parity.first_divergence is None


def test_a_spike_one_step_late_keeps_the_rates_and_loses_the_coincidence() -> None:
    parity = measure_parity(one_spike((0, 0, 1), (0, 1, 0)), one_spike((1, 0, 1), (0, 1, 0)))
    assert parity.rate_cosine == 1.0
    assert parity.coincidence == pytest.approx(1 / 3)
    assert parity.first_divergence == Divergence(sample=0, step=0, neuron=1, reference=True, other=False)
    assert parity.agreement is None
    assert parity.reference_accuracy is None


def test_silence_on_one_side_and_on_both() -> None:
    silent = np.zeros(SHAPE, np.uint8)
    assert measure_parity(silent, silent).rate_cosine == measure_parity(silent, silent).coincidence == 1.0
    parity = measure_parity(one_spike((2, 1, 0)), silent)
    assert parity.rate_cosine == 0.5, "the first sample is silent in both, the second in one"
    assert parity.coincidence == 0.0
    assert parity.first_divergence == Divergence(1, 2, 0, reference=True, other=False)


def test_decisions_against_labels() -> None:
    reference = one_spike((0, 0, 3), (0, 1, 0))
    other = one_spike((0, 0, 3), (0, 1, 2))
    parity = measure_parity(reference, other, readout=(2, 2), labels=np.array([1, 0]))
    assert (parity.reference_accuracy, parity.other_accuracy, parity.agreement) == (1.0, 0.5, 0.5)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="cannot be compared"):
        measure_parity(np.zeros(SHAPE), np.zeros((3, 2, 5)))
    with pytest.raises(DataError, match="labels for 2 samples"):
        measure_parity(np.zeros(SHAPE), np.zeros(SHAPE), labels=np.zeros(3, np.int64))


@settings(max_examples=50, deadline=None)
@given(runs, runs)
def test_definitions(one: np.ndarray, two: np.ndarray) -> None:
    parity = measure_parity(one, two)
    both = sum(a and b for a, b in zip(one.flat, two.flat, strict=True))
    either = sum(a or b for a, b in zip(one.flat, two.flat, strict=True))
    assert parity.coincidence == (both / either if either else 1.0)
    cosines = []
    for sample in range(SHAPE[1]):
        a, b = one[:, sample].sum(axis=0).astype(float), two[:, sample].sum(axis=0).astype(float)
        if not a.any() or not b.any():
            cosines.append(1.0 if not a.any() and not b.any() else 0.0)
        else:
            cosines.append(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert parity.rate_cosine == pytest.approx(np.mean(cosines))
    assert (parity.first_divergence is None) == bool((one == two).all())
    mirrored = measure_parity(two, one)
    assert mirrored.coincidence == parity.coincidence
    assert mirrored.rate_cosine == pytest.approx(parity.rate_cosine)
