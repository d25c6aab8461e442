"""Channels that carry bits: errors and erasures. To gradients they are the identity."""

import torch
from torch import Tensor, nn

from nsc_deploy.channels.channel import uniform
from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.errors import ConfigError


class BinarySymmetricChannel(nn.Module):
    """Flips each bit on its own with probability p: [T, B, *S] of 0 and 1 -> the same shape.

    Args:
        flip_probability: p, 0 to 1.

    Raises:
        ConfigError: not a probability.
    """

    def __init__(self, flip_probability: float) -> None:
        super().__init__()
        self.flip_probability = _probability("flip_probability", flip_probability)

    def forward(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """The bits, some flipped."""
        flipped = _uniform_like(bits, generator) < self.flip_probability
        return straight_through(bits, torch.where(flipped, 1 - bits, bits))


class BinaryErasureChannel(nn.Module):
    """Loses each bit on its own with probability p; the receiver puts 0 or 1 there with equal chance.

    That reading of an erased bit is the one of the SNN-SC and S-JSCC papers. [T, B, *S] of 0 and 1 -> the
    same shape.

    Args:
        erasure_probability: p, 0 to 1.

    Raises:
        ConfigError: not a probability.
    """

    def __init__(self, erasure_probability: float) -> None:
        super().__init__()
        self.erasure_probability = _probability("erasure_probability", erasure_probability)

    def forward(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """The bits, some replaced by guesses."""
        u = _uniform_like(bits, generator)
        # Below p the bit is erased, and half of that range guesses 1: one draw decides both.
        guess = (u < self.erasure_probability / 2).to(bits.dtype)
        return straight_through(bits, torch.where(u < self.erasure_probability, guess, bits))


def _uniform_like(bits: Tensor, generator: torch.Generator) -> Tensor:
    steps, samples, *shape = bits.shape
    count = steps * torch.Size(shape).numel()
    return uniform(samples, count, bits, generator).view(samples, steps, *shape).transpose(0, 1)


def _probability(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"a probability lies from 0 to 1, not at {value}", where=name)
    return value
