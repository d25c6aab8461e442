"""Channel coefficients and what they do to symbols."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nsc_deploy.channels.config import ChannelConfig, ChannelKind


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
