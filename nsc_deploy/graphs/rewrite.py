"""Edits of a network: nodes change or leave, and order, back edges and everything else stay.

A network is never written out and assembled anew for an edit: in a cycle the order in which edges are met
decides which of them carry the step before, and a pass must not move that step.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.propagate import settled_signals


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
    return settled_signals(primitives, {node.name: node.inputs for node in nodes}, entering)
