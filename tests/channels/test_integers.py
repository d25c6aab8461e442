import pytest
import torch

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.integers import IntegerLink

BITS, SYMBOLS = 5, 20


def numbers() -> torch.Tensor:
    drawn = torch.randint(0, 2**BITS, (2, 50, SYMBOLS), generator=torch.Generator().manual_seed(0))
    return drawn.float()


def sent(snr_db: float) -> torch.Tensor:
    link = IntegerLink(ChannelConfig(snr_db=snr_db, taps=4), BITS)
    return link(numbers(), torch.Generator().manual_seed(1))


def test_numbers_arrive_as_they_are_where_there_is_no_noise() -> None:
    assert torch.equal(sent(200), numbers())


def test_numbers_may_lie_in_any_order_in_memory() -> None:
    link = IntegerLink(ChannelConfig(snr_db=200, taps=4), BITS)
    turned = numbers().transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(link(turned, torch.Generator().manual_seed(1)), numbers())


def test_noise_flips_bits_of_equal_weight_alike() -> None:
    arrived = sent(0)
    assert set(arrived.unique().tolist()) <= set(range(2**BITS))
    flipped = arrived.int() ^ numbers().int()
    shares = [float((flipped >> place & 1).float().mean()) for place in range(BITS)]
    # MMSE equalisers over 4 Rayleigh taps at 0 dB: between no error and coin tosses, the same for each plane.
    assert all(0.05 < share < 0.3 for share in shares)
    assert max(shares) - min(shares) < 0.06


def test_a_bit_is_a_channel_use_and_each_plane_has_its_guard_interval() -> None:
    link = IntegerLink(ChannelConfig(snr_db=10, taps=4), BITS)
    assert link.uses_per_step(SYMBOLS) == BITS * (SYMBOLS + 3)
    assert link.output_size(SYMBOLS) == SYMBOLS


def test_the_gradient_passes_as_if_nothing_had_happened() -> None:
    values = numbers().requires_grad_()
    link = IntegerLink(ChannelConfig(snr_db=0, taps=4), BITS)
    (link(values, torch.Generator().manual_seed(1)) * 3).sum().backward()
    assert values.grad is not None
    assert values.grad.unique().tolist() == pytest.approx([3])
