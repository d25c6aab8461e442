"""Events coded apart from the channel: without loss, whole or silent, and every channel use counted."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from nsc_deploy.channels.coding.convolutional import coded_length
from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.separate import CodedLink, compress, restore

FRAME, TAPS, STEPS, LINES = 64, 4, 12, 30


def events(samples=40, rate=0.1):
    drawn = torch.rand(STEPS, samples, LINES, generator=torch.Generator().manual_seed(0))
    return (drawn < rate).float()


def link(snr_db):
    return CodedLink(ChannelConfig(snr_db=snr_db, taps=TAPS), FRAME).eval()


def noise(seed=1):
    return torch.Generator().manual_seed(seed)


def lost(sent, received):
    """Which samples did not arrive as they were."""
    return (received != sent).any(2).any(0)


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 40)), elements=st.integers(0, 1)))
def test_compression_loses_nothing_whatever_follows_the_stream(sample):
    filled = np.concatenate([compress(sample), np.zeros(13, np.uint8)])
    assert np.array_equal(restore(filled, sample.shape), sample)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1), max_size=300), st.integers(0, 2**31))
def test_no_stream_breaks_the_receiver(noise_bits, seed):
    stream = compress(np.random.default_rng(seed).integers(0, 2, (5, 9)).astype(np.uint8))
    hit = min(len(noise_bits), len(stream))
    stream[:hit] ^= np.array(noise_bits[:hit], np.uint8)
    found = restore(stream, (5, 9))
    assert found is None or found.shape == (5, 9)


def test_a_stream_that_grows_without_end_is_no_sample():
    bomb = np.unpackbits(np.frombuffer(zlib.compress(bytes(10_000_000), 9), np.uint8))
    assert restore(bomb, (5, 9)) is None


def test_all_arrives_without_noise_and_nothing_in_it():
    sent = events()
    assert torch.equal(link(200)(sent, noise()), sent)
    received = link(-10)(sent, noise())
    assert lost(sent, received).all()
    assert received.sum() == 0


def test_between_them_a_sample_arrives_whole_or_is_silent():
    sent = events()
    received = link(1)(sent, noise())
    missing = lost(sent, received)
    assert 0 < missing.float().mean() < 1
    assert received[:, missing].sum() == 0


def test_what_arrives_does_not_depend_on_the_batch():
    sent, generator = events(), noise()
    alone = torch.cat([link(1)(sent[:, index : index + 1], generator) for index in range(40)], 1)
    assert torch.equal(alone, link(1)(sent, noise()))


def test_training_meets_events_as_they_are():
    sent = events().requires_grad_()
    one = link(-10).train()
    assert torch.equal(one(sent, noise()), sent)


def test_every_channel_use_is_counted():
    one, sent = link(10), events()
    lengths = one.message_bits(sent)
    streams = [len(compress(sent[:, index].numpy())) for index in range(sent.shape[1])]
    for stream, bits in zip(streams, lengths, strict=True):
        frames = -(-coded_length(stream) // FRAME)
        assert stream <= bits
        assert coded_length(bits) <= frames * FRAME < coded_length(bits) + 3
        assert one.uses(bits) == frames * (FRAME + TAPS - 1)


@pytest.mark.parametrize("frame", [1, 2, 3, 7, 128])
def test_frames_of_any_length_carry_a_message(frame):
    one = CodedLink(ChannelConfig(snr_db=200, taps=1), frame).eval()
    sent = events(samples=2)
    assert torch.equal(one(sent, noise()), sent)
