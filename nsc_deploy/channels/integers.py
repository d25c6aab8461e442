"""Whole numbers over the link: each bit a BPSK symbol, bit plane after bit plane, detected coherently."""

import torch
from torch import Tensor

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.modulation import Link, Modulation, soft_symbols, straight_through


class IntegerLink(Link):
    """Sends whole numbers 0 to 2^bits - 1 [T, B, S] and returns those that were detected [T, B, S].

    A plane of S bits goes over the channel like the symbols of a step: it has coefficients of its own and the
    guard interval behind it. The receiver knows its channel perfectly (`soft_symbols`), as with
    `Modulation.BITS`, and no code protects the bits. The gradient passes as if nothing had happened.

    Args:
        channel: fading, noise and SNR.
        bits: of a number.
    """

    def __init__(self, channel: ChannelConfig, bits: int) -> None:
        super().__init__(channel, Modulation.BITS)
        self.bits = bits

    def forward(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """The numbers that are detected [T, B, S]."""
        steps, samples, count = values.shape
        places = torch.arange(self.bits - 1, -1, -1, device=values.device).view(1, -1, 1, 1)
        planes = (values.detach().long().unsqueeze(1) >> places) & 1  # [T, bits, B, S]
        symbols = (planes.to(values.dtype) * 2 - 1).reshape(steps * self.bits, samples, count)
        arrived = soft_symbols(self.channel.transmit(symbols, generator)) > 0
        detected = (arrived.reshape(steps, self.bits, samples, count).long() << places).sum(1)
        return straight_through(values, detected.to(values.dtype))

    def output_size(self, values: int) -> int:
        """As many numbers as were sent."""
        return values

    def uses_per_step(self, values: int) -> int:
        """Channel uses of all planes of a step, each with its guard interval."""
        return self.bits * (values + self.channel.config.delay_spread)
