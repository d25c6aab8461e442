"""A graph as populations and projections: what has to find a place on a chip.

What lies between neurons (weights, Scale, Flatten, pooling, Delay) becomes projections: at most one set of
weights each, reached through poolings, late by a number of steps. Two weight matrices in a row become
their product. Several paths into one population become several projections. Synapses are counted and never
unrolled into a matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, pairwise
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.chips.largest import largest_weights
from nsc_deploy.exporters.chips.placement import Share
from nsc_deploy.graphs.connectivity import Convolution, Integers, kernel_axes, pairs
from nsc_deploy.graphs.network import SPIKING, Network, Node, Shape
from nsc_deploy.graphs.operators.linear import delay_steps

MAX_PATHS = 4096
POOLS = frozenset({"SumPool2d", "AvgPool2d"})
_STATES = {"LIF": 1, "IF": 1, "CubaLIF": 2, "Threshold": 0}


def build_projections(network: Network) -> "ProjectionGraph":
    """Bring a graph into populations and projections.

    Raises:
        Obstacle: something between neurons that cannot be expressed so.
    """
    populations = tuple(
        Population(node.name, node.primitive, node.output_shape, _STATES[node.primitive])
        for node in network.nodes
        if node.primitive in SPIKING
    )
    projections = tuple(
        _projection(network, path, back) for one in populations for path, back in _paths(network, one.name)
    )
    inputs = {node.name: prod(node.output_shape) for node in network.input_nodes}
    return ProjectionGraph(inputs, populations, projections, _outputs(network))


@dataclass(frozen=True)
class Population:
    """Neurons of one graph node.

    Attributes:
        name: of the node.
        primitive: LIF, IF, CubaLIF or Threshold.
        shape: for one sample at one step.
        states: state variables a neuron keeps.
    """

    name: str
    primitive: str
    shape: Shape
    states: int

    def share(self, start: int, stop: int) -> Share:
        """Some of its neurons in the order of placement: at each place of a feature map all channels."""
        return Share(self.name, start, stop, self._order[start:stop])

    @cached_property
    def _order(self) -> Integers:
        return np.arange(self.size).reshape(self.shape[0], -1).T.reshape(-1)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


class Connections(Protocol):
    """Synapses between the inputs of weights and neurons; `Convolution` is one."""

    @property
    def input_shape(self) -> Shape:
        """Of what the weights take in."""

    @property
    def outputs(self) -> int:
        """Number of neurons."""

    def fan_out_to(self, outputs: Integers) -> Integers:
        """Synapses of each input onto some neurons, [*input_shape]."""

    def fan_in(self, counts: Integers) -> Integers:
        """Synapses of each neuron, where each input counts as often as `counts` [*input_shape] says."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix.

    Attributes:
        present: [neurons, inputs], whether the weight is not zero.
    """

    present: NDArray[np.bool_]

    @property
    def input_shape(self) -> Shape:
        """[inputs]."""
        return self.present.shape[1:]

    @property
    def outputs(self) -> int:
        """Number of neurons."""
        return len(self.present)

    def fan_out_to(self, outputs: Integers) -> Integers:
        """Synapses of each input onto some neurons."""
        return np.asarray(self.present[outputs].sum(axis=0), np.int64)

    def fan_in(self, counts: Integers) -> Integers:
        """Synapses of each neuron."""
        return np.asarray(self.present @ counts, np.int64)


@dataclass(frozen=True)
class OneToOne:
    """A neuron for each input: neurons that follow a source without weights.

    Attributes:
        outputs: how many.
    """

    outputs: int

    @property
    def input_shape(self) -> Shape:
        """[inputs]."""
        return (self.outputs,)

    def fan_out_to(self, outputs: Integers) -> Integers:
        """1 for each input whose neuron is among these."""
        return np.bincount(outputs, minlength=self.outputs)

    def fan_in(self, counts: Integers) -> Integers:
        """As often as the input counts."""
        return counts


@dataclass(frozen=True, eq=False)
class Synapses:
    """Synapses between the lines of a source (an input, or a population) and neurons of a population.

    Attributes:
        connections: of the weights.
        gather: [lines], the input of the weights each line arrives at, or -1 where it arrives nowhere; a
            pooling sends several lines to one input.
        neurons: how many neurons, the first of those that the weights reach.
        shared: whether a convolution has the same weights at all its places.
        cut: [outputs of the weights], whether a Scale of 0 lies behind; None where none does.
    """

    connections: Connections
    gather: Integers
    neurons: int
    shared: bool = True
    cut: NDArray[np.bool_] | None = None

    @property
    def lines(self) -> int:
        """Lines of the source."""
        return len(self.gather)

    def fan_out_to(self, neurons: Integers) -> Integers:
        """Synapses of each line onto the neurons with these numbers, [lines]."""
        reached = self._reached(neurons)
        if not reached.size:
            return np.zeros_like(self.gather)
        each = self.connections.fan_out_to(reached).reshape(-1)
        return np.where(self.gather >= 0, each[self.gather], 0)

    def fan_in(self) -> Integers:
        """Synapses of each neuron, [neurons]."""
        shape = self.connections.input_shape
        counts = np.bincount(self.gather[self.gather >= 0], minlength=prod(shape)).reshape(shape)
        found = self.connections.fan_in(counts).reshape(-1)
        return (found if self.cut is None else np.where(self.cut, 0, found))[: self.neurons]

    def kernel_weights(self, neurons: Integers) -> int | None:
        """Weights of the channels that have one of these neurons; None where no kernel is shared."""
        if not self.shared or not isinstance(self.connections, Convolution):
            return None
        channels = np.unique(self._reached(neurons) // prod(self.connections.output_shape[1:]))
        return int(np.count_nonzero(self.connections.present[channels]))

    def _reached(self, neurons: Integers) -> Integers:
        return neurons if self.cut is None else neurons[~self.cut[neurons]]


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from a source to a population.

    Attributes:
        source: an input or a population.
        target: a population.
        weights: the nodes with weights, whose product is one matrix; none where a neuron follows its line
            without.
        through: the nodes on the way, from the source to the target.
        synapses: which line reaches which neuron.
        shortest: steps the graph itself delays by, the least of all lines.
        longest: the same, the most.
        back: edges on the way that carry the value of the step before.
        largest: [neurons], the largest weight by magnitude onto each neuron, scales included.
        lag: [lines], steps by which the graph delays each line in front of the weights (or of the neuron).
    """

    source: str
    target: str
    weights: tuple[str, ...]
    through: tuple[str, ...]
    synapses: Synapses
    shortest: int
    longest: int
    back: int
    largest: NDArray[np.float64]
    lag: Integers


@dataclass(frozen=True, eq=False)
class ProjectionGraph:
    """A whole graph.

    Attributes:
        inputs: number of lines of each input.
        populations: in the order of the graph.
        projections: grouped by target, in the order of the graph.
        outputs: the populations whose spikes leave, in order.
    """

    inputs: dict[str, int]
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    outputs: tuple[str, ...]

    def into(self, target: str) -> tuple[Projection, ...]:
        """The projections that end in a population."""
        return self._into.get(target, ())

    @cached_property
    def _into(self) -> dict[str, tuple[Projection, ...]]:
        return {name: tuple(group) for name, group in groupby(self.projections, lambda one: one.target)}

    def population(self, name: str) -> Population:
        """The population called `name`."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Population]:
        return {one.name: one for one in self.populations}

    @cached_property
    def lines(self) -> dict[str, int]:
        """Number of lines of each source, an input or a population."""
        return {**self.inputs, **{one.name: one.size for one in self.populations}}

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return sum(one.size for one in self.populations)

    @cached_property
    def synapses(self) -> int:
        """Number of synapses, those of neurons that follow a line without weights included."""
        return sum(int(one.synapses.fan_in().sum()) for one in self.projections)

    def shrunk(self, name: str, size: int) -> "ProjectionGraph":
        """The same graph with only the first so many neurons of one population, as a vector."""

        def cut(one: Projection) -> Projection:
            synapses = one.synapses
            if one.source == name:
                synapses = replace(synapses, gather=synapses.gather[:size])
            if one.target == name:
                synapses = replace(synapses, neurons=size)
                one = replace(one, largest=one.largest[:size])
            return replace(one, synapses=synapses)

        return replace(
            self,
            populations=tuple(
                replace(one, shape=(size,)) if one.name == name else one for one in self.populations
            ),
            projections=tuple(map(cut, self.projections)),
        )


def _outputs(network: Network) -> tuple[str, ...]:
    found: list[str] = []
    for end in network.output_nodes:
        found += [path[0].name for path, _ in _paths(network, end.name) if path[0].primitive in SPIKING]
    return tuple(dict.fromkeys(found))


def _paths(network: Network, target: str) -> Iterator[tuple[tuple[Node, ...], int]]:
    """Every way into a node from a source of events: the nodes from the source to it, and its back edges."""
    open_paths: list[tuple[tuple[Node, ...], int]] = [((network.node(target),), 0)]
    found = 0
    while open_paths:
        path, back = open_paths.pop(0)
        for name in path[0].inputs:
            source = network.node(name)
            late = back + ((name, path[0].name) in network.back_edges)
            if source.primitive in SPIKING or source.primitive == "Input":
                found += 1
                yield (source, *path), late
            elif source in path:
                raise Obstacle(name, "is part of a cycle without a neuron", "Put a neuron into the cycle.")
            else:
                open_paths.append(((source, *path), late))
        if found + len(open_paths) > MAX_PATHS:
            raise Obstacle(
                target,
                f"is reached by more than {MAX_PATHS} paths between neurons",
                "Put neurons between the branches.",
            )


def _projection(network: Network, path: tuple[Node, ...], back: int) -> Projection:
    source, *between, target = path
    gather: Integers = np.arange(prod(source.output_shape))
    weights: list[Node] = []
    cuts: list[NDArray[np.bool_]] = []  # behind each of the weights, where a Scale is 0
    shortest = longest = 0
    scales = [np.ones(gather.size)]  # of each line, then of what leaves each of the weights
    lag = np.zeros_like(gather)
    for before, node in pairwise(path):
        if not weights:
            lag = lag + ((before.name, node.name) in network.back_edges)
        if node is target:
            break
        if node.primitive == "Delay":
            steps = _steps(node, network.dt)
            shortest, longest = shortest + int(steps.min()), longest + int(steps.max())
            if not weights:
                each = np.broadcast_to(steps, node.output_shape).reshape(-1)
                lag = lag + np.where(gather >= 0, each[gather], 0)
        elif node.primitive == "Scale":
            each = np.broadcast_to(node.parameters.scale, node.output_shape).reshape(-1).astype(np.float64)
            if weights:
                scales[-1] = scales[-1] * each
                cuts[-1] = cuts[-1] | (each == 0)
            else:
                scales[0] = scales[0] * np.where(gather >= 0, each[gather], 0)
                gather = np.where((gather >= 0) & (each[gather] == 0), -1, gather)
        elif node.primitive in POOLS:
            gather, scales[0] = _pooled(node, gather, bool(weights)), scales[0] / _divisor(node)
        elif node.synaptic:
            weights.append(node)
            cuts.append(np.zeros(prod(node.output_shape), bool))
            scales.append(np.ones(prod(node.output_shape)))
        elif node.primitive != "Flatten":
            raise Obstacle(node.name, f"{node.primitive} is not mapped", "Take it out of the graph.")
    connections = _connections(weights, cuts, target)
    cut = cuts[-1] if cuts and cuts[-1].any() else None
    return Projection(
        source=source.name,
        target=target.name,
        weights=tuple(node.name for node in weights),
        through=tuple(node.name for node in between),
        synapses=Synapses(connections, gather, connections.outputs, uneven_scale(between) is None, cut),
        shortest=shortest,
        longest=longest,
        back=back,
        largest=largest_weights(weights, gather, scales, connections.outputs),
        lag=lag,
    )


def uneven_scale(between: Sequence[Node]) -> Node | None:
    """The Scale next to a convolution that differs from place to place, so that no kernel can hold it.

    Args:
        between: the nodes on the way between two populations.
    """
    convolutions = [node for node in between if node.primitive in {"Conv1d", "Conv2d"}]
    channels = [node.input_shape[0] for node in convolutions]
    for node in between if convolutions else ():
        if node is convolutions[0]:
            channels = [node.output_shape[0]]
        elif node.primitive == "Scale":
            each = np.broadcast_to(node.parameters.scale, node.output_shape).reshape(channels[0], -1)
            if (each != each[:, :1]).any():
                return node
    return None


def _steps(node: Node, dt: float | None) -> Any:
    try:
        return delay_steps(node, dt)
    except GraphError as error:
        raise Obstacle(node.name, error.problem, error.hint or "Choose another delay.") from error


def _divisor(node: Node) -> int:
    return prod(node.parameters.kernel_size) if node.primitive == "AvgPool2d" else 1


def _pooled(node: Node, gather: Integers, after_weights: bool) -> Integers:
    """Where each line arrives behind a pooling."""
    form = node.parameters
    if after_weights:
        raise Obstacle(
            node.name, "pools what weights give out, not spikes", "Pool behind the neurons instead."
        )
    if form.kernel_size != form.stride:
        raise Obstacle(
            node.name,
            f"has windows of {form.kernel_size} every {form.stride}, which overlap or leave gaps",
            "Pool with windows side by side: stride = kernel_size.",
        )
    channels, *size = node.input_shape
    output, _, position = pairs(kernel_axes(form, size))
    window = np.full(prod(size), -1)
    window[position] = output
    channel = np.arange(channels)[:, None] * prod(node.output_shape[1:])
    windows = np.where(window >= 0, channel + window, -1).reshape(-1)
    return np.where(gather >= 0, windows[gather], -1)


def _connections(weights: list[Node], cuts: list[NDArray[np.bool_]], target: Node) -> Connections:
    """What the weights between two populations connect.

    Args:
        weights: one behind the other.
        cuts: behind each of them which lines a Scale takes to 0.
        target: the population.
    """
    if not weights:
        return OneToOne(prod(target.output_shape))
    if all(node.primitive in {"Linear", "Affine"} and node.parameters.weight.ndim == 2 for node in weights):
        matrix = weights[0].parameters.weight.astype(np.float64)
        for node, cut in zip(weights[1:], cuts, strict=False):
            matrix = node.parameters.weight.astype(np.float64) @ np.where(cut[:, None], 0, matrix)
        return Matrix(matrix != 0)
    if len(weights) > 1:
        raise Obstacle(
            weights[1].name,
            f"follows the weights of '{weights[0].name}' without neurons between",
            "Put neurons between them, or multiply them into one.",
        )
    (node,) = weights
    if node.primitive in {"Linear", "Affine"}:
        raise Obstacle(
            node.name,
            "has weights with more than two dimensions",
            "Split it into one Linear node for each matrix.",
        )
    return Convolution.of(node)


class Obstacle(Exception):  # noqa: N818 - caught where it becomes a verdict, never shown as an error
    """A node that stands in the way of the mapping.

    Args:
        node: its name.
        reason: why.
        hint: the way out.
    """

    def __init__(self, node: str, reason: str, hint: str) -> None:
        self.node, self.reason, self.hint = node, reason, hint
        super().__init__(f"{node}: {reason}")
