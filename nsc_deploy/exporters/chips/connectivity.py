"""Which line of a source reaches which neuron: counted, and never unrolled into a matrix.

A pattern stands for the synapses between the lines of one source (an input, or a population of neurons)
and the neurons of one population. Lines reach the weights through `gather`: for each line the input of
the weights it arrives at, or -1 where it arrives nowhere; a pooling sends several lines to one input.

The synapses of a convolution: counted tap by tap, never unrolled into a matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
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


@dataclass(frozen=True, eq=False)
class ConvolutionPattern(Gathering):
    """A convolution over one or two dimensions.

    Attributes:
        present: [outputs, inputs / groups, *kernel], whether the weight is not zero.
        size: spatial size of the input.
        out: spatial size of the output.
        stride: step between outputs, for each axis.
        before: zeros in front, for each axis.
        dilation: distance of the taps, for each axis.
        groups: blocks of channels that see only their own inputs.
    """

    present: NDArray[np.bool_]
    size: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def neurons(self) -> int:
        """Neurons of the target, channel by channel."""
        return len(self.present) * prod(self.out)

    def lists(self, neurons: Integers) -> Integers:
        """For each line, its synapses onto some neurons."""
        channels, places = np.divmod(neurons, prod(self.out))
        wanted, which = np.unique(channels, return_inverse=True)
        row = prod(self.out[1:])
        low, high = int(places.min()) // row, int(places.max()) // row + 1
        masks = np.zeros((len(wanted), (high - low) * row))
        masks[which, places - low * row] = 1
        met = np.zeros((self.groups * self.present.shape[1], *self.size))
        per_group = len(self.present) // self.groups
        for group in np.unique(wanted // per_group):
            inside = wanted // per_group == group
            inputs = met[group * self.present.shape[1] : (group + 1) * self.present.shape[1]]
            kernels = self.present[wanted[inside]].astype(np.float64)
            for tap, here, there in self._taps(low, high):
                weights = kernels[(slice(None), slice(None), *tap)]
                seen = (weights.T @ masks[inside]).reshape(-1, high - low, *self.out[1:])
                used: tuple[slice, ...] = (slice(None), _moved(here[0], low), *here[1:])
                inputs[(slice(None), *there)] += seen[used]
        return gathered(met.reshape(-1), self.gather)

    def fan_in(self) -> Integers:
        """Synapses onto each neuron."""
        channels = self.present.shape[1]
        count = arriving(self.gather, self.groups * channels * prod(self.size))
        per_input = count.astype(np.float64).reshape(self.groups * channels, *self.size)
        met = np.zeros((len(self.present), *self.out))
        per_group = len(self.present) // self.groups
        for group in range(self.groups):
            outputs = np.arange(group * per_group, (group + 1) * per_group)
            inputs = per_input[group * channels : (group + 1) * channels]
            kernels = self.present[outputs].astype(np.float64)
            for tap, here, there in self._taps(0, self.out[0]):
                index: tuple[Any, ...] = (slice(None), slice(None), *tap)
                weights = kernels[index]
                patch = inputs[(slice(None), *there)]
                seen = np.tensordot(weights, patch, axes=1)
                at = np.ix_(outputs, *(np.arange(self.out[axis])[cut] for axis, cut in enumerate(here)))
                met[at] += seen
        return np.rint(met).astype(np.int64).reshape(-1)

    def stored(self, neurons: Integers) -> int:
        """The kernels of the channels that have a neuron here."""
        return int(np.count_nonzero(self.present[np.unique(neurons // prod(self.out))]))

    def _taps(
        self, low: int, high: int
    ) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
        """For each tap the outputs that use it, and the inputs they use, as slices of the same lengths.

        Only outputs from `low` to before `high` on the first axis count.
        """
        for tap in np.ndindex(*self.present.shape[2:]):
            limits = [(low, high), *((0, size) for size in self.out[1:])]
            cuts = [self._axis(axis, index, *limits[axis]) for axis, index in enumerate(tap)]
            if all(here.stop > here.start for here, _ in cuts):
                yield tap, tuple(here for here, _ in cuts), tuple(there for _, there in cuts)

    def _axis(self, axis: int, index: int, low: int, high: int) -> tuple[slice, slice]:
        step = self.stride[axis]
        shift = index * self.dilation[axis] - self.before[axis]
        first = max(low, -(shift // step))
        last = min(high, (self.size[axis] - 1 - shift) // step + 1)
        last = max(first, last)
        return slice(first, last), slice(first * step + shift, (last - 1) * step + shift + 1, step)


def _moved(cut: slice, back: int) -> slice:
    return slice(cut.start - back, cut.stop - back)
