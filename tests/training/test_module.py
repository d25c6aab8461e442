import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.speech import TrainingConfig
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.module import (
    classification_loss,
    decide,
    first_largest,
    spike_rate_loss,
    training_snr,
)


def test_the_classification_loss_is_the_squared_distance_to_the_one_hot_label() -> None:
    votes = torch.tensor([[[0.0, 1.0]], [[0.5, 0.5]]])  # mean over time: 0.25, 0.75
    assert float(classification_loss(votes, torch.tensor([1]))) == pytest.approx(0.25**2)
    assert float(classification_loss(votes, torch.tensor([0]))) == pytest.approx(0.75**2)


def test_the_spike_rate_loss_is_the_mean_squared_count_of_a_sample() -> None:
    symbols = torch.zeros(6, 2, 2)
    symbols[:3, 0, 0] = 1  # 3 spikes; the other three trains are silent
    symbols[:1, 1, 1] = 1  # 1 spike
    assert float(spike_rate_loss(symbols)) == pytest.approx((9 + 0 + 0 + 1) / 4)


def test_the_spike_rate_loss_does_not_depend_on_how_samples_are_batched() -> None:
    symbols = (torch.rand(10, 8, 5, generator=stream(0, "symbols")) < 0.3).float()
    halves = torch.stack([spike_rate_loss(symbols[:, :4]), spike_rate_loss(symbols[:, 4:])]).mean()
    assert float(spike_rate_loss(symbols)) == pytest.approx(float(halves))
    assert float(spike_rate_loss(symbols.repeat(1, 3, 1))) == pytest.approx(float(spike_rate_loss(symbols)))


def test_the_weight_of_the_poster_is_about_the_batch_size_squared_times_ours() -> None:
    one = (torch.rand(15, 1, 128, generator=stream(0, "symbols")) < 0.3).float()
    batch = one.repeat(1, 64, 1)
    poster = batch.sum((0, 1)).square().mean()  # its code counts over the whole batch
    assert float(poster) == pytest.approx(64**2 * float(spike_rate_loss(batch)), rel=1e-5)


def test_training_begins_on_a_better_channel_and_falls_to_its_own() -> None:
    config = TrainingConfig(epochs=20, snr_start_db=10, snr_warmup=0.5)
    bad, ranged = ChannelConfig(snr_db=-10), ChannelConfig(snr_db=-10, snr_to_db=14)
    assert [training_snr(bad, config, epoch)[0] for epoch in (0, 5, 10, 19)] == [10, 0, -10, -10]
    assert [training_snr(ranged, config, epoch) for epoch in (0, 5, 10)] == [(10, 14), (0, 14), (-10, 14)]
    good = ChannelConfig(snr_db=20)
    assert {training_snr(good, config, epoch) for epoch in range(20)} == {(20, None)}  # never on a worse one


def test_the_first_of_equals_wins() -> None:
    scores = torch.tensor([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, 1.0, 3.0]])
    assert first_largest(scores).tolist() == [1, 0, 2]
    votes = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert decide(votes).tolist() == [0]


def test_streams_of_different_places_and_purposes_are_different() -> None:
    seeds = {
        stream_seed(seed, purpose, *place)
        for seed in (1, 11)
        for purpose in ("order", "channel")
        for place in ((), (1,), (1, 1), (11,), (1, 1, 1))
    }
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=stream(1, "a", 2)), torch.rand(3, generator=stream(1, "a", 2)))
