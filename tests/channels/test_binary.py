import math

import pytest
import torch

from nsc_deploy.channels.binary import BinaryErasureChannel, BinarySymmetricChannel
from nsc_deploy.errors import ConfigError

BITS = (torch.rand(50, 40, 100, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def wrong(channel, sent_value):
    """Share of the bits of one value that arrive as the other, and their number."""
    received = channel(BITS, torch.Generator().manual_seed(1))
    assert set(received.unique().tolist()) <= {0.0, 1.0}
    of_value = sent_value == BITS
    return float((received != BITS)[of_value].double().mean()), int(of_value.sum())


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("p", [0.0, 0.15, 0.5, 1.0])
def test_error_rates_are_those_of_theory(p, value):
    # A guess is right half of the time: an erasure is an error with probability one half.
    for channel, expected in [(BinarySymmetricChannel(p), p), (BinaryErasureChannel(p), p / 2)]:
        measured, count = wrong(channel, value)
        assert measured == pytest.approx(
            expected, abs=5 * math.sqrt(expected * (1 - expected) / count) + 1e-12
        )


@pytest.mark.parametrize("channel", [BinarySymmetricChannel(0.3), BinaryErasureChannel(0.3)])
def test_identity_to_gradients_and_the_same_whatever_the_batch(channel):
    bits = BITS.clone().requires_grad_()
    received = channel(bits, torch.Generator().manual_seed(2))
    weight = torch.randn(bits.shape, generator=torch.Generator().manual_seed(3))
    (received * weight).sum().backward()
    assert torch.equal(bits.grad, weight)
    one = torch.Generator().manual_seed(2)
    assert torch.equal(torch.cat([channel(part, one) for part in BITS.split(7, dim=1)], dim=1), received)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_refuses_what_is_no_probability(p):
    for channel in (BinarySymmetricChannel, BinaryErasureChannel):
        with pytest.raises(ConfigError):
            channel(p)
