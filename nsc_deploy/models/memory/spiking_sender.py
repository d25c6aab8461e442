"""A sender of spikes alone: a sentence's words as events, a recurrent network, and 64 spikes to send.

It takes the place of the sentence encoder and of the sender's half of the codec, and learns from the vectors
of that encoder. One word comes in every two steps, right-aligned: without biases the network rests until the
first one. Then a clock ticks four times, and in each of these steps a quarter of the message leaves.
"""

import nir
import numpy as np
import torch
from torch import Tensor, nn

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.dyadic import snap
from nsc_deploy.graphs.network import Signal
from nsc_deploy.models.memory.spiking import AT_ONCE, STEPS, balanced, qpsk
from nsc_deploy.models.neurons import arctan_spike
from nsc_deploy.models.spiking import add_neurons, bias_of, snap_layer, weight_of

STEPS_A_WORD = 2
SYNAPSE, MEMBRANE, THRESHOLD = 0.5, 0.75, 1.0
"""What a step keeps of a current and of a potential, exact in every number format; and the threshold."""


class SpikingTransmitter(nn.Module):
    """Numbers of words [N, W], 0 for padding, to QPSK symbols [N, L, 2].

        u <- u / 2 + W e[t] + R s[t-1];  v <- 3 v / 4 + u;  s[t] = 1 and v = 0 where v > 1
        bits[t] = 1 where D s[t] + d > 4, of the last four steps

    e[t] has an event on the line of a word, or on that of a tick; s are 2 width current-based neurons.

    Args:
        words: rows of a word table, padding included.
        longest: words of the longest sentence.
        width: of the vectors it learns from.
        symbols: L, a multiple of 8.
    """

    reads_words = True

    def __init__(self, words: int, longest: int, width: int, symbols: int) -> None:
        super().__init__()
        self.words, self.longest, self.lines = words - 1, longest, 2 * symbols // STEPS
        size = 2 * width
        self.read = nn.Linear(self.words + STEPS, size, bias=False)
        nn.init.normal_(self.read.weight, std=0.5)
        self.back = nn.Linear(size, size, bias=False)
        self.dense = balanced(size, self.lines)
        self.last = AT_ONCE.layer(self.lines)

    @property
    def steps(self) -> int:
        """Of a sentence and of the message behind it."""
        return self.longest * STEPS_A_WORD + STEPS

    def forward(self, words: Tensor) -> Tensor:
        """Symbols [N, L, 2]."""
        return qpsk(self.spikes(self.events(words))[-STEPS:])

    def events(self, words: Tensor) -> Tensor:
        """Words, then ticks, as events [T, N, words + 4]."""
        events = torch.zeros(self.steps, len(words), self.words + STEPS)
        sentence, place = words.nonzero(as_tuple=True)
        lengths = (words != 0).sum(1)
        step = (self.longest - lengths[sentence] + place) * STEPS_A_WORD
        events[step, sentence, words[sentence, place] - 1] = 1
        for tick in range(STEPS):
            events[tick - STEPS, :, self.words + tick] = 1
        return events

    def spikes(self, events: Tensor) -> Tensor:
        """What leaves in every step [T, N, L / 2]: what a chip computes; the last four are sent."""
        sent: Tensor = self.last(self.dense(self.recurrent(events)))
        return sent

    def recurrent(self, events: Tensor) -> Tensor:
        """Spikes of the recurrent neurons [T, N, 2 width]."""
        driven = self.read(events)
        current = potential = spikes = torch.zeros_like(driven[0])
        told = []
        for arriving in driven:
            current = SYNAPSE * current + (arriving + self.back(spikes))
            potential = MEMBRANE * potential + current
            spikes = arctan_spike(potential - THRESHOLD)
            potential = potential * (1 - spikes)
            told.append(spikes)
        return torch.stack(told)

    @torch.no_grad()
    def finish(self) -> None:
        """Put the weights on their grids; those that one neuron adds up share one."""
        both = torch.cat([self.read.weight, self.back.weight], 1)
        snapped = torch.from_numpy(snap(both.numpy()).weight.copy())
        self.read.weight.copy_(snapped[:, : self.read.in_features])
        self.back.weight.copy_(snapped[:, self.read.in_features :])
        snap_layer(self.dense)

    def graph(self, dt: float) -> nir.NIRGraph:
        """From events to spikes, for a chip."""
        size = self.back.in_features
        synapse, membrane = dt / (1 - SYNAPSE), dt / (1 - MEMBRANE)
        ones = np.ones(size)
        neurons = nir.CubaLIF(
            tau_syn=synapse * ones,
            tau_mem=membrane * ones,
            r=membrane / dt * ones,
            v_leak=0 * ones,
            v_threshold=THRESHOLD * ones,
            v_reset=0 * ones,
            w_in=synapse / dt * ones,
        )
        builder = GraphBuilder(dt)
        builder.input(self.read.in_features, Signal.EVENTS)
        builder.linear("words", weight_of(self.read))
        builder.add("neurons", neurons)
        builder.linear("back", weight_of(self.back))
        builder.connect("back", "neurons")
        builder.affine("dense", weight_of(self.dense), bias_of(self.dense), after="neurons")
        add_neurons(builder, "bits", self.last)
        builder.output(self.lines)
        return builder.build()


def build_spiking_sender(words: int, longest: int, width: int, symbols: int, seed: int) -> SpikingTransmitter:
    """A sender with drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SpikingTransmitter(words, longest, width, symbols)
