"""How the values of a step become symbols on the channel, and what the receiver is given."""

from enum import StrEnum

from torch import Tensor

from nsc_deploy.channels.channel import Reception
from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.channels.detection import soft_symbols
from nsc_deploy.channels.half_precision import BITS, from_bits, rounded_straight_through, to_bits
from nsc_deploy.channels.straight_through import straight_through


class Modulation(StrEnum):
    """Ways to send the S values of a step.

    - SPIKES: binary values as amplitudes 0 and 1, one channel use each; the receiver gets the raw samples.
    - AMPLITUDE: real values rounded to half precision and sent as amplitudes, each charged the 16 channel
      uses of its 16 bits (the accounting of the poster's code); the receiver gets the raw samples.
    - BITS: the 16 bits of each value in half precision as BPSK symbols +-1, one channel use each, detected
      coherently with perfect channel knowledge; the receiver gets the decoded values, NaN and infinities
      as 0. No code protects the bits.

    Gradients pass rounding, and bits with their errors, as if these were the identity (straight through).
    """

    SPIKES = "spikes"
    AMPLITUDE = "amplitude"
    BITS = "bits"

    def symbols_per_step(self, values: int) -> int:
        """Symbols that go over the channel in a step of `values` values."""
        return values * BITS if self is Modulation.BITS else values

    def uses_per_step(self, values: int) -> int:
        """Channel uses that a step of `values` values is charged."""
        return values if self is Modulation.SPIKES else values * BITS

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
