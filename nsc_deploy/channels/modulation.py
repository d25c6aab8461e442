"""From a transmitter's output to a receiver's input: modulation, the channel, coherent detection.

Spikes are sent as they are (on-off keying), amplitudes rounded to IEEE half precision, bits as the 16 bits of
half precision in BPSK. Gradients pass rounding and bits as if these were the identity (straight through).
"""

from enum import StrEnum
from typing import Any

import torch
from scipy.fft import next_fast_len
from torch import Tensor, nn

from nsc_deploy.channels.channel import Channel, Reception
from nsc_deploy.channels.config import ChannelConfig


class Modulation(StrEnum):
    """Ways to send the S values of a step.

    - SPIKES: binary values as amplitudes 0 and 1, one channel use each; the receiver gets the raw samples.
    - AMPLITUDE: real values rounded to half precision and sent as amplitudes, each charged the 16 channel
      uses of its 16 bits (the accounting of the poster's code); the receiver gets the raw samples.
    - BITS: the 16 bits of each value in half precision as BPSK symbols +-1, one channel use each, detected
      coherently with perfect channel knowledge; the receiver gets the decoded values, NaN and infinities
      as 0. No code protects the bits.
    """

    SPIKES = "spikes"
    AMPLITUDE = "amplitude"
    BITS = "bits"

    def symbols_per_step(self, values: int) -> int:
        """Symbols that go over the channel in a step of `values` values."""
        return values * BITS if self is Modulation.BITS else values

    @property
    def uses_per_value(self) -> int:
        """Channel uses that one value is charged."""
        return 1 if self is Modulation.SPIKES else BITS

    def uses_per_step(self, values: int, channel: ChannelConfig) -> int:
        """Channel uses that a step of `values` values is charged: theirs and the guard interval behind them.

        Over L taps the last symbol of a step is still arriving L - 1 symbol times later. Steps do not reach
        into each other, so nothing is sent in that time, and the air is taken all the same.
        """
        return values * self.uses_per_value + channel.delay_spread

    def output_size(self, values: int, channel: ChannelConfig) -> int:
        """Real values that the receiver is given in a step of `values` sent ones."""
        return values if self is Modulation.BITS else channel.received_size(values)

    def modulate(self, values: Tensor) -> Tensor:
        """Symbols [T, B, symbols_per_step(S)] of values [T, B, S]."""
        if self is Modulation.BITS:
            return to_bits(values).to(values.dtype) * 2 - 1
        return values if self is Modulation.SPIKES else rounded_straight_through(values)

    def demodulate(self, reception: Reception, values: Tensor) -> Tensor:
        """What the receiver is given [T, B, output_size], from what arrived.

        Args:
            reception: what the channel made of the symbols of `modulate(values)`.
            values: [T, B, S], only for the straight-through gradient of BITS.
        """
        if self is not Modulation.BITS:
            return reception.signal.flatten(-2)
        decoded = from_bits(soft_symbols(reception) > 0).to(values.dtype)
        return straight_through(values, decoded)


def soft_symbols(reception: Reception) -> Tensor:
    """Estimates of real symbols of unit power from what arrived, with perfect channel knowledge.

    One coefficient a step: the matched filter Re(conj(h) y), whose sign is the optimal decision. Several
    taps: the linear MMSE estimate of real symbols, (Re(H^H H) + N/2)^-1 Re(H^H y), N the noise power, half of
    which meets what is real. The one of complex symbols, (H^H H + N)^-1 H^H y, also suppresses what real
    symbols cannot be; over 8 taps it gets twice as many bits wrong at 10 dB. A step ends with L - 1 empty
    samples, so that H is circular over R samples or more, and the estimate is taken in the frequency domain
    (which does not use that these samples are empty: up to a seventh more errors, at the ends of a step).

    Returns:
        [T, B, S], positive where a positive symbol is the more likely one.
    """
    received = torch.complex(reception.signal[..., 0, :], reception.signal[..., 1, :])
    taps = torch.complex(reception.taps[..., 0, :], reception.taps[..., 1, :])
    if taps.shape[-1] == 1:
        matched: Tensor = (taps.conj() * received).real
        return matched
    arriving = received.shape[-1]
    length = next_fast_len(arriving, real=True)
    response = torch.fft.fft(taps, length)
    matched = _of_real_part(response.conj() * torch.fft.fft(received, length))
    power = _of_real_part(response.abs().square()) + reception.noise_power.view(1, -1, 1) / 2
    # The smallest float keeps a zero of the channel from dividing by zero where there is no noise.
    estimate: Tensor = torch.fft.irfft(matched / power.clamp_min(torch.finfo(power.dtype).tiny), length)
    return estimate[..., : arriving - taps.shape[-1] + 1]


def _of_real_part(spectrum: Tensor) -> Tensor:
    """The first half [..., N // 2 + 1] of the spectrum of Re(x), from that of x [..., N]."""
    mirrored = spectrum.flip(-1).roll(1, -1)
    return (spectrum + mirrored.conj())[..., : spectrum.shape[-1] // 2 + 1] / 2


BITS = 16
LARGEST = torch.finfo(torch.float16).max


def rounded(values: Tensor) -> Tensor:
    """Values rounded to half precision (clamped to +-65504, where it ends), in their own dtype."""
    return values.clamp(-LARGEST, LARGEST).half().to(values.dtype)


def rounded_straight_through(values: Tensor) -> Tensor:
    """`rounded`, with the identity as its gradient."""
    return straight_through(values, rounded(values.detach()))


def to_bits(values: Tensor) -> Tensor:
    """The bits of the values in half precision, sign first: [..., S] -> booleans [..., 16 S]."""
    words = values.detach().clamp(-LARGEST, LARGEST).half().view(torch.int16).int()
    return (words.unsqueeze(-1) >> _places(words) & 1).bool().flatten(-2)


def from_bits(bits: Tensor) -> Tensor:
    """Float32 values of bits, sign first: booleans [..., 16 S] -> [..., S]; NaN and infinities become 0."""
    grouped = bits.view(*bits.shape[:-1], -1, BITS).int()
    words = (grouped << _places(bits)).sum(-1).to(torch.int32)
    signed = torch.where(words >= 2**15, words - 2**16, words).to(torch.int16)
    return signed.view(torch.float16).float().nan_to_num(0.0, 0.0, 0.0)


def _places(like: Tensor) -> Tensor:
    return torch.arange(BITS - 1, -1, -1, dtype=torch.int32, device=like.device)


class Link(nn.Module):
    """Sends values [T, B, S] and returns the receiver's input [T, B, output_size(S)].

    Args:
        channel: fading, noise and SNR.
        modulation: how values become symbols.

    Attributes:
        whole: whether a sample arrives all at once, behind its last step.
    """

    whole = False

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
        return self.modulation.uses_per_step(values, self.channel.config)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sent: Tensor, received: Tensor) -> Tensor:
        return received.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(sent: Tensor, received: Tensor) -> Tensor:
    """The values of `received` exactly, whose gradient goes to `sent` unchanged (both of one shape)."""
    passed: Tensor = _StraightThrough.apply(sent, received)  # type: ignore[no-untyped-call]
    return passed
