"""Fading and noise as a torch module, and the one definition of SNR."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from nsc_deploy.channels.config import ChannelConfig, ChannelKind


@dataclass(frozen=True)
class Reception:
    """What arrives in each step, with what a receiver that knows its channel would know.

    Attributes:
        signal: real and imaginary parts of the received samples [T, B, 2, R].
        taps: real and imaginary parts of the coefficients [T, B, 2, L].
        noise_power: power of the complex noise of each sample [B].
    """

    signal: Tensor
    taps: Tensor
    noise_power: Tensor


class Channel(nn.Module):
    """Sends real symbols [T, B, S] and returns received values [T, B, 2 R], differentiable in the symbols.

        y[r] = sum_l h[l] x[r - l] + w[r],  w ~ CN(0, noise power),  R = S + L - 1

    in complex numbers; h is drawn anew for every step and sample (`coefficients`), SNR is defined in
    `noise_power` and, on a channel with a range of SNRs, drawn for each sample (`sample_snr`). The output is
    the real parts of y, then the imaginary parts. Steps do not reach into each other. The same generator
    state gives the same result, and the random numbers of a sample do not depend on the batch it is in
    (`standard_normals`).

    Args:
        config: kind, SNR and taps.
    """

    def __init__(self, config: ChannelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, symbols: Tensor, generator: torch.Generator) -> Tensor:
        """Received values [T, B, 2 R] of symbols [T, B, S]: real parts, then imaginary parts."""
        return self.transmit(symbols, generator).signal.flatten(-2)

    def transmit(self, symbols: Tensor, generator: torch.Generator) -> Reception:
        """Send symbols [T, B, S] and keep the coefficients and the noise power beside what arrives."""
        steps, samples, count = symbols.shape
        length, arriving = self.config.delay_spread + 1, self.config.samples(count)
        values, ranged = steps * 2 * (length + arriving), self.config.snr_to_db is not None
        drawn = standard_normals(samples, values + ranged, symbols, generator)
        by_step = drawn[:, :values].view(samples, steps, 2, length + arriving).transpose(0, 1)
        taps = coefficients(self.config, by_step[..., :length].contiguous())
        snr_db = sample_snr(self.config, drawn[:, -1]) if ranged else self.config.snr_db
        power = noise_power(symbols, snr_db)
        deviation = _root(power / 2).view(1, samples, 1, 1)
        signal = convolve(symbols, taps).addcmul(by_step[..., length:], deviation)
        return Reception(signal, taps, power)

    def extra_repr(self) -> str:
        """The configuration, for `print(model)`."""
        return str(self.config)


def _root(power: Tensor) -> Tensor:
    """The square root, with the gradient 0 where there is no power (and none could be gained)."""
    silent = power == 0
    return torch.where(silent, power, torch.where(silent, 1, power).sqrt())


def sample_snr(config: ChannelConfig, normals: Tensor) -> Tensor:
    """The SNR of each sample in dB [B], even between the ends of the channel's range, of N(0, 1) values [B].

    The distribution function of a normal value is itself even from 0 to 1. So a sample takes its SNR from the
    values that are its own, and does not depend on its batch.
    """
    low, high = config.snr_ends_db
    drawn: Tensor = low + (high - low) * torch.special.ndtr(normals)
    return drawn


def noise_power(symbols: Tensor, snr_db: float | Tensor) -> Tensor:
    """Power of the complex noise for each sample: mean |x|^2 * 10^(-SNR / 10).

    The mean is over all steps and symbols of one sample, as sent (before fading), silent ones included. (The
    poster's code takes it over the whole batch; then a sample's result would depend on its neighbours in the
    batch.) This is the total power of a complex noise value: the real and the imaginary part have half each.
    The gradient flows through it, as it must for the gradient of this channel to be the true one: a sparse
    transmitter meets little noise in each of its symbols, and can learn so. A sample without any symbol has
    no noise either.

    Args:
        symbols: real amplitudes x [T, B, S].
        snr_db: in dB, one for all or [B].

    Returns:
        [B].
    """
    power: Tensor = symbols.square().mean(dim=(0, 2))
    return power * 10 ** (-snr_db / 10)


def coefficients(config: ChannelConfig, normals: Tensor) -> Tensor:
    """Channel coefficients of unit mean power in total, one set for each step and sample.

    - awgn: h = 1.
    - rayleigh: h ~ CN(0, 1).
    - rician: h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) CN(0, 1); the direct path has phase 0.
    - multipath: L taps, each CN(0, 1 / L): a uniform power delay profile.

    Args:
        config: the channel.
        normals: independent N(0, 1) values [T, B, 2, L], L = 1 but for multipath.

    Returns:
        Real and imaginary parts [T, B, 2, L].
    """
    if config.kind is ChannelKind.AWGN:
        direct = torch.zeros_like(normals)
        direct[..., 0, :] = 1
        return direct
    if config.kind is ChannelKind.RICIAN:
        scattered = normals * math.sqrt(0.5 / (config.rician_k + 1))
        scattered[..., 0, :] += math.sqrt(config.rician_k / (config.rician_k + 1))
        return scattered
    return normals * math.sqrt(0.5 / normals.shape[-1])


def convolve(symbols: Tensor, taps: Tensor) -> Tensor:
    """Linear convolution of the symbols of each step with the taps of that step, y[r] = sum_l h[l] x[r - l].

    Args:
        symbols: real amplitudes x [T, B, S].
        taps: real and imaginary parts of h [T, B, 2, L]; no gradient flows to them.

    Returns:
        Real and imaginary parts of y [T, B, 2, S + L - 1].
    """
    received: Tensor = _Convolution.apply(symbols, taps)  # type: ignore[no-untyped-call]
    return received


class _Convolution(torch.autograd.Function):
    """L shifted products added up: for few taps as fast as any FFT, and without copies."""

    @staticmethod
    def forward(ctx: Any, symbols: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(taps)
        count, length = symbols.shape[-1], taps.shape[-1]
        received = symbols.new_zeros(*taps.shape[:-1], count + length - 1)
        for lag in range(length):
            received[..., lag : lag + count].addcmul_(symbols.unsqueeze(-2), taps[..., lag : lag + 1])
        return received

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_received: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        length = taps.shape[-1]
        count = grad_received.shape[-1] - length + 1
        both_parts = grad_received.new_zeros(*taps.shape[:-1], count)
        for lag in range(length):
            both_parts.addcmul_(grad_received[..., lag : lag + count], taps[..., lag : lag + 1])
        return both_parts.sum(-2), None


BLOCK = 16
"""torch fills normals in blocks of this many; a sample takes whole blocks, so it never shares one."""


def standard_normals(samples: int, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """`count` independent N(0, 1) values for each sample [samples, count], of dtype and device of `like`.

    Sample after sample is drawn: while one generator runs over a data set in order, each sample gets the same
    values whatever the batches are cut into.

    Raises:
        TypeError: `like` holds whole numbers, as which every uniform value would be 0.
    """
    _require_floating(like)
    whole_blocks = -(-count // BLOCK) * BLOCK
    drawn = torch.randn(samples, whole_blocks, generator=generator, device=generator.device)
    return drawn[:, :count].to(like)


def uniform(samples: int, count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """`count` independent values from [0, 1) for each sample [samples, count]; see `standard_normals`."""
    _require_floating(like)
    return torch.rand(samples, count, generator=generator, device=generator.device).to(like)


def _require_floating(sent: Tensor) -> None:
    if not sent.is_floating_point():
        raise TypeError(
            f"a channel carries floating-point tensors, and this one is {sent.dtype}: take .float()"
        )
