"""Fading and noise as a torch module, and the one definition of SNR."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.fading import coefficients, convolve
from nsc_deploy.channels.randomness import standard_normals


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
    `noise_power`. The output is the real parts of y, then the imaginary parts. Steps do not reach into
    each other. The same generator state gives the same result, and the random numbers of a sample do
    not depend on the batch it is in (`standard_normals`).

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
        drawn = standard_normals(samples, steps * 2 * (length + arriving), symbols, generator)
        by_step = drawn.view(samples, steps, 2, length + arriving).transpose(0, 1)
        taps = coefficients(self.config, by_step[..., :length].contiguous())
        power = noise_power(symbols, self.config.snr_db)
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


def noise_power(symbols: Tensor, snr_db: float) -> Tensor:
    """Power of the complex noise for each sample: mean |x|^2 * 10^(-SNR / 10).

    The mean is over all steps and symbols of one sample, as sent (before fading), silent ones included. (The
    poster's code takes it over the whole batch; then a sample's result would depend on its neighbours in the
    batch.) This is the total power of a complex noise value: the real and the imaginary part have half each.
    The gradient flows through it, as it must for the gradient of this channel to be the true one: a sparse
    transmitter meets little noise in each of its symbols, and can learn so. A sample without any symbol has
    no noise either.

    Args:
        symbols: real amplitudes x [T, B, S].
        snr_db: in dB.

    Returns:
        [B].
    """
    power: Tensor = symbols.square().mean(dim=(0, 2))
    return power * 10 ** (-snr_db / 10)
