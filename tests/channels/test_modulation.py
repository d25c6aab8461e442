import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nsc_deploy.channels.channel import Channel
from nsc_deploy.channels.config import ChannelConfig, ChannelKind
from nsc_deploy.channels.modulation import Link, Modulation, from_bits, rounded, soft_symbols, to_bits


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def bit_error_rate(config, *, steps=1000, samples=200, symbols=1, seed=0):
    """Share of random BPSK symbols +-1 that coherent detection gets wrong, and their number."""
    sent = (torch.rand(steps, samples, symbols, generator=generator(seed)) < 0.5).float() * 2 - 1
    detected = soft_symbols(Channel(config).transmit(sent, generator(seed + 1)))
    return float((detected.sign() != sent).double().mean()), sent.numel()


def assert_rate(measured, count, expected):
    """Within five standard errors of a binomial share."""
    assert measured == pytest.approx(expected, abs=5 * math.sqrt(expected * (1 - expected) / count))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 4.0, 7.0])
def test_bpsk_over_awgn_errs_as_the_q_function_says(snr_db):
    measured, count = bit_error_rate(ChannelConfig(kind="awgn", snr_db=snr_db))
    assert_rate(measured, count, math.erfc(math.sqrt(10 ** (snr_db / 10))) / 2)  # Q(sqrt(2 SNR))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 20.0])
@pytest.mark.parametrize("config", [ChannelConfig(kind="rayleigh"), ChannelConfig(kind="multipath", taps=1)])
def test_bpsk_over_rayleigh_errs_as_its_closed_form_says(snr_db, config):
    snr = 10 ** (snr_db / 10)
    measured, count = bit_error_rate(config.model_copy(update={"snr_db": snr_db}))
    assert_rate(measured, count, (1 - math.sqrt(snr / (1 + snr))) / 2)


@pytest.mark.parametrize("k", [1.0, 5.0])
def test_bpsk_over_rician_errs_as_its_integral_says(k):
    # Simon and Alouini: BER = 1/pi int_0^(pi/2) M(-SNR / sin^2) with the Rician moment generating function M.
    snr = 10 ** (5 / 10)
    angles = (np.arange(20_000) + 0.5) * (math.pi / 2) / 20_000
    s = snr / np.sin(angles) ** 2
    generating = (1 + k) / (1 + k + s) * np.exp(-k * s / (1 + k + s))
    measured, count = bit_error_rate(ChannelConfig(kind="rician", rician_k=k, snr_db=5))
    assert_rate(measured, count, float(generating.mean()) / 2)


def test_the_equaliser_undoes_multipath_and_gains_from_its_diversity():
    without_noise, _ = bit_error_rate(ChannelConfig(taps=8, snr_db=90), steps=50, symbols=64)
    assert without_noise == 0
    several, _ = bit_error_rate(ChannelConfig(taps=8, snr_db=20), steps=50, symbols=64)
    assert several < (1 - math.sqrt(100 / 101)) / 2 / 3  # a third of the errors of one Rayleigh coefficient


@pytest.mark.parametrize(("symbols", "snr_db"), [(1, 0.0), (45, 6.0), (64, 8.0)])
def test_the_equaliser_is_the_linear_mmse_one_of_real_symbols(symbols, snr_db):
    sent = (torch.rand(40, 50, symbols, generator=generator()) < 0.5).float() * 2 - 1
    reception = Channel(ChannelConfig(taps=8, snr_db=snr_db)).transmit(sent, generator(1))
    received = torch.complex(*reception.signal.unbind(-2))
    taps = torch.complex(*reception.taps.unbind(-2))
    response = torch.zeros(*received.shape, symbols, dtype=received.dtype)
    for symbol in range(symbols):
        response[..., symbol : symbol + 8, symbol] = taps
    noise = reception.noise_power.view(1, -1, 1, 1)

    def errors(detected):
        return int((detected.sign() != sent).sum())

    gram, matched = response.mH @ response, response.mH @ received.unsqueeze(-1)
    real = torch.linalg.solve(gram.real + noise / 2 * torch.eye(symbols), matched.real).squeeze(-1)
    found = errors(soft_symbols(reception))
    assert errors(real) <= found <= 1.2 * errors(real)
    if symbols > 1:
        of_complex = torch.linalg.solve(gram + noise * torch.eye(symbols), matched).real.squeeze(-1)
        assert found < 0.85 * errors(of_complex)


HALVES = st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=40)


@settings(max_examples=100, deadline=None)
@given(HALVES)
@example([0x7C00, 0xFC00, 0x7E00, 0xFFFF, 0x8000, 0x0001, 0x7BFF])  # infinities, NaNs, -0, smallest, largest
def test_every_pattern_of_bits_is_the_half_that_numpy_reads(patterns):
    words = np.array(patterns, np.uint16)
    bits = np.unpackbits(words.byteswap().view(np.uint8))
    expected = words.view(np.float16).astype(np.float32)
    expected[~np.isfinite(expected)] = 0
    values = from_bits(torch.from_numpy(bits).bool())
    np.testing.assert_array_equal(values.numpy(), expected)
    finite = np.isfinite(words.view(np.float16))
    sent = to_bits(torch.from_numpy(words.view(np.float16).astype(np.float32)[finite]))
    np.testing.assert_array_equal(sent.numpy(), bits.reshape(-1, 16)[finite].ravel().astype(bool))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40))
def test_rounding_is_numpys_within_the_range_of_halves(values):
    values = np.array(values, np.float32)
    expected = np.clip(values, -65504, 65504).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(rounded(torch.from_numpy(values)).numpy(), expected)
    sent = Modulation.AMPLITUDE.modulate(torch.from_numpy(values))
    np.testing.assert_array_equal(sent.numpy(), expected)
    np.testing.assert_array_equal(from_bits(to_bits(torch.from_numpy(values))).numpy(), expected)


@pytest.mark.parametrize("kind", list(ChannelKind))
@pytest.mark.parametrize("modulation", list(Modulation))
def test_a_link_says_the_size_of_what_it_delivers(kind, modulation):
    link = Link(ChannelConfig(kind=kind), modulation)
    values = torch.rand(3, 2, 10, generator=generator())
    assert link(values, generator(1)).shape == (3, 2, link.output_size(10))


@pytest.mark.parametrize(
    ("kind", "taps", "guard"), [("multipath", 8, 7), ("multipath", 1, 0), ("awgn", 8, 0)]
)
def test_channel_uses_are_counted_in_bits_and_the_guard_is_on_the_air(kind, taps, guard):
    channel = ChannelConfig(kind=kind, taps=taps)
    uses = {way: Link(channel, way).uses_per_step(128) for way in Modulation}
    counted = {Modulation.SPIKES: 128, Modulation.AMPLITUDE: 2048, Modulation.BITS: 2048}
    assert uses == {way: symbols + guard for way, symbols in counted.items()}
    for way in (Modulation.SPIKES, Modulation.BITS):  # one symbol a use: as many as samples that arrive
        assert uses[way] == channel.samples(way.symbols_per_step(128))
    assert Modulation.BITS.symbols_per_step(128) == Modulation.BITS.modulate(torch.zeros(1, 1, 128)).shape[-1]


@pytest.mark.parametrize("modulation", [Modulation.AMPLITUDE, Modulation.BITS])
def test_a_quiet_link_delivers_halves_and_lets_gradients_pass(modulation):
    values = torch.randn(3, 2, 10, generator=generator()).requires_grad_()
    link = Link(ChannelConfig(kind="awgn", snr_db=200), modulation)
    delivered = link(values, generator(1))[..., :10]
    torch.testing.assert_close(delivered, values.detach().half().float(), rtol=1e-6, atol=1e-7)
    weight = torch.randn(delivered.shape, generator=generator(2))
    (delivered * weight).sum().backward()
    torch.testing.assert_close(values.grad, weight)


def test_spikes_go_out_as_they_are():
    spikes = (torch.rand(3, 2, 10, generator=generator()) < 0.5).float()
    assert Modulation.SPIKES.modulate(spikes) is spikes


@pytest.mark.parametrize("modulation", [Modulation.AMPLITUDE, Modulation.BITS])
def test_hopeless_channels_and_huge_values_stay_finite(modulation):
    values = torch.tensor([1e30, -1e30, 0.0, 65520.0]).expand(5, 3, 4)
    delivered = Link(ChannelConfig(kind="rayleigh", snr_db=-40), modulation)(values, generator())
    assert delivered.isfinite().all()
