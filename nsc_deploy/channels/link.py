"""Modulation and channel together: from the transmitter's output to the receiver's input."""

import torch
from torch import Tensor, nn

from nsc_deploy.channels.channel import Channel
from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.modulation import Modulation


class Link(nn.Module):
    """Sends values [T, B, S] and returns the receiver's input [T, B, output_size(S)].

    Args:
        channel: fading, noise and SNR.
        modulation: how values become symbols.
    """

    def __init__(self, channel: ChannelConfig, modulation: Modulation) -> None:
        super().__init__()
        self.channel = Channel(channel)
        self.modulation = modulation

    def forward(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """The receiver's input [T, B, output_size(S)] for values [T, B, S]."""
        reception = self.channel.transmit(self.modulation.modulate(values), generator)
        return self.modulation.demodulate(reception, values)

    def output_size(self, values: int) -> int:
        """Real values that the receiver is given in a step of `values` sent ones."""
        return self.modulation.output_size(values, self.channel.config)

    def uses_per_step(self, values: int) -> int:
        """Channel uses that a step of `values` values is charged."""
        return self.modulation.uses_per_step(values)
