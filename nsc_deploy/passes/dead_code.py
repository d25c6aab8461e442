"""Pass: drop the nodes of a graph that no output depends on. Exact.

It ensures that every node but an Input leads to an Output; the nodes left keep their order.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.base import NetworkPass, Note, Rewrite


class DropDeadNodes(NetworkPass):
    """The pass."""

    name = "drop-dead-nodes"

    def rewrite(self, network: Network, /) -> Rewrite[Network]:
        """Walk backwards from the outputs; inputs stay, for they are the graph's interface."""
        needed = _needed(network) | {node.name for node in network.input_nodes}
        notes = tuple(
            Note("removed", node.name, "removed: no output depends on it")
            for node in network.nodes
            if node.name not in needed
        )
        return Rewrite(_only(network, needed) if notes else network, notes)

    def leftover(self, network: Network, /) -> str | None:
        """A node that leads nowhere."""
        dead = {node.name for node in network.nodes if node.primitive != "Input"} - _needed(network)
        return f"'{min(dead)}' leads to no output" if dead else None


def upstream(network: Network, names: Iterable[str]) -> frozenset[str]:
    """Some nodes and everything they depend on, in this step or an earlier one."""
    found: set[str] = set()
    open_names = list(names)
    while open_names:
        name = open_names.pop()
        if name not in found:
            found.add(name)
            open_names.extend(network.node(name).inputs)
    return frozenset(found)


def _needed(network: Network) -> frozenset[str]:
    return upstream(network, [node.name for node in network.output_nodes])


def _only(network: Network, kept: Collection[str]) -> Network:
    """Nothing kept reads a node that goes, so inputs stay as they are."""
    components = (tuple(name for name in group if name in kept) for group in network.components)
    return replace(
        network,
        nodes=tuple(node for node in network.nodes if node.name in kept),
        back_edges=frozenset(edge for edge in network.back_edges if edge[1] in kept),
        components=tuple(group for group in components if group),
    )
