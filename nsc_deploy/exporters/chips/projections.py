"""From a graph to its wiring.

What lies between neurons (weights, Scale, Flatten, pooling, Delay) becomes projections: at most one set of
weights each, reached through poolings, late by a number of steps. Two weight matrices in a row become
their product. Several paths into one population become several projections.

A graph as populations and projections: what has to find a place on a chip.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.chips.connectivity import (
    ConvolutionPattern,
    CutPattern,
    DensePattern,
    DirectPattern,
    Integers,
    Pattern,
)
from nsc_deploy.exporters.chips.placement import Share
from nsc_deploy.graphs.connectivity import padding_pairs
from nsc_deploy.graphs.network import SPIKING, Network, Node, Shape
from nsc_deploy.graphs.operators.linear import delay_steps

MAX_PATHS = 4096
_POOLS = frozenset({"SumPool2d", "AvgPool2d"})
_STATES = {"LIF": 1, "IF": 1, "CubaLIF": 2, "Threshold": 0}


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
        order = np.arange(self.size).reshape(self.shape[0], -1).T.reshape(-1)
        return Share(self.name, start, stop, order[start:stop])

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from a source to a population.

    Attributes:
        source: an input or a population.
        target: a population.
        weights: the node with the weights; None where a neuron follows its line without one.
        through: the nodes on the way, from the source to the target.
        pattern: which line reaches which neuron.
        shortest: steps the graph itself delays by, the least of all lines.
        longest: the same, the most.
        back: edges on the way that carry the value of the step before.
        largest: the largest weight by magnitude, scales included.
    """

    source: str
    target: str
    weights: str | None
    through: tuple[str, ...]
    pattern: Pattern
    shortest: int
    longest: int
    back: int
    largest: float


@dataclass(frozen=True)
class Wiring:
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
        return tuple(one for one in self.projections if one.target == target)

    def population(self, name: str) -> Population:
        """The population called `name`."""
        return next(one for one in self.populations if one.name == name)

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return sum(one.size for one in self.populations)

    @property
    def synapses(self) -> int:
        """Number of synapses, those of neurons that follow a line without weights included."""
        return sum(int(one.pattern.fan_in().sum()) for one in self.projections)


def wire(network: Network) -> Wiring:
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
    return Wiring(inputs, populations, projections, _outputs(network))


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
    shortest = longest = 0
    gain = 1.0
    for node in between:
        if node.primitive == "Delay":
            steps = _steps(node, network.dt)
            shortest, longest = shortest + int(steps.min()), longest + int(steps.max())
        elif node.primitive == "Scale":
            gain *= float(np.abs(node.parameters.scale).max(initial=0))
        elif node.primitive in _POOLS:
            gather, gain = _pooled(node, gather, bool(weights)), gain / _divisor(node)
        elif node.synaptic:
            weights.append(node)
        elif node.primitive != "Flatten":
            raise Obstacle(node.name, f"{node.primitive} is not mapped", "Take it out of the graph.")
    pattern, largest = _pattern(weights, gather, target)
    return Projection(
        source=source.name,
        target=target.name,
        weights=weights[-1].name if weights else None,
        through=tuple(node.name for node in between),
        pattern=pattern,
        shortest=shortest,
        longest=longest,
        back=back,
        largest=largest * gain,
    )


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
    places = np.indices(node.input_shape)
    channel, *space = places
    inside = np.ones(node.input_shape, bool)
    index = channel
    for axis, place in enumerate(space):
        window = (place + form.padding[axis]) // form.stride[axis]
        inside &= window < node.output_shape[1 + axis]
        index = index * node.output_shape[1 + axis] + window
    windows = np.where(inside, index, -1).reshape(-1)
    return np.where(gather >= 0, windows[gather], -1)


def _pattern(weights: list[Node], gather: Integers, target: Node) -> tuple[Pattern, float]:
    if not weights:
        return DirectPattern(gather, prod(target.output_shape)), 1.0
    if all(node.parameters.weight.ndim == 2 and node.primitive in {"Linear", "Affine"} for node in weights):
        matrix = weights[0].parameters.weight.astype(np.float64)
        for node in weights[1:]:
            matrix = node.parameters.weight.astype(np.float64) @ matrix
        return DensePattern(gather, matrix != 0), float(np.abs(matrix).max(initial=0))
    if len(weights) > 1:
        raise Obstacle(
            weights[1].name,
            f"follows the weights of '{weights[0].name}' without neurons between",
            "Put neurons between them, or multiply them into one.",
        )
    return _single(weights[0], gather)


def _single(node: Node, gather: Integers) -> tuple[Pattern, float]:
    form = node.parameters
    largest = float(np.abs(form.weight).max(initial=0))
    if node.primitive in {"Linear", "Affine"}:
        raise Obstacle(
            node.name,
            "has weights with more than two dimensions",
            "Split it into one Linear node for each matrix.",
        )
    pads = padding_pairs(form.padding, form.weight.shape[2:], form.dilation)
    before = tuple(low for low, _ in pads)
    pattern = ConvolutionPattern(
        present=form.weight != 0,
        size=node.input_shape[1:],
        out=node.output_shape[1:],
        stride=tuple(form.stride),
        before=before,
        dilation=tuple(form.dilation),
        groups=form.groups,
        gather=gather,
    )
    return pattern, largest


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


def shrunk(wiring: Wiring, name: str, size: int) -> Wiring:
    """The same graph with only the first so many neurons of one population, as a vector."""

    def cut(one: Projection) -> Projection:
        lines = size if one.source == name else one.pattern.lines
        neurons = size if one.target == name else one.pattern.neurons
        return replace(one, pattern=CutPattern(one.pattern, lines, neurons))

    return replace(
        wiring,
        populations=tuple(
            replace(one, shape=(size,)) if one.name == name else one for one in wiring.populations
        ),
        projections=tuple(
            cut(one) if name in {one.source, one.target} else one for one in wiring.projections
        ),
    )
