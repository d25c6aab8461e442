"""Which line of a source reaches which neuron: counted, and never unrolled into a matrix.

A pattern stands for the synapses between the lines of one source (an input, or a population of neurons)
and the neurons of one population. Lines reach the weights through `gather`: for each line the input of
the weights it arrives at, or -1 where it arrives nowhere; a pooling sends several lines to one input.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Pattern(Protocol):
    """The synapses of a projection."""

    @property
    def lines(self) -> int:
        """Lines of the source."""

    @property
    def neurons(self) -> int:
        """Neurons of the target."""

    def lists(self, neurons: Integers) -> Integers:
        """For each line, its synapses onto the neurons with these numbers, [lines]."""

    def fan_in(self) -> Integers:
        """Synapses onto each neuron, [neurons]."""

    def stored(self, neurons: Integers) -> int:
        """Weights kept for these neurons where neurons may share them."""


@dataclass(frozen=True, eq=False)
class Gathering:
    """What patterns of weights have in common: lines reach the inputs of the weights.

    Attributes:
        gather: [lines], the input each line arrives at, or -1.
    """

    gather: Integers

    @property
    def lines(self) -> int:
        """Lines of the source."""
        return len(self.gather)


@dataclass(frozen=True, eq=False)
class DensePattern(Gathering):
    """A weight matrix.

    Attributes:
        present: [neurons, inputs], whether the weight is not zero.
    """

    present: NDArray[np.bool_]

    @property
    def neurons(self) -> int:
        """Neurons of the target."""
        return len(self.present)

    def lists(self, neurons: Integers) -> Integers:
        """For each line, its synapses onto some neurons."""
        return gathered(self.present[neurons].sum(axis=0), self.gather)

    def fan_in(self) -> Integers:
        """Synapses onto each neuron."""
        return np.asarray(self.present @ arriving(self.gather, self.present.shape[1]), dtype=np.int64)

    def stored(self, neurons: Integers) -> int:
        """Every synapse has a weight of its own."""
        return int(self.lists(neurons).sum())


@dataclass(frozen=True, eq=False)
class DirectPattern(Gathering):
    """One neuron for each input: neurons that follow a source without weights.

    Attributes:
        neurons: how many; `gather` says which one each line reaches.
    """

    neurons: int

    def lists(self, neurons: Integers) -> Integers:
        """One synapse for each line that reaches these neurons."""
        reached = np.zeros(self.neurons, np.int64)
        reached[neurons] = 1
        return gathered(reached, self.gather)

    def fan_in(self) -> Integers:
        """Synapses onto each neuron."""
        return arriving(self.gather, self.neurons)

    def stored(self, neurons: Integers) -> int:
        """Every synapse has a weight of its own."""
        return int(self.lists(neurons).sum())


@dataclass(frozen=True, eq=False)
class CutPattern:
    """A pattern of which only the first lines or the first neurons are left.

    Attributes:
        whole: the pattern.
        lines: how many lines are left.
        neurons: how many neurons are left.
    """

    whole: Pattern
    lines: int
    neurons: int

    def lists(self, neurons: Integers) -> Integers:
        """For each line, its synapses onto some neurons."""
        return self.whole.lists(neurons)[: self.lines]

    def fan_in(self) -> Integers:
        """Synapses onto each neuron, as if every line were left."""
        return self.whole.fan_in()[: self.neurons]

    def stored(self, neurons: Integers) -> int:
        """Weights kept for these neurons."""
        return self.whole.stored(neurons)


def gathered(counts: NDArray[Any], gather: Integers) -> Integers:
    """Counts of the inputs of the weights as counts of the lines, [lines]."""
    met = np.zeros(len(gather), np.int64)
    arrives = gather >= 0
    met[arrives] = np.rint(counts[gather[arrives]]).astype(np.int64)
    return met


def arriving(gather: Integers, inputs: int) -> Integers:
    """How many lines arrive at each input of the weights, [inputs]."""
    return np.bincount(gather[gather >= 0], minlength=inputs).astype(np.int64)
