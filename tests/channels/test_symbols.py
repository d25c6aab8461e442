import numpy as np
import pytest
import torch
from scipy.special import erfc

from nsc_deploy.channels.config import ChannelConfig, ChannelKind
from nsc_deploy.channels.symbols import Knowledge, normalise_power, transmit


def _send(kind, snr_db, knowledge=Knowledge.PERFECT, count=4000, length=16, blocks=None, rician_k=2.0):
    generator = torch.Generator().manual_seed(1)
    symbols = normalise_power(torch.randn(count, length, 2, generator=generator))
    block = torch.arange(count) if blocks is None else blocks
    channel = ChannelConfig(kind=kind, rician_k=rician_k)
    return symbols, transmit(
        symbols, torch.full((count,), float(snr_db)), block, channel, knowledge, generator
    )


@pytest.mark.parametrize("snr_db", [-6, 0, 12])
def test_noise_has_the_power_that_the_ensemble_snr_says(snr_db):
    symbols, detected = _send(ChannelKind.AWGN, snr_db)
    noise = (detected.symbols - symbols).square().sum(-1).mean()
    assert float(noise) == pytest.approx(10 ** (-snr_db / 10), rel=0.02)
    torch.testing.assert_close(detected.noise_power, torch.full((4000,), 10 ** (-snr_db / 10)))


@pytest.mark.parametrize("kind", [ChannelKind.RAYLEIGH, ChannelKind.RICIAN])
def test_zero_forcing_knows_its_noise(kind):
    symbols, detected = _send(kind, 3)
    errors = (detected.symbols - symbols).square().sum(-1).mean(1)
    torch.testing.assert_close((errors / detected.noise_power).mean(), torch.tensor(1.0), atol=0.02, rtol=0)


def test_fading_has_unit_power_and_is_one_in_a_block():
    """Without noise an estimate that is off by e turns a symbol into x h / (h + e): the same in a block."""
    blocks = torch.arange(1000).repeat_interleave(4)
    symbols, detected = _send(ChannelKind.RAYLEIGH, 300, blocks=blocks)
    torch.testing.assert_close(detected.symbols, symbols, atol=1e-3, rtol=1e-3)
    _, noisy = _send(ChannelKind.RAYLEIGH, 10, blocks=blocks)
    gains = 0.1 / noisy.noise_power.view(1000, 4)
    torch.testing.assert_close(gains, gains[:, :1].expand(-1, 4))
    assert float(gains[:, 0].mean()) == pytest.approx(1, abs=0.1)


def test_a_pilot_finds_the_channel_at_a_high_snr_only():
    symbols, low = _send(ChannelKind.RICIAN, 0, Knowledge.PILOT)
    _, known = _send(ChannelKind.RICIAN, 0)
    assert (low.symbols - symbols).square().mean() > (known.symbols - symbols).square().mean()
    symbols, high = _send(ChannelKind.RICIAN, 40, Knowledge.PILOT)
    assert float((high.symbols - symbols).square().sum(-1).median()) < 1e-3


def test_bits_are_lost_as_theory_has_it():
    """QPSK over AWGN: a bit is wrong with Q(sqrt(SNR))."""
    generator = torch.Generator().manual_seed(2)
    bits = torch.randint(0, 2, (2000, 32, 2), generator=generator)
    symbols = (2 * bits - 1) / np.sqrt(2)
    received = transmit(
        symbols.float(), torch.full((2000,), 2.0), torch.arange(2000), ChannelConfig(kind=ChannelKind.AWGN),
        Knowledge.PERFECT, generator,
    )  # fmt: skip
    wrong = float(((received.symbols > 0) != (bits > 0)).float().mean())
    expected = erfc(np.sqrt(10**0.2 / 2)) / 2
    assert wrong == pytest.approx(expected, abs=3 * np.sqrt(expected / bits.numel()))


def test_power_is_one_over_the_symbols_that_are_sent():
    symbols = torch.randn(3, 4, 2)
    keep = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]]).bool()
    power = normalise_power(symbols, keep).square().sum(-1)
    torch.testing.assert_close(power.sum(1) / keep.sum(1), torch.ones(3))
    assert power[~keep].abs().max() == 0
    assert normalise_power(torch.zeros(1, 4, 2)).abs().max() == 0
