"""Codecs: a feature to bits and back. One definition for each system, made by `build_codec`.

Every codec has an encoder, features [B, C, h, w] -> bits [n, B, k, h, w], and a decoder from the bits that
arrive to features of the shape they had. Both halves are two convolutions, 3 x 3 with batch normalisation,
from C channels over C/8 to C/64 and back.

Sources: SNN-SC (arXiv 2210.06836v3) and S-JSCC (its v1).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.network import Reset
from nsc_deploy.models.frameworks import FrameworkName

ENTROPY_MARGIN = 1e-4
"""Frequencies of bits are kept this far from 0 and 1, where the entropy's slope is infinite."""


THRESHOLD_UNIT = 2.0**-8
"""What is subtracted lies on the grids of the weights, on which sums are exact; weights have finer ones."""


class CodecName(StrEnum):
    """The codecs that can be trained.

    - SNN_SC: spiking neurons, an entropy term in the loss.
    - S_JSCC: the same network with a term for the firing rate in its place.
    - CNN_SC: ReLU and an n-bit quantiser.
    - CNN_1BIT: ReLU and as many channels of one bit each, straight through: the channel bits of SNN-SC
      without spiking neurons.
    """

    SNN_SC = "snn-sc"
    S_JSCC = "s-jscc"
    CNN_SC = "cnn-sc"
    CNN_1BIT = "cnn-1bit"

    @property
    def spiking(self) -> bool:
        """Whether spiking neurons make its bits."""
        return self in {CodecName.SNN_SC, CodecName.S_JSCC}


class LastNeuron(StrEnum):
    """What the last neurons of a spiking decoder hand to the converter.

    IHF: spikes and potentials. IF: spikes alone. IHF_M: potentials alone.
    """

    IHF = "ihf"
    IF = "if"
    IHF_M = "ihf-m"


class BitOrder(StrEnum):
    """How the n bits of a quantised value stand for it: natural binary or Gray code, highest place first."""

    NATURAL = "natural"
    GRAY = "gray"


@dataclass(frozen=True)
class CodecForm:
    """All that decides a codec but its weights.

    Attributes:
        name: which one.
        channels: C of the feature.
        hidden: channels between the two convolutions of a side; 0 for C/8.
        bits: channels of bits a step (k); 0 for C/64.
        steps: n: time steps of a spiking codec, bits of a quantised value.
        last: of a spiking decoder.
        threshold: of spiking neurons; where it is subtracted, a whole multiple of 1/256.
        slope: of their surrogate derivative.
        reset: of spiking neurons.
        target: alpha, the entropy (SNN-SC) or firing rate (S-JSCC) that the loss asks for.
        target_weight: of that term; 0 for none.
        order: of the bits of CNN-SC.
        gain: factor behind the converter's sigmoid, or None for 1 as the papers have it. Features are
            outputs of a ReLU and reach far above 1.
        framework: that runs the spiking neurons in training.

    Raises:
        ConfigError: sizes below 1, no channels left of C/64, or a threshold that would round what it is
            subtracted from.
    """

    name: CodecName
    channels: int
    hidden: int = 0
    bits: int = 0
    steps: int = 8
    last: LastNeuron = LastNeuron.IHF
    threshold: float = 1.0
    slope: float = 4.0
    reset: Reset = Reset.SUBTRACT
    target: float = 1.0
    target_weight: float = 1.0
    order: BitOrder = BitOrder.NATURAL
    gain: float | None = None
    framework: FrameworkName = "snntorch"

    def __post_init__(self) -> None:
        if min(self.channels, self.steps) < 1 or min(self.hidden, self.bits) < 0:
            raise ConfigError("sizes of a codec are 1 or more", where="system")
        if self.reset is Reset.ZERO and self.last is not LastNeuron.IF:
            raise ConfigError(
                f"potentials of neurons that reset to zero are no output that graphs can state "
                f"(last: {self.last})",
                where="system.last",
                hint="Choose last = if, or reset = subtract.",
            )
        if self.name.spiking and self.reset is Reset.SUBTRACT and self.threshold % THRESHOLD_UNIT:
            nearest = max(round(self.threshold / THRESHOLD_UNIT), 1) * THRESHOLD_UNIT
            raise ConfigError(
                f"is {self.threshold:g}, no whole multiple of 1/256: what spikes subtract would be rounded, "
                "and graphs give other bits than training",
                where="system.threshold",
                hint=f"Set it to {nearest:.10g}.",
            )
        for field, share in (("hidden", 8), ("bits", 64)):
            if not getattr(self, field):
                if self.channels < share:
                    raise ConfigError(
                        f"a feature of {self.channels} channels has no {share}th part",
                        where=f"system.{field}",
                        hint=f"Set system.{field}.",
                    )
                object.__setattr__(self, field, self.channels // share)

    def bits_per_inference(self, height: int, width: int) -> int:
        """Bits on the channel for one feature of h x w places."""
        return self.steps * self.bits * height * width


class Coded(NamedTuple):
    """What became of a batch of features.

    Attributes:
        features: reconstructed [B, C, h, w].
        bits: sent, 0 and 1 [n, B, k, h, w].
        received: bits that arrived, of the same shape.
    """

    features: Tensor
    bits: Tensor
    received: Tensor


class BitChannel(Protocol):
    """A channel for bits [n, B, *S], the identity to gradients."""

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """The bits that arrive."""
        ...


class Codec(nn.Module, ABC):
    """An encoder and a decoder, trained together.

    Args:
        form: what it is.
    """

    def __init__(self, form: CodecForm) -> None:
        super().__init__()
        self.form = form

    @abstractmethod
    def encode(self, features: Tensor) -> Tensor:
        """Bits [n, B, k, h, w] of features [B, C, h, w]."""

    @abstractmethod
    def decode(self, bits: Tensor) -> Tensor:
        """Features [B, C, h, w] of bits [n, B, k, h, w]."""

    def forward(self, features: Tensor, channel: BitChannel, generator: torch.Generator) -> Coded:
        """Send features over a channel."""
        bits = self.encode(features)
        received = channel(bits, generator)
        return Coded(self.decode(received), bits, received)

    def penalty(self, bits: Tensor) -> Tensor:
        """The term of the loss that asks something of the bits; 0 for conventional codecs."""
        return bits.new_zeros(())

    def finish(self) -> None:
        """Fold the normalisation, and put weights that meet events on dyadic grids; once, after training."""


def build_codec(form: CodecForm) -> Codec:
    """An untrained codec."""
    from nsc_deploy.models.features.quantised_codec import QuantisedCodec
    from nsc_deploy.models.features.spiking_codec import SpikingCodec

    return SpikingCodec(form) if form.name.spiking else QuantisedCodec(form)


def entropy(bits: Tensor) -> Tensor:
    """Mean over the steps of the entropy of the frequency of ones in a step, 0 to 1 bit (SNN-SC, eq. 10).

    The frequency is that over batch and positions, so bits that never change can have the entropy 1; see
    `entropy_per_position`.

    Args:
        bits: [n, B, k, h, w].
    """
    return _entropy(bits.flatten(1).mean(1)).mean()


def entropy_per_position(bits: Tensor) -> Tensor:
    """The same with the frequency of each bit of its own over the samples: what a bit can tell at most.

    Args:
        bits: of many samples [n, B, k, h, w].
    """
    return _entropy(bits.mean(1)).mean()


def _entropy(ones: Tensor) -> Tensor:
    p = ENTROPY_MARGIN + (1 - 2 * ENTROPY_MARGIN) * ones
    return -(p * p.log2() + (1 - p) * (1 - p).log2())


def entropy_penalty(bits: Tensor, target: float) -> Tensor:
    """(alpha - mean H)^2 (SNN-SC, eq. 9)."""
    return (target - entropy(bits)).square()


def rate_penalty(bits: Tensor, target: float) -> Tensor:
    """Mean over steps of (alpha - rate)^2, with the rate over batch and positions (S-JSCC, eq. 4, 5)."""
    return (target - bits.flatten(1).mean(1)).square().mean()
