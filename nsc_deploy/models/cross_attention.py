"""The poster's Spike Cross Attention: when and where to attend, as a product of two paths.

    left[t]  = depthwise convolution over time of x (kernel 5, centred, no bias)
    gate[t]  = 1 - W LIF(convolution over time of x (kernel 3, centred, all to all, no bias))
    out[t]   = LIF(left[t] * gate[t])            both LIF with tau = 2 steps and threshold 1

The convolutions look ahead, the left path and the product are real-valued: up to the product this runs
on the host. The LIF behind the product is the first layer of the chip's part.
"""

import torch
from torch import Tensor, nn

from nsc_deploy.deployment import Place, Readout
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import CrossAttention, cross_attention
from nsc_deploy.models.spiking import NeuronForm, weight_of
from nsc_deploy.models.stage import Stage, StageLabel

LEFT_TAPS = 5
RIGHT_TAPS = 3
NEAR_A_THRESHOLD = 1e-5
"""Of the largest potential: what float32 sums of some thousand terms differ by in another order."""


class SpikeCrossAttention(Stage):
    """The product of the two paths, [T, B, C] -> current [T, B, C].

    Args:
        channels: C.
        form: of the gate's neurons.
        takes: what enters: events at the transmitter, received values at the receiver.
        gain: of the initial weights of both convolutions. Inputs are sparse or small: at torch's usual
            weights the neurons behind would stay silent, and learn nothing, for many epochs.
    """

    label = StageLabel.HOST
    place = Place.HOST
    description = "Spike Cross Attention up to the product of its two paths"
    emits = Signal.REAL

    def __init__(self, channels: int, form: NeuronForm, takes: Signal, *, gain: float = 1.0) -> None:
        super().__init__()
        self.takes = takes
        self.left = nn.Conv1d(channels, channels, LEFT_TAPS, padding="same", groups=channels, bias=False)
        self.right = nn.Conv1d(channels, channels, RIGHT_TAPS, padding="same", bias=False)
        with torch.no_grad():
            self.left.weight.mul_(gain)
            self.right.weight.mul_(gain)
        self.gate_neurons = form.layer(channels)
        self.gate = nn.Linear(channels, channels, bias=False)

    def forward(self, signal: Tensor) -> Tensor:
        """The current [T, B, C] into the LIF behind the product."""
        return _over_time(self.left, signal) * self.attention(signal)

    def attention(self, signal: Tensor) -> Tensor:
        """The gate [T, B, C] that the left path is multiplied by; 1 leaves it as it is."""
        weight: Tensor = 1 - self.gate(self.gate_neurons(_over_time(self.right, signal)))
        return weight

    @torch.no_grad()
    def undecided(self, signal: Tensor) -> Tensor:
        """In each sample all from the step on in which a potential lies so near its threshold, [T, B, 1]."""
        neurons = self.gate_neurons
        potentials = neurons.potentials(_over_time(self.right, signal))
        near = (potentials - neurons.threshold).abs() <= NEAR_A_THRESHOLD * potentials.abs().amax()
        return near.any(2, keepdim=True).cumsum(0) > 0

    def graph(self, dt: float, readout: Readout | None) -> object:
        """An ONNX graph; the gate's neurons are a Scan over time."""
        del readout
        with torch.no_grad():
            block = CrossAttention(
                left=self.left.weight.numpy(),
                right=self.right.weight.numpy(),
                gate=weight_of(self.gate),
                beta=self.gate_neurons.beta.numpy(),
                threshold=self.gate_neurons.threshold.numpy(),
            )
        return cross_attention(block, signal=self.takes, dt=dt)


def _over_time(convolution: nn.Conv1d, signal: Tensor) -> Tensor:
    channels_and_time: Tensor = convolution(signal.permute(1, 2, 0))
    return channels_and_time.permute(2, 0, 1).contiguous()
