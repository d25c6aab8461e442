"""A graph cut into parts that run one after the other: what leaves one is what enters the next."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import nir
import numpy as np

from nsc_deploy.deployment import Place
from nsc_deploy.graphs.network import RESETTING, Network, Node
from nsc_deploy.graphs.parameters import checked

FRONT_END, CHIP, READ_OUT = "front-end", "chip", "read-out"


@dataclass(frozen=True)
class GraphPart:
    """One part.

    Attributes:
        name: "front-end", "chip" or "read-out".
        place: what runs it.
        network: a graph of its own, with one Input and one Output; its other nodes are called as before.
        nodes: names of the nodes of the whole graph that it holds, in order.
    """

    name: str
    place: Place
    network: Network
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A graph in parts.

    Attributes:
        whole: the graph.
        parts: in the order in which they run; exactly one lies on the chip.
    """

    whole: Network
    parts: tuple[GraphPart, ...]

    @property
    def chip(self) -> GraphPart:
        """The part on the chip."""
        return next(part for part in self.parts if part.place is Place.CHIP)

    @property
    def host(self) -> tuple[str, ...]:
        """Names of the nodes on the host."""
        return tuple(name for part in self.parts if part.place is Place.HOST for name in part.nodes)


def cuts(network: Network) -> tuple[str, ...]:
    """The nodes at which a graph can be cut, in order: all behind them depends on their events alone.

    These are spiking nodes that every way from the input to the output passes and no cycle leads around.
    """
    found = [
        (len(before), node.name)
        for node in network.nodes
        if node.spiking and _alone_leads_out(network, before := upto(network, node.name), node)
    ]
    return tuple(name for _, name in sorted(found))


def upto(network: Network, name: str) -> frozenset[str]:
    """A node and everything it depends on, in this step or an earlier one."""
    found: set[str] = set()
    open_names = [name]
    while open_names:
        one = open_names.pop()
        if one not in found:
            found.add(one)
            open_names.extend(network.node(one).inputs)
    return frozenset(found)


def _alone_leads_out(network: Network, before: frozenset[str], node: Node) -> bool:
    return all(
        source == node.name or source not in before
        for reader in network.nodes
        if reader.name not in before
        for source in reader.inputs
    )


def part_of(
    network: Network, nodes: Collection[str], entrance: str | None = None, exit_: str | None = None
) -> Network:
    """Some nodes of a graph as a graph of its own, computing what they compute in the whole.

    Args:
        network: the whole graph.
        nodes: names of the nodes.
        entrance: the node outside whose events enter; None where the Input of the whole is among the nodes.
        exit_: the node whose output leaves; None where the Output of the whole is among the nodes.
    """
    inside = [node for node in network.nodes if node.name in nodes]
    groups = [tuple(name for name in group if name in nodes) for group in network.components]
    components = [group for group in groups if group]
    taken = {node.name for node in inside}
    if entrance is not None:
        source = _end("Input", _free("input", taken), network.node(entrance), ())
        inside = [source, *(_reading(node, entrance, source.name) for node in inside)]
        components = [(source.name,), *components]
    if exit_ is not None:
        last = _end("Output", _free("output", taken), network.node(exit_), (exit_,))
        inside.append(last)
        components.append((last.name,))
    return replace(
        network,
        nodes=tuple(inside),
        reset=network.reset if any(node.primitive in RESETTING for node in inside) else None,
        back_edges=frozenset(edge for edge in network.back_edges if set(edge) <= taken),
        components=tuple(components),
    )


def _reading(node: Node, old: str, new: str) -> Node:
    return replace(node, inputs=tuple(new if one == old else one for one in node.inputs))


def _end(primitive: str, name: str, beside: Node, inputs: tuple[str, ...]) -> Node:
    """The Input or Output of a part, carrying the events of a node."""
    shape = beside.output_shape
    metadata = {"signal": beside.emits.value} if primitive == "Input" else {}
    made = getattr(nir, primitive)(np.array(shape), metadata=metadata)
    return Node(name, primitive, checked(made), inputs, shape, shape, beside.emits)


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that no node has."""
    used = set(taken)
    tries = (name, *(f"{name}-{number}" for number in range(2, len(used) + 3)))
    return next(one for one in tries if one not in used)
