"""The largest weight of a projection onto each neuron: of products with scales, not a product of maxima."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.connectivity import Convolution, Integers
from nsc_deploy.graphs.network import Node

Reals = NDArray[np.float64]


def largest_weights(
    weights: Sequence[Node], gather: Integers, scales: Sequence[Reals], neurons: int
) -> Reals:
    """By magnitude, scales included, [neurons].

    Args:
        weights: nodes one behind the other: matrices, or one convolution; none where neurons follow a line
            without.
        gather: [lines], the input of the first at which each line arrives, or -1.
        scales: of each line, then of what leaves each of the weights, flattened.
        neurons: how many.
    """
    inputs = neurons if not weights else prod(weights[0].input_shape)
    arriving = np.zeros(inputs)
    reached = gather >= 0
    np.maximum.at(arriving, gather[reached], np.abs(scales[0][reached]))
    if not weights:
        return arriving
    if weights[0].primitive.startswith("Conv"):
        return _of_convolution(weights[0], arriving) * np.abs(scales[1])
    matrix = arriving * weights[0].parameters.weight.astype(np.float64) * scales[1][:, None]
    for node, scale in zip(weights[1:], scales[2:], strict=True):
        matrix = scale[:, None] * (node.parameters.weight.astype(np.float64) @ matrix)
    largest: Reals = np.abs(matrix).max(axis=1, initial=0)
    return largest


def _of_convolution(node: Node, arriving: Reals) -> Reals:
    """The largest of its weights, each times what its line is scaled by, [outputs]."""
    convolution = Convolution.of(node)
    kernels = np.abs(node.parameters.weight.astype(np.float64))
    found = np.zeros(convolution.output_shape)
    grouped = np.split(arriving.reshape(convolution.input_shape), convolution.groups)
    blocks = np.split(found, convolution.groups), grouped, np.split(kernels, convolution.groups)
    for outputs, inputs, own in zip(*blocks, strict=True):
        for tap, read, positions in convolution.reads(0, convolution.output_shape[1]):
            index: tuple[Any, ...] = (slice(None), slice(None), *tap)
            _raise_to(outputs[(slice(None), *read)], own[index], inputs[(slice(None), *positions)])
    return found.reshape(-1)


def _raise_to(outputs: Reals, weights: Reals, lines: Reals) -> None:
    """Raise outputs [outputs, *space] to weights [outputs, channels] times lines [channels, *space]."""
    even = lines.reshape(len(lines), -1)
    if (even == even[:, :1]).all():  # as most often, and then one number a channel
        each = (weights * even[:, 0]).max(axis=1, initial=0)
        np.maximum(outputs, each.reshape(-1, *(1,) * (outputs.ndim - 1)), out=outputs)
        return
    for output, own in zip(outputs, weights, strict=True):
        each = (own.reshape(-1, *(1,) * (lines.ndim - 1)) * lines).max(axis=0, initial=0)
        np.maximum(output, each, out=output)
