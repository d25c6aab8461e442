"""The synapses of a convolution: counted tap by tap, never unrolled into a matrix."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.chips.patterns import Integers, arriving, gathered


@dataclass(frozen=True, eq=False)
class ConvolutionPattern:
    """A convolution over one or two dimensions.

    Attributes:
        present: [outputs, inputs / groups, *kernel], whether the weight is not zero.
        size: spatial size of the input.
        out: spatial size of the output.
        stride: step between outputs, for each axis.
        before: zeros in front, for each axis.
        dilation: distance of the taps, for each axis.
        groups: blocks of channels that see only their own inputs.
        gather: [lines], the input each line arrives at, or -1.
    """

    present: NDArray[np.bool_]
    size: tuple[int, ...]
    out: tuple[int, ...]
    stride: tuple[int, ...]
    before: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    gather: Integers

    @property
    def lines(self) -> int:
        """Lines of the source."""
        return len(self.gather)

    @property
    def neurons(self) -> int:
        """Neurons of the target, channel by channel."""
        return len(self.present) * prod(self.out)

    def lists(self, start: int, stop: int) -> Integers:
        """For each line, its synapses onto some neurons."""
        chosen = np.zeros(self.neurons)
        chosen[start:stop] = 1
        masks = chosen.reshape(len(self.present), -1)
        met = np.zeros((self.groups * self.present.shape[1], *self.size))
        for group, outputs in enumerate(self._rows(np.asarray(masks.any(axis=1)))):
            inputs = met[group * self.present.shape[1] : (group + 1) * self.present.shape[1]]
            kernels = self.present[outputs].astype(np.float64)
            for tap, here, there in self._taps():
                weights = kernels[(slice(None), slice(None), *tap)]
                seen = (weights.T @ masks[outputs]).reshape(-1, *self.out)
                inputs[(slice(None), *there)] += seen[(slice(None), *here)]
        return gathered(met.reshape(-1), self.gather)

    def fan_in(self) -> Integers:
        """Synapses onto each neuron."""
        channels = self.present.shape[1]
        count = arriving(self.gather, self.groups * channels * prod(self.size))
        per_input = count.astype(np.float64).reshape(self.groups * channels, *self.size)
        met = np.zeros((len(self.present), *self.out))
        for group, outputs in enumerate(self._rows(np.ones(len(self.present), bool))):
            inputs = per_input[group * channels : (group + 1) * channels]
            kernels = self.present[outputs].astype(np.float64)
            for tap, here, there in self._taps():
                weights = kernels[(slice(None), slice(None), *tap)]
                patch = inputs[(slice(None), *there)]
                seen = np.tensordot(weights, patch, axes=1)
                at = np.ix_(outputs, *(np.arange(self.out[axis])[cut] for axis, cut in enumerate(here)))
                met[at] += seen
        return np.rint(met).astype(np.int64).reshape(-1)

    def stored(self, start: int, stop: int) -> int:
        """The kernels of the channels that have a neuron here."""
        places = prod(self.out)
        return int(np.count_nonzero(self.present[start // places : (stop - 1) // places + 1]))

    def _rows(self, wanted: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        """For each group the output channels in it that are wanted."""
        per_group = len(self.present) // self.groups
        for group in range(self.groups):
            yield group * per_group + np.flatnonzero(wanted[group * per_group : (group + 1) * per_group])

    def _taps(self) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
        """For each tap the outputs that use it, and the inputs they use, as slices of the same lengths."""
        for tap in np.ndindex(*self.present.shape[2:]):
            cuts = [self._axis(axis, index) for axis, index in enumerate(tap)]
            if all(here.stop > here.start for here, _ in cuts):
                yield tap, tuple(here for here, _ in cuts), tuple(there for _, there in cuts)

    def _axis(self, axis: int, index: int) -> tuple[slice, slice]:
        step = self.stride[axis]
        shift = index * self.dilation[axis] - self.before[axis]
        first = max(0, -(shift // step))
        last = min(self.out[axis], (self.size[axis] - 1 - shift) // step + 1)
        last = max(first, last)
        return slice(first, last), slice(first * step + shift, (last - 1) * step + shift + 1, step)
