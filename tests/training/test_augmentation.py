import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.config.speech import TrainingConfig
from nsc_deploy.training.batches import (
    Share,
    augment,
    lose_events,
    shift_in_time,
    silence_channels,
    stream,
)

NOTHING = TrainingConfig(time_shift=0, channel_dropout=0, event_dropout=0)


def some_events(steps: int = 9, samples: int = 40, channels: int = 30) -> torch.Tensor:
    return (torch.rand(steps, samples, channels, generator=stream(0, "events")) < 0.4).float()


@settings(max_examples=20, deadline=None)
@given(largest=st.integers(1, 12), seed=st.integers(0, 50))
def test_each_sample_is_moved_as_a_whole_by_an_allowed_shift(largest: int, seed: int) -> None:
    events = some_events()
    moved = shift_in_time(events, largest, stream(seed, "shift"))
    for sample in range(events.shape[1]):
        assert any(
            torch.equal(moved[:, sample], slid(events[:, sample], shift))
            for shift in range(-largest, largest + 1)
        )


def slid(events: torch.Tensor, shift: int) -> torch.Tensor:
    """A plain definition: what was at step t is at step t + shift."""
    result = torch.zeros_like(events)
    for step in range(len(events)):
        if 0 <= step + shift < len(events):
            result[step + shift] = events[step]
    return result


def test_shifts_differ_between_samples_and_go_both_ways() -> None:
    marker = torch.zeros(21, 200, 1)
    marker[10] = 1
    places = shift_in_time(marker, 3, stream(1, "shift")).argmax(0).flatten()
    assert set(places.tolist()) == set(range(7, 14))


def test_a_silenced_channel_is_silent_in_every_step() -> None:
    events = torch.ones(5, 300, 20)
    heard = silence_channels(events, 0.25, stream(0, "channels"))
    assert torch.equal(heard.min(0).values, heard.max(0).values)
    assert abs(float(heard.mean()) - 0.75) < 0.02


def test_events_are_lost_one_by_one_and_none_appears() -> None:
    events = some_events(20, 100, 50)
    kept = lose_events(events, 0.1, stream(0, "loss"))
    assert torch.all(kept <= events)
    assert abs(float(kept.sum() / events.sum()) - 0.9) < 0.01


def test_nothing_asked_for_changes_nothing_and_draws_nothing() -> None:
    events, chance = some_events(), stream(0, "none")
    before = chance.get_state()
    assert augment(events, NOTHING, chance) is events
    assert torch.equal(chance.get_state(), before)


@pytest.mark.parametrize("world", [2, 5])
def test_a_sample_is_changed_alike_whatever_the_number_of_processes(world: int) -> None:
    config = TrainingConfig(time_shift=2, channel_dropout=0.3, event_dropout=0.1)
    events = some_events()
    whole = augment(events, config, stream(3, "all"))
    for rank in range(world):
        share = augment(events[:, rank::world], config, stream(3, "all"), Share(rank, world))
        assert torch.equal(share, whole[:, rank::world])


def test_all_together_are_binary_and_repeatable() -> None:
    config = TrainingConfig(time_shift=2, channel_dropout=0.1, event_dropout=0.1)
    first, again, other = (augment(some_events(), config, stream(seed, "all")) for seed in (1, 1, 2))
    assert set(first.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
