import math

import pytest
import torch
from pydantic import ValidationError

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig

BITS = (torch.rand(50, 40, 100, generator=torch.Generator().manual_seed(0)) < 0.3).float()


def channel(kind, p, **fields):
    return BinaryChannel(BinaryChannelConfig(kind=kind, p=p, **fields))


def wrong(sender, sent_value):
    """Share of the bits of one value that arrive as the other, and their number."""
    received = sender(BITS, torch.Generator().manual_seed(1))
    assert set(received.unique().tolist()) <= {0.0, 1.0}
    of_value = sent_value == BITS
    return float((received != BITS)[of_value].double().mean()), int(of_value.sum())


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("p", [0.0, 0.15, 0.45, 1.0])
def test_error_rates_are_those_of_theory(p, value):
    # A guess is right half of the time: an erasure is an error with probability one half.
    senders = [(channel("bsc", p), p)]
    if p < 1:
        senders.append((channel("bec", p), p / 2))
    for sender, expected in senders:
        measured, count = wrong(sender, value)
        assert measured == pytest.approx(
            expected, abs=5 * math.sqrt(expected * (1 - expected) / count) + 1e-12
        )


@pytest.mark.parametrize("kind", ["bsc", "bec"])
def test_in_a_range_each_sample_has_a_probability_of_its_own(kind):
    bits = torch.zeros(40, 500, 50)
    errors = channel(kind, 0.1, p_to=0.4)(bits, torch.Generator().manual_seed(4)).mean(dim=(0, 2))
    share = 1 if kind == "bsc" else 0.5
    # Even from 0.1 to 0.4, and 2000 bits tell a sample's probability to about 0.01.
    assert float(errors.mean()) == pytest.approx(share * 0.25, abs=0.02)
    assert float(errors.min()) == pytest.approx(share * 0.1, abs=0.03)
    assert float(errors.max()) == pytest.approx(share * 0.4, abs=0.04)
    assert float(errors.std()) == pytest.approx(share * 0.3 / math.sqrt(12), abs=0.012)


def test_an_erased_bit_can_be_read_as_one_half():
    received = channel("bec", 0.3, erased="half")(BITS, torch.Generator().manual_seed(1))
    erased = received == 0.5
    assert float(erased.double().mean()) == pytest.approx(0.3, abs=0.01)
    assert torch.equal(received[~erased], BITS[~erased])


@pytest.mark.parametrize(
    "sender",
    [
        channel("bsc", 0.3),
        channel("bec", 0.3),
        channel("bec", 0.3, erased="half"),
        channel("bsc", 0, p_to=0.5),
    ],
)
def test_identity_to_gradients_and_the_same_whatever_the_batch(sender):
    bits = BITS.clone().requires_grad_()
    received = sender(bits, torch.Generator().manual_seed(2))
    weight = torch.randn(bits.shape, generator=torch.Generator().manual_seed(3))
    (received * weight).sum().backward()
    assert torch.equal(bits.grad, weight)
    one = torch.Generator().manual_seed(2)
    assert torch.equal(torch.cat([sender(part, one) for part in BITS.split(7, dim=1)], dim=1), received)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"p": -0.1}, "greater than or equal to 0"),
        ({"p": 1.1}, "less than or equal to 1"),
        ({"p": math.nan}, "finite number"),
        ({"p": 0.3, "p_to": 0.2}, "p_to 0.2 is not above p 0.3"),
        ({"p": 0.5}, "tells nothing of what was sent"),
    ],
)
def test_refuses_what_is_no_probability_or_says_nothing(fields, told):
    with pytest.raises(ValidationError, match=told):
        BinaryChannelConfig(kind="bsc", **fields)


def test_a_bec_that_loses_half_still_says_something():
    assert BinaryChannelConfig(kind="bec", p=0.5).p == 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_refused(dtype):
    """As which every draw would be 0, and every bit wrong."""
    with pytest.raises(TypeError, match=r"take \.float"):
        channel("bsc", 0.001)(torch.ones(1, 4, 8, dtype=dtype), torch.Generator().manual_seed(0))
