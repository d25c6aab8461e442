"""From a graph to its wiring.

What lies between neurons (weights, Scale, Flatten, pooling, Delay) becomes projections: at most one set of
weights each, reached through poolings, late by a number of steps. Two weight matrices in a row become
their product. Several paths into one population become several projections.
"""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.chips.connectivity import DensePattern, DirectPattern, Integers, Pattern
from nsc_deploy.exporters.chips.convolution_pattern import ConvolutionPattern
from nsc_deploy.exporters.chips.wiring import Obstacle, Population, Projection, Wiring
from nsc_deploy.graphs.network import SPIKING, Network, Node
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.graphs.shapes import padding_pairs

MAX_PATHS = 4096
_POOLS = frozenset({"SumPool2d", "AvgPool2d"})
_STATES = {"LIF": 1, "IF": 1, "CubaLIF": 2, "Threshold": 0}


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
        raise Obstacle(node.name, error.problem, error.remedy or "Choose another delay.") from error


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
