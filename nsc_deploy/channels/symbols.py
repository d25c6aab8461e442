"""Complex symbols of unit mean power over flat fading, detected by zero forcing.

This is the channel of Mem-DeepSC (Xie, Qin and Li 2023, eq. 2 and 3), whose SNR is that of the ensemble: with
E|h|^2 = 1 and unit power of the symbols it is 1 / noise power. The channel of the speech systems
(`channel.Channel`) takes it from the power of each sample.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from nsc_deploy.channels.channel import coefficients
from nsc_deploy.channels.config import ChannelConfig


class Knowledge(StrEnum):
    """What a receiver knows of its channel.

    - PERFECT: h itself.
    - PILOT: h + e with e ~ CN(0, noise power): the least-squares estimate from one pilot of unit power, whose
      error vanishes as the SNR rises.
    """

    PERFECT = "perfect"
    PILOT = "pilot"


@dataclass(frozen=True)
class Detected:
    """What zero forcing makes of what arrived.

    Attributes:
        symbols: real and imaginary parts [N, L, 2].
        noise_power: of the complex noise in each symbol, as the receiver knows it [N].
    """

    symbols: Tensor
    noise_power: Tensor


def transmit(
    symbols: Tensor,
    snr_db: Tensor,
    block: Tensor,
    channel: ChannelConfig,
    knowledge: Knowledge,
    generator: torch.Generator,
) -> Detected:
    """Send messages of L symbols and detect them: y = h x + n, then conj(g) y / |g|^2 with g as known of h.

    One h is drawn for each block, within which the channel stays the same (the coherence time), and
    n ~ CN(0, 10^(-SNR / 10)) for each symbol. What is not known of h turns the symbols of a block alike.

    Args:
        symbols: real and imaginary parts [N, L, 2], of unit mean power.
        snr_db: of each message [N].
        block: [N] int64, which block a message lies in, from 0.
        channel: its kind (not multipath) and, for rician, the ratio of its powers.
        knowledge: what the receiver knows of h.
        generator: where chance comes from: first h of each block, then its pilot's noise, then n.
    """
    blocks = int(block.max()) + 1 if len(block) else 0
    drawn = torch.randn(1, blocks, 2, 1, generator=generator)
    fading = torch.view_as_complex(coefficients(channel, drawn)[0, :, :, 0].contiguous())[block]
    power = 10 ** (-snr_db.to(symbols.dtype) / 10)
    known = fading
    if knowledge is Knowledge.PILOT:
        pilot = torch.view_as_complex(torch.randn(blocks, 2, generator=generator))[block]
        known = fading + pilot * (power / 2).sqrt()
    noise = (
        torch.view_as_complex(torch.randn(symbols.shape, generator=generator)) * (power / 2).sqrt()[:, None]
    )
    arrived = torch.view_as_complex(symbols.contiguous()) * fading[:, None] + noise
    strength = known.abs().square().clamp_min(torch.finfo(torch.float32).tiny)
    detected = arrived * (known.conj() / strength)[:, None]
    return Detected(torch.view_as_real(detected), power / strength)


def normalise_power(symbols: Tensor, keep: Tensor | None = None) -> Tensor:
    """Symbols [N, L, 2] scaled so that the mean |x|^2 of each message is 1 over the symbols that are kept.

    Args:
        symbols: real and imaginary parts.
        keep: [N, L] bool, which symbols are sent; the others become 0. As floats of 0 and 1 it takes a
            gradient. None: all are.
    """
    if keep is not None:
        symbols = symbols * keep.unsqueeze(-1)
    count = int(symbols.shape[1]) if keep is None else keep.sum(1).clamp_min(1)
    energy = symbols.square().sum((1, 2)).clamp_min(1e-12)
    return symbols * (count / energy).sqrt()[:, None, None]
