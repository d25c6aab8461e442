"""Event sets and the validation split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.data import EventSet, validation_split
from nsc_deploy.errors import DataError


def numbered(counts: list[int]) -> EventSet:
    """Samples that carry their own number in their events, with `counts[k]` of class k, mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    events = (np.arange(len(labels))[:, None, None] >> np.arange(12)[None, None, :]) & 1
    return EventSet(events.astype(np.uint8), labels.astype(np.int64))


def numbers(part: EventSet) -> list[int]:
    return [int(number) for number in (part.events[:, 0].astype(int) << np.arange(12)).sum(axis=1)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=6),
    st.floats(0.01, 0.99),
    st.integers(0, 2**32 - 1),
)
def test_validation_split_divides_every_class_alike(counts: list[int], fraction: float, seed: int) -> None:
    whole = numbered(counts)
    rest, held_out = validation_split(whole, fraction, seed)
    assert sorted(numbers(rest) + numbers(held_out)) == list(range(sum(counts)))
    assert numbers(rest) == sorted(numbers(rest))
    for label, count in enumerate(counts):
        kept = int((held_out.labels == label).sum())
        assert 1 <= kept <= count - 1
        assert abs(kept - fraction * count) <= 1
    assert numbers(validation_split(whole, fraction, seed)[1]) == numbers(held_out)


def test_another_seed_gives_another_cut() -> None:
    whole = numbered([50, 50])
    assert numbers(validation_split(whole, 0.2, 0)[1]) != numbers(validation_split(whole, 0.2, 1)[1])


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_that_leaves_a_part_empty_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="not between 0 and 1"):
        validation_split(numbered([5, 5]), fraction, 0)


def test_a_class_with_one_sample_cannot_be_shared() -> None:
    with pytest.raises(DataError, match="class 1 has 1 training sample"):
        validation_split(numbered([5, 1]), 0.5, 0)


def test_labels_must_fit_the_events() -> None:
    with pytest.raises(DataError, match="do not fit"):
        EventSet(np.zeros((3, 2, 2), np.uint8), np.zeros(2, np.int64))
