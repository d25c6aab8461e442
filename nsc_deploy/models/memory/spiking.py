"""The spiking codec: a sentence's vector to binary spikes, two to a QPSK symbol; received bits to a vector.

The sender's first neurons meet the same current in each of four steps but for what a step adds to it, so the
host works out one product; what follows meets events alone. The receiver hands a received bit to its neurons
as events that tell how sure it is (soft decision), beside one that says which step it is: the same bit means
another thing in each step.
Weights that meet events lie on a dyadic grid once training has ended, on which a chip's sums are exact.
"""

import math
from dataclasses import replace

import nir
import torch
from torch import Tensor, nn

from nsc_deploy.channels.modulation import straight_through
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.dense import dense
from nsc_deploy.models.spiking import NeuronForm, add_neurons, bias_of, snap_layer, weight_of

STEPS = 4
FORM = NeuronForm(decay_steps=2.0, threshold=1.0, framework="snntorch")
AT_ONCE = replace(FORM, decay_steps=1.0, threshold=4.0)
"""Neurons that keep nothing from step to step: each bit is decided on its own.

The surrogate's slope is a quarter as wide, measured by the threshold, as in the other layers: the error of
vectors is 3 to 6 % smaller after as many steps of training.
"""
_LEVEL = 1 / math.sqrt(2)


class SpikingJscEncoder(nn.Module):
    """Sentence vectors [N, width] to QPSK symbols [N, L, 2] through T = 4 steps of L / 2 spikes.

        current = W1 z + b1 + c[t];  LIF of 2 width neurons;  W2 s + b2;  L / 2 neurons that keep nothing

    A spike is sent as +1 / sqrt 2, none as -1 / sqrt 2: the power of a message is 1, whatever is said.

    Args:
        width: of a sentence vector.
        symbols: L, a multiple of 8.
    """

    def __init__(self, width: int, symbols: int) -> None:
        super().__init__()
        self.lines = 2 * symbols // STEPS
        self.drive = dense(width, 2 * width)
        self.clock = nn.Parameter(torch.randn(STEPS, 2 * width) / 2)
        self.first = FORM.layer(2 * width)
        self.dense = balanced(2 * width, self.lines)
        self.last = AT_ONCE.layer(self.lines)

    def forward(self, vectors: Tensor) -> Tensor:
        """Symbols [N, L, 2]."""
        return qpsk(self.spikes(self.current(vectors)))

    @torch.no_grad()
    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take vectors of this mean [width] and deviation as if they had none and 1 / 2: before training."""
        self.drive.weight.mul_(2 / deviation)
        self.drive.bias.sub_(self.drive.weight @ mean)

    def current(self, vectors: Tensor) -> Tensor:
        """What drives the first neurons in each step [T, N, 2 width]."""
        driven: Tensor = self.drive(vectors) + self.clock.unsqueeze(1)
        return driven

    def spikes(self, current: Tensor) -> Tensor:
        """Spikes [T, N, L / 2]: what a chip computes."""
        sent: Tensor = self.last(self.dense(self.first(current)))
        return sent

    def finish(self) -> None:
        """Put the weights that meet events on their grid."""
        snap_layer(self.dense)

    def graph(self, dt: float) -> nir.NIRGraph:
        """From the current to spikes, for a chip."""
        builder = GraphBuilder(dt)
        builder.input(self.first.shape, Signal.REAL)
        add_neurons(builder, "lif1", self.first)
        builder.affine("dense2", weight_of(self.dense), bias_of(self.dense))
        add_neurons(builder, "lif2", self.last)
        builder.output(self.lines)
        return builder.build()


class SpikingJscDecoder(nn.Module):
    """Detected QPSK symbols [N, L, 2] to sentence vectors [N, width]: bits as events, two hidden layers.

        s[i] = 1 where a real or imaginary part is above a (2 i / K - 1),  i = 1 ... K - 1
        W1 [s, step] + b1;  LIF;  W2 s + b2;  LIF;  W3 s + b3;  mean over the steps

    a is the 1 / sqrt 2 that was sent. K = 2 decides each bit; with K = 4 an event more or less tells how
    sure the bit is. Both layers have 2 width neurons.

    Args:
        width: of a sentence vector.
        symbols: L, a multiple of 8.
        levels: K, even.
    """

    def __init__(self, width: int, symbols: int, levels: int) -> None:
        super().__init__()
        self.lines = 2 * symbols // STEPS
        self.thresholds = [2 * above / levels - 1 for above in range(1, levels)]
        self.first = dense(self.lines * len(self.thresholds) + STEPS, 2 * width, gain=2.0)
        self.neurons = FORM.layer(2 * width)
        self.second = dense(2 * width, 2 * width, gain=1.5)
        self.second_neurons = FORM.layer(2 * width)
        self.out = dense(2 * width, width)

    def forward(self, symbols: Tensor) -> Tensor:
        """Sentence vectors [N, width]."""
        return self.values(self.events(symbols)).mean(0)

    @torch.no_grad()
    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Give vectors of about this mean [width] and deviation: before training."""
        self.out.weight.mul_(deviation)
        self.out.bias.copy_(mean)

    def events(self, symbols: Tensor) -> Tensor:
        """What is above each threshold, then an event on the line of each step [T, N, (K - 1) L / 2 + T].

        The gradient of an event is that of the clipped value.
        """
        values = symbols.reshape(len(symbols), STEPS, self.lines).transpose(0, 1).contiguous() / _LEVEL
        above = [
            straight_through((values - least).clamp(-1, 1) / 2 + 0.5, (values > least).to(values.dtype))
            for least in self.thresholds
        ]
        clock = torch.eye(STEPS).unsqueeze(1).expand(STEPS, len(symbols), STEPS)
        return torch.cat([*above, clock], -1)

    def values(self, events: Tensor) -> Tensor:
        """What each step adds to the vector [T, N, width]: what a chip computes."""
        hidden = self.second_neurons(self.second(self.neurons(self.first(events))))
        told: Tensor = self.out(hidden)
        return told

    def finish(self) -> None:
        """Put the weights that meet events on their grid."""
        for layer in (self.first, self.second, self.out):
            snap_layer(layer)

    def graph(self, dt: float) -> nir.NIRGraph:
        """From bits to the vector's parts, for a chip."""
        builder = GraphBuilder(dt)
        builder.input(self.first.in_features, Signal.EVENTS)
        builder.affine("dense1", weight_of(self.first), bias_of(self.first))
        add_neurons(builder, "lif1", self.neurons)
        builder.affine("dense2", weight_of(self.second), bias_of(self.second))
        add_neurons(builder, "lif2", self.second_neurons)
        builder.affine("dense3", weight_of(self.out), bias_of(self.out))
        builder.output(self.out.out_features)
        return builder.build()


def qpsk(spikes: Tensor) -> Tensor:
    """Spikes [T, N, lines] as QPSK symbols of unit power [N, T lines / 2, 2]: a spike is +, none is -."""
    values = (2 * spikes - 1) * _LEVEL
    return values.transpose(0, 1).reshape(spikes.shape[1], -1, 2)


def balanced(inputs: int, outputs: int) -> nn.Linear:
    """A layer in front of `AT_ONCE` neurons that fire in about half of the steps before training."""
    layer = dense(inputs, outputs, gain=2 * AT_ONCE.threshold)
    with torch.no_grad():
        layer.weight.sub_(layer.weight.mean(1, keepdim=True))
        layer.bias.fill_(AT_ONCE.threshold)
    return layer


def build_spiking_jsc(
    width: int, symbols: int, levels: int, seed: int
) -> tuple[SpikingJscEncoder, SpikingJscDecoder]:
    """A codec with drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpikingJscEncoder(width, symbols), SpikingJscDecoder(width, symbols, levels)
