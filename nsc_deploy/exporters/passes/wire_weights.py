"""The weights of Linear, convolution and pooling nodes as matrices, from flat inputs to flat outputs."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_diag

from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.shapes import padding_pairs

LARGEST_MATRIX = 2**25
CONVOLUTIONS = frozenset({"Conv1d", "Conv2d"})
POOLS = frozenset({"SumPool2d", "AvgPool2d"})


def most_synapses(node: Node) -> int:
    """How many weights the matrix of a node can have, counted without making it; 0 for a node without."""
    if node.primitive in CONVOLUTIONS:
        return math.prod((*node.output_shape, *node.parameters.weight.shape[1:]))
    if node.primitive in POOLS:
        return math.prod((*node.output_shape, *node.parameters.kernel_size))
    return int(node.parameters.weight.size) if node.primitive in {"Linear", "Affine"} else 0


def dense_weights(node: Node) -> Matrix:
    """Linear and Affine; weights with more than two dimensions act on each slice apart."""
    weight = node.parameters.weight.astype(np.float64)
    if weight.ndim == 2:
        return Matrix.of(weight)
    return Matrix.of(block_diag(list(weight.reshape(-1, *weight.shape[-2:])), format="csr"))


def convolution_weights(node: Node) -> Matrix:
    """Conv1d and Conv2d, a cross-correlation of [channels, *space]."""
    parameters = node.parameters
    return window_weights(
        parameters.weight.astype(np.float64),
        node.input_shape[1:],
        node.output_shape[1:],
        stride=parameters.stride,
        dilation=parameters.dilation,
        before=[
            pair[0]
            for pair in padding_pairs(parameters.padding, parameters.weight.shape[2:], parameters.dilation)
        ],
        groups=parameters.groups,
    )


def pooling_weights(node: Node) -> Matrix:
    """SumPool2d and AvgPool2d: a window of equal weights on each channel by itself."""
    parameters = node.parameters
    channels, kernel = node.input_shape[0], tuple(parameters.kernel_size)
    each = 1.0 if node.primitive == "SumPool2d" else 1.0 / math.prod(kernel)
    return window_weights(
        np.full((channels, 1, *kernel), each),
        node.input_shape[1:],
        node.output_shape[1:],
        stride=parameters.stride,
        dilation=(1, 1),
        before=parameters.padding,
        groups=channels,
    )


def window_weights(
    weight: NDArray[np.float64],
    entering: Sequence[int],
    leaving: Sequence[int],
    *,
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
    groups: int,
) -> Matrix:
    """A cross-correlation as a matrix.

    Args:
        weight: [out channels, in channels of a group, *kernel].
        entering: size of each dimension of the input.
        leaving: size of each dimension of the output.
        stride: for each dimension.
        dilation: for each dimension.
        before: zeros in front of each dimension.
        groups: groups of channels.
    """
    place, tap, source = _meetings(weight.shape[2:], entering, leaving, stride, dilation, before)
    places, pixels = math.prod(leaving), math.prod(entering)
    out_channels, per_group = weight.shape[:2]
    taps = weight.reshape(out_channels, per_group, -1)
    targets, sources, values = [], [], []
    for channel in range(out_channels):
        first = channel // (out_channels // groups) * per_group
        met = taps[channel][:, tap]
        targets.append(np.broadcast_to(channel * places + place, met.shape)[met != 0])
        from_each = (first + np.arange(per_group))[:, None] * pixels + source
        sources.append(from_each.astype(np.int32)[met != 0])
        values.append(met[met != 0])
    return Matrix.from_entries(
        (out_channels * places, groups * per_group * pixels),
        np.concatenate(targets),
        np.concatenate(sources),
        np.concatenate(values),
    )


def _meetings(
    kernel: Sequence[int],
    entering: Sequence[int],
    leaving: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    before: Sequence[int],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Where a kernel lies on a pixel: output place, tap of the kernel and pixel, each [meetings]."""
    space = len(kernel)
    axes = np.indices((*leaving, *kernel), sparse=True)
    pixel: Any = 0
    inside: Any = True
    for axis in range(space):
        at = axes[axis] * stride[axis] + axes[space + axis] * dilation[axis] - before[axis]
        inside = inside & (at >= 0) & (at < entering[axis])
        pixel = pixel * entering[axis] + at
    shape = (math.prod(leaving), math.prod(kernel))
    place, tap = np.nonzero(np.broadcast_to(inside, (*leaving, *kernel)).reshape(shape))
    met = np.broadcast_to(pixel, (*leaving, *kernel)).reshape(shape)[place, tap]
    return place.astype(np.int32), tap.astype(np.int32), met.astype(np.int32)
