"""Channels that carry bits: errors and erasures. To gradients they are the identity."""

import torch
from torch import Tensor, nn

from nsc_deploy.channels.channel import uniform
from nsc_deploy.channels.config import BinaryChannelConfig, BinaryKind, Erased
from nsc_deploy.channels.modulation import straight_through


class BinaryChannel(nn.Module):
    """Flips or loses each bit on its own with probability p: [T, B, *S] of 0 and 1 -> the same shape.

    - bsc: a flipped bit arrives as the other.
    - bec: a lost bit is read as 0 or 1 with equal chance, the reading of the SNN-SC and S-JSCC papers, or
      as one half, its expected value, as BottleNet++ reads it.

    With a range of probabilities each sample has one of its own. The random numbers of a sample do not
    depend on the batch it is in.

    Args:
        config: kind and probability.
    """

    def __init__(self, config: BinaryChannelConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """What arrives."""
        steps, samples, *shape = bits.shape
        ranged = self.config.p_to is not None
        drawn = uniform(samples, steps * torch.Size(shape).numel() + ranged, bits, generator)
        p = self._probability(drawn[:, -1]).view(-1, *[1] * (bits.dim() - 1)) if ranged else self.config.p
        u = drawn[:, : drawn.shape[1] - ranged].reshape(samples, steps, *shape)
        return straight_through(bits, self._received(bits.transpose(0, 1), u, p).transpose(0, 1))

    def _probability(self, drawn: Tensor) -> Tensor:
        low, high = self.config.p, self.config.p_to or 0.0
        return low + (high - low) * drawn

    def _received(self, bits: Tensor, u: Tensor, p: Tensor | float) -> Tensor:
        hit = u < p
        if self.config.kind is BinaryKind.BSC:
            return torch.where(hit, 1 - bits, bits)
        if self.config.erased is Erased.HALF:
            return torch.where(hit, 0.5, bits)
        # Below p the bit is erased, and half of that range guesses 1: one draw decides both.
        return torch.where(hit, (u < p / 2).to(bits.dtype), bits)

    def extra_repr(self) -> str:
        """The configuration, for `print(model)`."""
        return str(self.config)
