"""Edits of a network: nodes change or leave, and order, back edges and everything else stay.

A network is never written out and assembled anew for an edit: in a cycle the order in which edges are met
decides which of them carry the step before, and a pass must not move that step.

What every pass from network to network requires and promises: a network whose parts fit together.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nsc_deploy.errors import ExportError, GraphError
from nsc_deploy.graphs.flow import settle_signals
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.primitives import node_shapes


def reparametrised(node: Node, **fields: Any) -> Node:
    """A node with other parameters; arrays become read-only, as those of every network are."""
    parameters = copy.copy(node.parameters)
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        setattr(parameters, name, value)
    return replace(node, parameters=parameters)


def with_nodes(network: Network, changed: Iterable[Node]) -> Network:
    """A network in which some nodes have other parameters or shapes; names and edges stay."""
    new = {node.name: node for node in changed}
    return replace(network, nodes=settled(tuple(new.get(node.name, node) for node in network.nodes)))


def bypassable(network: Network, name: str) -> bool:
    """Whether a node can be taken out with its readers reading its source instead.

    Not where it sums several sources, where a reader reads the source already (an edge cannot be there
    twice), or where the step before is taken on both of its sides, which makes two steps. Nor where a Delay
    would be read late: the edges into a Delay of a cycle never are.
    """
    node = network.node(name)
    if len(node.inputs) != 1:
        return False
    source = node.inputs[0]
    late = (source, name) in network.back_edges
    return source != name and not any(
        source in reader.inputs
        or (late and (reader.primitive == "Delay" or (name, reader.name) in network.back_edges))
        for reader in network.successors(name)
    )


def bypassed(network: Network, name: str) -> Network:
    """The network without a node; whoever read it reads its one source."""
    source = network.node(name).inputs[0]
    late = (source, name) in network.back_edges
    back = {edge for edge in network.back_edges if name not in edge}
    for reader in network.successors(name):
        if late or (name, reader.name) in network.back_edges:
            back.add((source, reader.name))
    nodes = tuple(
        replace(node, inputs=tuple(source if one == name else one for one in node.inputs))
        for node in network.nodes
        if node.name != name
    )
    groups = (tuple(one for one in group if one != name) for group in network.components)
    components = tuple(group for group in groups if group)
    return replace(network, nodes=settled(nodes), back_edges=frozenset(back), components=components)


def settled(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """The nodes with what they emit worked out anew."""
    emits = emitted_by(nodes)
    return tuple(
        node if node.emits is emits[node.name] else replace(node, emits=emits[node.name]) for node in nodes
    )


def emitted_by(nodes: tuple[Node, ...]) -> Mapping[str, Any]:
    """What each node emits, by its name."""
    entering = {node.name: node.emits for node in nodes if node.primitive == "Input"}
    primitives = {node.name: node.primitive for node in nodes}
    return settle_signals(primitives, {node.name: node.inputs for node in nodes}, entering)


Fault = tuple[str, str]
_HINT = "A network read from a file is always of one piece: build it with `assemble`."


def require_consistent(network: Network) -> None:
    """Refuse a network that does not fit together.

    Raises:
        ExportError: naming the node and what is wrong with it.
    """
    for name, problem in _faults(network):
        raise ExportError(problem, where=f"node '{name}'", hint=_HINT)


def broken(graph: object) -> str | None:
    """What is wrong with the result of a pass from network to network, or None."""
    if not isinstance(graph, Network):
        return "no network"
    return next((f"'{name}' {problem}" for name, problem in _faults(graph)), None)


def _faults(network: Network) -> Iterator[Fault]:
    """The first fault makes the checks after it meaningless, so callers take one."""
    yield from _order_faults(network)
    yield from _shape_faults(network)
    for name, emits in emitted_by(network.nodes).items():
        if network.node(name).emits is not emits:
            yield name, f"is said to emit {network.node(name).emits} and emits {emits}"


def _order_faults(network: Network) -> Iterator[Fault]:
    place = {node.name: index for index, node in enumerate(network.nodes)}
    grouped = [name for group in network.components for name in group]
    if grouped != list(place):
        odd = next((name for name in (*place, *grouped) if grouped.count(name) != 1), grouped[0])
        yield odd, "is not grouped in the order of the nodes"
    group_of = {name: index for index, group in enumerate(network.components) for name in group}
    for node in network.nodes:
        if (node.primitive == "Input") != (not node.inputs):
            yield node.name, "is an Input with a source" if node.inputs else "has no input"
        for source in node.inputs:
            if source not in place:
                yield node.name, f"reads '{source}', which is not there"
            elif node.inputs.count(source) > 1:
                yield node.name, f"reads '{source}' twice"
            elif (source, node.name) in network.back_edges:
                continue
            elif place[source] >= place[node.name] and not (
                node.primitive == "Delay" and group_of[source] == group_of[node.name]
            ):
                yield node.name, f"comes before '{source}', which it reads"
    for source, target in sorted(network.back_edges):
        if target not in place or source not in network.node(target).inputs:
            yield target, f"is said to read '{source}' one step late and does not read it"


def _shape_faults(network: Network) -> Iterator[Fault]:
    for node in network.nodes:
        try:
            shapes = node_shapes(node.primitive, node.parameters, node.input_shape)
        except GraphError as error:
            yield node.name, error.problem
            continue
        if shapes != (node.input_shape, node.output_shape):
            yield node.name, f"has the shapes {shapes} and is said to have others"
        for source in node.inputs:
            if network.node(source).output_shape != node.input_shape:
                given = network.node(source).output_shape
                yield node.name, f"takes in the shape {node.input_shape} but '{source}' gives {given}"
