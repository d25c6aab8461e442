"""Which input of a convolution or a pooling meets which output: exact, and never unrolled into a matrix.

Everything follows from one equation, axis by axis: output y reads through tap k the input at

    y * stride + k * dilation - zeros before,

which is a zero of the padding where it lies outside the input. Simulator, passes, exporters and counts take
it from here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Node, Shape

Integers = NDArray[np.int64]
Pair = tuple[int, int]


@dataclass(frozen=True)
class KernelAxis:
    """One axis of a kernel that goes over an input.

    Attributes:
        inputs: size of the input.
        kernel: number of taps.
        stride: inputs from one output to the next.
        padding: zeros before and after the input.
        dilation: inputs from one tap to the next.
    """

    inputs: int
    kernel: int
    stride: int = 1
    padding: Pair = (0, 0)
    dilation: int = 1

    @property
    def window(self) -> int:
        """Inputs from the first tap to the last."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def outputs(self) -> int:
        """Places where the whole window lies on the input or its zeros; below 1 if there are none."""
        return (self.inputs + sum(self.padding) - self.window) // self.stride + 1

    def pairs(self, outputs: int | None = None) -> tuple[Integers, Integers, Integers]:
        """Output, tap and input of every pair that meets, each [pairs], by output and then by tap.

        Args:
            outputs: how many outputs there are, where something else than the sizes decides.
        """
        count = max(0, self.outputs) if outputs is None else outputs
        positions = (
            np.arange(count)[:, None] * self.stride + np.arange(self.kernel) * self.dilation - self.padding[0]
        )
        output, tap = np.nonzero((positions >= 0) & (positions < self.inputs))
        return output, tap, positions[output, tap]

    def pair_count(self, outputs: int | None = None) -> int:
        """Pairs of an output and a tap that falls inside the input."""
        return len(self.pairs(outputs)[0])

    def fan_in(self) -> Integers:
        """For each tap the outputs for which it falls inside the input, [kernel]."""
        return np.bincount(self.pairs()[1], minlength=self.kernel)

    def fan_out(self) -> Integers:
        """1 where a tap falls on an input for some output, [kernel, inputs]."""
        _, tap, position = self.pairs()
        found = np.zeros((self.kernel, self.inputs), np.int64)
        found[tap, position] = 1
        return found

    def covered(self) -> NDArray[np.float64]:
        """1 where an input lies under the window of an output, [outputs, inputs]."""
        output, _, position = self.pairs()
        found = np.zeros((max(0, self.outputs), self.inputs))
        found[output, position] = 1
        return found

    def reads(self, tap: int, low: int, high: int) -> tuple[slice, slice]:
        """Outputs from `low` to before `high` that read an input through a tap, and these inputs."""
        shift = tap * self.dilation - self.padding[0]
        first = max(low, -(shift // self.stride))
        last = max(first, min(high, (self.inputs - 1 - shift) // self.stride + 1))
        start = first * self.stride + shift
        return slice(first, last), slice(start, start + (last - first) * self.stride, self.stride)


Axes = tuple[KernelAxis, ...]


def kernel_axes(parameters: Any, size: Sequence[int]) -> Axes:
    """The axes of space of a convolution or a pooling.

    Args:
        parameters: of a Conv1d, Conv2d, SumPool2d or AvgPool2d node, normalised.
        size: of its input, for each axis.
    """
    if hasattr(parameters, "weight"):
        kernel, dilation = parameters.weight.shape[2:], parameters.dilation
    else:
        kernel, dilation = parameters.kernel_size, (1,) * len(size)
    padding = padding_pairs(parameters.padding, kernel, dilation)
    return tuple(map(KernelAxis, size, kernel, parameters.stride, padding, dilation))


def padding_pairs(
    padding: tuple[int, ...] | str, kernel: tuple[int, ...] | list[int], dilation: tuple[int, ...]
) -> list[Pair]:
    """Zeros before and after each dimension; "same" puts the odd one after, as torch does."""
    if padding == "valid":
        return [(0, 0) for _ in kernel]
    if padding == "same":
        totals = [step * (width - 1) for step, width in zip(dilation, kernel, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(int(zeros), int(zeros)) for zeros in padding]


def pairs(axes: Axes) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Output, tap and input of every pair over all axes, each [pairs] and flattened in C order."""
    output = tap = position = np.zeros(1, np.int32)
    for axis in axes:
        one = [found.astype(np.int32) for found in axis.pairs()]
        output = np.add.outer(output * axis.outputs, one[0]).reshape(-1)
        tap = np.add.outer(tap * axis.kernel, one[1]).reshape(-1)
        position = np.add.outer(position * axis.inputs, one[2]).reshape(-1)
    return output, tap, position


@dataclass(frozen=True, eq=False)
class Convolution:
    """The synapses of a convolution, or of a pooling as a convolution of each channel by itself.

    Inputs and outputs are numbered in C order of [channels, *space].

    Attributes:
        present: [output channels, input channels / groups, *kernel], whether there is a weight.
        axes: of space.
        groups: blocks of channels that see only their own inputs.
    """

    present: NDArray[np.bool_]
    axes: Axes
    groups: int = 1

    @classmethod
    def of(cls, node: Node) -> "Convolution":
        """The synapses of a Conv1d, Conv2d, SumPool2d or AvgPool2d node: its weights that are not 0."""
        axes = kernel_axes(node.parameters, node.input_shape[1:])
        if node.synaptic:
            return cls(node.parameters.weight != 0, axes, node.parameters.groups)
        channels = node.input_shape[0]
        return cls(np.ones((channels, 1, *node.parameters.kernel_size), bool), axes, channels)

    @cached_property
    def input_shape(self) -> Shape:
        """[channels, *space]."""
        return (self.groups * self.present.shape[1], *(axis.inputs for axis in self.axes))

    @cached_property
    def output_shape(self) -> Shape:
        """[channels, *space]."""
        return (len(self.present), *(max(0, axis.outputs) for axis in self.axes))

    @cached_property
    def outputs(self) -> int:
        """Number of outputs."""
        return prod(self.output_shape)

    @property
    def synapses(self) -> int:
        """Number of synapses: weights that are there, onto an input that is no zero of the padding."""
        counts = reduce(np.multiply.outer, (axis.fan_in() for axis in self.axes))
        return int((self.present * counts).sum())

    def fan_out(self) -> Integers:
        """Synapses of each input, [*input_shape].

        A tap falls on an input axis by axis, so the map is a product of small tables:
        fan_out[c, p, q] = sum over i, j of present[c, i, j] * fan_out_0[i, p] * fan_out_1[j, q].
        """
        outputs, per_group, *kernel = self.present.shape
        grouped = self.present.reshape(self.groups, outputs // self.groups, per_group, *kernel)
        table: Integers = grouped.sum(axis=1, dtype=np.int64).reshape(-1, *kernel)
        for number, axis in enumerate(self.axes, start=1):
            table = np.moveaxis(np.tensordot(table, axis.fan_out(), axes=(number, 0)), -1, number)
        return table

    def fan_out_to(self, outputs: Integers) -> Integers:
        """Synapses of each input onto some outputs, [*input_shape].

        Args:
            outputs: their numbers.
        """
        places = self.output_shape[1:]
        channels, place = np.divmod(outputs, prod(places))
        wanted, which = np.unique(channels, return_inverse=True)
        row = prod(places[1:])
        low, high = int(place.min()) // row, int(place.max()) // row + 1
        masks = np.zeros((len(wanted), (high - low) * row))
        masks[which, place - low * row] = 1
        found = np.zeros(self.input_shape)
        group_of, per_group = wanted // (len(self.present) // self.groups), self.present.shape[1]
        for group in np.unique(group_of):
            inputs = found[group * per_group : (group + 1) * per_group]
            kernels = self.present[wanted[group_of == group]].astype(np.float64)
            mask = masks[group_of == group]
            for tap, read, positions in self.reads(low, high):
                weights = kernels[(slice(None), slice(None), *tap)]
                each = (weights.T @ mask).reshape(-1, high - low, *places[1:])
                rows = slice(read[0].start - low, read[0].stop - low)
                inputs[(slice(None), *positions)] += each[(slice(None), rows, *read[1:])]
        return np.rint(found).astype(np.int64)

    def fan_in(self, counts: Integers) -> Integers:
        """Synapses of each output, [*output_shape].

        Args:
            counts: [*input_shape], as how many each input counts.
        """
        found = np.zeros(self.output_shape)
        grouped = np.split(counts.astype(np.float64), self.groups), np.split(self.present, self.groups)
        for outputs, inputs, kernels in zip(np.split(found, self.groups), *grouped, strict=True):
            for tap, read, positions in self.reads(0, self.output_shape[1]):
                index: tuple[Any, ...] = (slice(None), slice(None), *tap)
                weights = kernels[index].astype(np.float64)
                outputs[(slice(None), *read)] += np.tensordot(weights, inputs[(slice(None), *positions)], 1)
        return np.rint(found).astype(np.int64)

    def reads(self, low: int, high: int) -> Iterator[tuple[Shape, tuple[slice, ...], tuple[slice, ...]]]:
        """For each tap the outputs that use it and the inputs they read, as slices of the same lengths.

        Only outputs from `low` to before `high` on the first axis count.
        """
        limits = [(low, high), *((0, size) for size in self.output_shape[2:])]
        for tap in np.ndindex(*self.present.shape[2:]):
            both = [
                axis.reads(index, *limit) for axis, index, limit in zip(self.axes, tap, limits, strict=True)
            ]
            if all(read.stop > read.start for read, _ in both):
                yield tap, tuple(read for read, _ in both), tuple(positions for _, positions in both)


def matrix_fan_out(weight: NDArray[np.generic]) -> Integers:
    """Existing synapses of each input of a weight matrix [..., outputs, inputs] -> [..., inputs]."""
    return np.asarray(np.count_nonzero(weight, axis=-2), dtype=np.int64)


def synapse_count(node: Node) -> int:
    """Connections of a synaptic node: those with a weight other than 0, onto a true input."""
    if not node.synaptic:
        return 0
    if node.primitive.startswith("Conv"):
        return Convolution.of(node).synapses
    return int(np.count_nonzero(node.parameters.weight))
