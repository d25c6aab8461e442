"""How many synapses an event at each input meets: exact, and never unrolled into a matrix."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.primitives import padding_pairs

Integers = NDArray[np.int64]
Pair = tuple[int, int]


def matrix_fan_out(weight: NDArray[np.generic]) -> Integers:
    """Existing synapses of each input of a weight matrix [..., outputs, inputs] -> [..., inputs]."""
    return np.asarray(np.count_nonzero(weight, axis=-2), dtype=np.int64)


def convolution_fan_out(
    weight: NDArray[np.generic],
    size: Sequence[int],
    *,
    stride: Sequence[int],
    padding: Sequence[Pair],
    dilation: Sequence[int],
    groups: int = 1,
) -> Integers:
    """Existing synapses of each input position of a convolution.

    The input at channel c and position p meets the non-zero weights of all kernel offsets k for which
    p + padding - k * dilation is a multiple of the stride and falls on an output. That condition holds
    axis by axis, so the map is a product of small tables:
    fan_out[c, p, q] = sum over i, j of nonzero[c, i, j] * hits_0[i, p] * hits_1[j, q].

    Args:
        weight: [outputs, inputs / groups, *kernel].
        size: spatial size of the input.
        stride: step between outputs, for each axis.
        padding: zeros before and after, for each axis.
        dilation: distance of the taps, for each axis.
        groups: blocks of channels that see only their own inputs.

    Returns:
        [inputs, *size].
    """
    outputs, per_group, *kernel = weight.shape
    nonzero = (weight != 0).reshape(groups, outputs // groups, per_group, *kernel)
    table: Integers = nonzero.sum(axis=1, dtype=np.int64).reshape(groups * per_group, *kernel)
    for axis, taps in enumerate(kernel):
        hits = _hits(size[axis], taps, stride[axis], padding[axis], dilation[axis])
        table = np.moveaxis(np.tensordot(table, hits, axes=(axis + 1, 0)), -1, axis + 1)
    return table


def window_pairs(size: int, taps: int, stride: int, padding: Pair, dilation: int, outputs: int) -> int:
    """Pairs of an output and a tap that falls inside the input, along one axis.

    Args:
        size: of the input.
        taps: of the kernel.
        stride: step between outputs.
        padding: zeros before and after.
        dilation: distance of the taps.
        outputs: their number.
    """
    start = np.arange(outputs)[:, None] * stride + dilation * np.arange(taps)[None, :] - padding[0]
    return int(np.count_nonzero((start >= 0) & (start < size)))


def _outputs(size: int, taps: int, stride: int, padding: Pair, dilation: int) -> int:
    return max(0, (size + sum(padding) - dilation * (taps - 1) - 1) // stride + 1)


def _hits(size: int, taps: int, stride: int, padding: Pair, dilation: int) -> Integers:
    """1 where the tap k of some output falls on position p, [taps, size]."""
    outputs = _outputs(size, taps, stride, padding, dilation)
    start = np.arange(size)[None, :] + padding[0] - dilation * np.arange(taps)[:, None]
    hits: NDArray[np.bool_] = (start % stride == 0) & (start >= 0) & (start // stride < outputs)
    return hits.astype(np.int64)


def synapse_count(node: Node) -> int:
    """Connections of a synaptic node: those with a weight other than 0, onto a true input."""
    if not node.synaptic:
        return 0
    weight = node.parameters.weight
    if not node.primitive.startswith("Conv"):
        return int(np.count_nonzero(weight))
    parameters = node.parameters
    pads = padding_pairs(parameters.padding, weight.shape[2:], parameters.dilation)
    inside = [
        _taps_inside(*sizes)
        for sizes in zip(
            node.input_shape[1:],
            node.output_shape[1:],
            weight.shape[2:],
            [before for before, _ in pads],
            parameters.stride,
            parameters.dilation,
            strict=True,
        )
    ]
    pairs = reduce(np.multiply.outer, inside)
    return int(((weight != 0) * pairs).sum())


def _taps_inside(
    size: int, positions: int, width: int, before: int, stride: int, dilation: int
) -> NDArray[np.int64]:
    """For each tap of the kernel: output positions where it reads a true input along one dimension."""
    places = np.arange(positions)[:, None] * stride + np.arange(width)[None, :] * dilation - before
    inside: NDArray[np.int64] = ((places >= 0) & (places < size)).sum(0)
    return inside
