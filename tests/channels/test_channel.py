import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from nsc_deploy.channels.channel import Channel, coefficients, convolve, noise_power
from nsc_deploy.channels.config import ChannelConfig, ChannelKind

DRAWS = 200_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(config, seed=1):
    """Complex coefficients [draws, L]."""
    normals = torch.randn(DRAWS, 1, 2, config.delay_spread + 1, generator=generator(seed))
    taps = coefficients(config, normals)[:, 0]
    return torch.complex(taps[:, 0], taps[:, 1]).to(torch.complex128)


def assert_mean(values, expected):
    """The mean of independent values lies within five standard errors."""
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values))
    assert float(values.mean()) == pytest.approx(expected, abs=5 * error)


@pytest.mark.parametrize("taps", [1, 8])
def test_multipath_taps_have_a_uniform_profile_of_unit_power(taps):
    h = drawn(ChannelConfig(taps=taps))
    for tap in h.T:
        assert_mean(tap.abs().square(), 1 / taps)
        assert_mean(tap.abs() ** 4, 2 / taps**2)  # complex Gaussian: E|h|^4 = 2 (E|h|^2)^2
        assert_mean(tap.real * tap.imag, 0)
    assert_mean(h.abs().square().sum(1), 1)
    if taps > 1:
        assert_mean((h[:, 0] * h[:, 1].conj()).real, 0)


@pytest.mark.parametrize("k", [0.0, 1.0, 3.0, 10.0])
def test_rician_moments(k):
    h = drawn(ChannelConfig(kind="rician", rician_k=k))[:, 0]
    assert_mean(h.real, math.sqrt(k / (k + 1)))
    assert_mean(h.imag, 0)
    power = h.abs().square()
    assert_mean(power, 1)
    assert_mean((power - 1).square(), (2 * k + 1) / (k + 1) ** 2)


def test_rayleigh_is_a_rician_without_direct_path_and_awgn_one_with_nothing_else():
    assert_mean(drawn(ChannelConfig(kind="rayleigh"))[:, 0].abs() ** 4, 2)
    assert torch.equal(drawn(ChannelConfig(kind="awgn")), torch.ones(DRAWS, 1, dtype=torch.complex128))
    strong = drawn(ChannelConfig(kind="rician", rician_k=1e6))
    assert (strong - 1).abs().max() < 0.01


@pytest.mark.parametrize("length", [1, 2, 8, 20])
def test_convolution_is_numpys_in_every_step(length):
    x = torch.randn(3, 4, 13, generator=generator())
    h = torch.randn(3, 4, 2, length, generator=generator(1))
    y = convolve(x, h)
    for t, b, part in np.ndindex(3, 4, 2):
        np.testing.assert_allclose(y[t, b, part], np.convolve(x[t, b], h[t, b, part]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 5])
def test_convolution_gradient(length):
    x = torch.randn(2, 3, 6, dtype=torch.float64, generator=generator()).requires_grad_()
    h = torch.randn(2, 3, 2, length, dtype=torch.float64, generator=generator(1))
    assert torch.autograd.gradcheck(lambda symbols: convolve(symbols, h), x)


@pytest.mark.parametrize("kind", list(ChannelKind))
@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 14.0])
def test_noise_has_the_power_that_the_snr_says(kind, snr_db):
    x = (torch.rand(40, 30, 64, generator=generator()) < 0.2).float()
    channel = Channel(ChannelConfig(kind=kind, snr_db=snr_db))
    reception = channel.transmit(x, generator(1))
    noise = reception.signal - convolve(x, reception.taps)
    expected = x.square().mean() * 10 ** (-snr_db / 10)
    scale = (reception.noise_power / expected).view(1, -1, 1, 1)  # samples differ a little in power
    real, imaginary = (noise / scale.sqrt()).unbind(2)
    assert_mean(real.flatten().square(), float(expected) / 2)
    assert_mean(imaginary.flatten().square(), float(expected) / 2)
    assert_mean((real * imaginary).flatten(), 0)


def test_snr_is_over_all_steps_and_symbols_of_one_sample():
    x = torch.zeros(4, 3, 5)
    x[0, 0, 0] = 2  # mean power 4 / 20
    x[:, 1] = 1
    assert noise_power(x, 10.0).tolist() == pytest.approx([0.02, 0.1, 0.0])


def test_over_a_range_each_sample_has_an_snr_of_its_own_evenly_between_the_ends():
    x = (torch.rand(12, 4000, 9, generator=generator()) < 0.5).float()
    x[0, :, 0] = 1  # none is silent
    reception = Channel(ChannelConfig(kind="rician", snr_db=-10, snr_to_db=6)).transmit(x, generator(1))
    snr_db = 10 * torch.log10(x.square().mean(dim=(0, 2)) / reception.noise_power)
    assert -10 <= float(snr_db.min()) < -9.9
    assert 5.9 < float(snr_db.max()) <= 6
    assert_mean(snr_db, -2)
    assert_mean((snr_db + 2).square(), 16**2 / 12)  # the variance of an even distribution
    noise = reception.signal - convolve(x, reception.taps)
    expected = (reception.noise_power / 2).view(1, -1, 1, 1)
    assert_mean((noise.square() / expected).flatten(), 1)


def test_a_range_without_width_or_upside_down_is_refused():
    for ends in ((3, 3), (10, -10)):
        with pytest.raises(ValidationError, match="a range of SNRs rises"):
            ChannelConfig(snr_db=ends[0], snr_to_db=ends[1])


def test_output_is_real_parts_then_imaginary_parts():
    x = torch.randn(2, 3, 128, generator=generator())
    config = ChannelConfig(taps=8)
    channel = Channel(config)
    y, reception = channel(x, generator(5)), channel.transmit(x, generator(5))
    assert y.shape == (2, 3, config.received_size(128)) == (2, 3, 2 * 135)
    assert torch.equal(y[..., :135], reception.signal[..., 0, :])
    assert torch.equal(y[..., 135:], reception.signal[..., 1, :])


@pytest.mark.parametrize("kind", list(ChannelKind))
@pytest.mark.parametrize("snr_to_db", [None, 20.0])
def test_a_sample_meets_the_same_channel_whatever_its_batch(kind, snr_to_db):
    x = torch.rand(7, 11, 13, generator=generator())
    channel = Channel(ChannelConfig(kind=kind, taps=3, snr_to_db=snr_to_db))
    whole, one = channel(x, generator(9)), generator(9)
    pieces = torch.cat([channel(part, one) for part in x.split([1, 4, 6], dim=1)], dim=1)
    assert torch.equal(pieces, whole)
    assert torch.equal(channel(x, generator(9)), whole)
    assert not torch.equal(channel(x, generator(10)), whole)


def test_steps_and_samples_fade_independently():
    taps = Channel(ChannelConfig(kind="rayleigh")).transmit(torch.ones(6, 5, 2), generator()).taps
    assert len(taps.flatten().unique()) == taps.numel()


def test_gradient_is_that_of_the_whole_channel_its_noise_power_included():
    channel = Channel(ChannelConfig(snr_db=-3, taps=2))
    x = torch.rand(3, 2, 4, generator=generator(), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda symbols: channel(symbols, generator(1)), x)


def test_gradient_of_a_silent_sample_is_finite():
    x = torch.zeros(3, 2, 4).requires_grad_()
    Channel(ChannelConfig(snr_db=-3, taps=2))(x, generator(1)).sum().backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    "fields",
    [{"kind": "fog"}, {"taps": 0}, {"snr_db": math.nan}, {"snr_db": math.inf}, {"rician_k": -1}, {"tap": 8}],
)
def test_refuses_a_channel_that_does_not_exist(fields):
    with pytest.raises(ValidationError):
        ChannelConfig(**fields)
