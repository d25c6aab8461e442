"""Coherent detection: what a conventional receiver does that knows its channel."""

import torch
from scipy.fft import next_fast_len
from torch import Tensor

from nsc_deploy.channels.channel import Reception


def soft_symbols(reception: Reception) -> Tensor:
    """Estimates of real symbols of unit power from what arrived, with perfect channel knowledge.

    One coefficient a step: the matched filter Re(conj(h) y), whose sign is the optimal decision. Several
    taps: the linear MMSE equaliser conj(H) Y / (|H|^2 + noise power) in the frequency domain; a step ends
    with L - 1 empty samples, so that its linear convolution is a circular one over R samples or more.

    Returns:
        [T, B, S], positive where a positive symbol is the more likely one.
    """
    received = torch.complex(reception.signal[..., 0, :], reception.signal[..., 1, :])
    taps = torch.complex(reception.taps[..., 0, :], reception.taps[..., 1, :])
    if taps.shape[-1] == 1:
        matched: Tensor = (taps.conj() * received).real
        return matched
    arriving = received.shape[-1]
    length = next_fast_len(arriving)
    response = torch.fft.fft(taps, length)
    power = response.abs().square() + reception.noise_power.view(1, -1, 1)
    # The smallest float keeps a zero of the channel from dividing by zero where there is no noise.
    weight = response.conj() / power.clamp_min(torch.finfo(power.dtype).tiny)
    estimate: Tensor = torch.fft.ifft(weight * torch.fft.fft(received, length)).real
    return estimate[..., : arriving - taps.shape[-1] + 1]
