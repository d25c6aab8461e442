"""What each node of a NIR graph charges for the values that arrive at it."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.graphs.connectivity import convolution_fan_out, matrix_fan_out
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.shapes import padding_pairs

UPDATED = frozenset({"LIF", "IF", "CubaLIF", "LI", "CubaLI", "I", "Threshold"})


@dataclass(frozen=True)
class Meter:
    """Counts the operations one node does for what arrives at it.

    Attributes:
        kind: what one arriving value that meets one synapse (or one pooling window, one factor) costs.
        fan_out: [*input_shape], how many of them each input meets.
        always: True where the input carries real values: then every one of them is charged, in every
            step; else only those that are not zero.
    """

    kind: Kind
    fan_out: Integers
    always: bool

    @cached_property
    def uniform(self) -> int | None:
        """What every input meets, if that is the same for all."""
        first = int(self.fan_out.flat[0])
        return first if bool((self.fan_out == first).all()) else None

    @cached_property
    def synapses(self) -> int:
        """The most operations one step can cost."""
        return int(self.fan_out.sum())


def meter_of(network: Network, node: Node) -> Meter | None:
    """The meter of a node, or None where arriving values cost nothing by themselves."""
    arriving = network.arrives(node.name)
    always = arriving is Signal.REAL
    if node.synaptic:
        kind = Kind.AC if arriving is Signal.EVENTS else Kind.MAC
        return Meter(kind, _fan_out(node, node.parameters.weight), always)
    if node.primitive == "Scale":
        return Meter(Kind.PRODUCT, np.ones(node.input_shape, dtype=np.int64), always)
    if node.primitive in {"SumPool2d", "AvgPool2d"}:
        return Meter(Kind.ADDITION, _pool_fan_out(node), always)
    return None


def dense_synapses(node: Node) -> int:
    """Synapses of a node if no weight were zero."""
    if not node.synaptic:
        return 0
    if node.primitive in {"Linear", "Affine"}:
        return prod(node.parameters.weight.shape)
    return int(_fan_out(node, np.broadcast_to(np.uint8(1), node.parameters.weight.shape)).sum())


def constant_costs(node: Node) -> dict[Kind, int]:
    """What a node costs in every step for every sample, whatever arrives."""
    costs: dict[Kind, int] = {}
    if node.primitive in UPDATED:
        costs[Kind.NEURON_UPDATE] = prod(node.output_shape)
    if node.primitive in {"Affine", "Conv1d", "Conv2d"}:
        bias = node.parameters.bias
        costs[Kind.ADDITION] = int(np.count_nonzero(bias)) * (prod(node.output_shape) // bias.size)
    if node.primitive == "AvgPool2d":
        costs[Kind.PRODUCT] = prod(node.output_shape)
    return costs


def _fan_out(node: Node, weight: NDArray[np.generic]) -> Integers:
    if node.primitive in {"Linear", "Affine"}:
        return matrix_fan_out(weight)
    form = node.parameters
    return convolution_fan_out(
        weight,
        node.input_shape[1:],
        stride=form.stride,
        padding=padding_pairs(form.padding, weight.shape[2:], form.dilation),
        dilation=form.dilation,
        groups=form.groups,
    )


def _pool_fan_out(node: Node) -> Integers:
    form = node.parameters
    window = np.broadcast_to(np.uint8(1), (node.input_shape[0], 1, *form.kernel_size))
    return convolution_fan_out(
        window,
        node.input_shape[1:],
        stride=form.stride,
        padding=[(zeros, zeros) for zeros in form.padding],
        dilation=(1, 1),
        groups=node.input_shape[0],
    )
