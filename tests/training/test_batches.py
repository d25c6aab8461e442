import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nsc_deploy.data import EventSet
from nsc_deploy.training.batches import Samples, ShuffledBatches, ordered_loader, shuffled_loader, to_signal


def some_events(samples: int) -> EventSet:
    chance = np.random.default_rng(0)
    return EventSet(
        chance.integers(0, 2, (samples, 4, 3), dtype=np.uint8), np.arange(samples, dtype=np.int64)
    )


@settings(max_examples=40, deadline=None)
@given(samples=st.integers(4, 60), size=st.integers(1, 40), world=st.integers(1, 4), epoch=st.integers(0, 5))
def test_processes_together_see_the_batches_of_one_process(
    samples: int, size: int, world: int, epoch: int
) -> None:
    size *= world
    samples += world
    alone = ShuffledBatches(samples, size, 1, world=1)
    shares = [ShuffledBatches(samples, size, 1, rank=rank, world=world) for rank in range(world)]
    for batches in [alone, *shares]:
        batches.set_epoch(epoch)
    together = zip(*shares, strict=True)
    if samples % world == 0 or size <= samples:
        for whole, parts in zip(alone, together, strict=True):
            assert sorted(whole.tolist()) == sorted(torch.cat(parts).tolist())
            assert len({len(part) for part in parts}) == 1


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        batches = ShuffledBatches(50, 10, seed)
        batches.set_epoch(epoch)
        return torch.cat(list(batches)).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)
    assert sorted(order(1, 2)) == list(range(50))


def test_an_incomplete_batch_is_left_for_another_epoch() -> None:
    batches = ShuffledBatches(25, 10, 0)
    assert [len(batch) for batch in batches] == [10, 10]
    assert len(batches) == 2


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(batch) for batch in ShuffledBatches(7, 64, 0)] == [7]


def test_loaders_give_the_samples_that_belong_to_the_labels() -> None:
    part = some_events(20)
    for loader in (shuffled_loader(Samples(part), ShuffledBatches(20, 5, 0)), ordered_loader(Samples(part))):
        seen = []
        for events, labels in loader:
            assert np.array_equal(events.numpy(), part.events[labels.numpy()])
            seen += labels.tolist()
        assert sorted(seen) == list(range(20))


def test_a_signal_is_time_first_and_float() -> None:
    part = some_events(5)
    signal = to_signal(torch.from_numpy(part.events))
    assert signal.shape == (4, 5, 3)
    assert signal.dtype == torch.float32
    assert np.array_equal(signal[2, 3].numpy(), part.events[3, 2])
