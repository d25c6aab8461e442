"""Pass: drop the nodes of a graph that no output depends on.

Requires: a network whose parts fit together.
Promises: such a network, in which every node but an Input leads to an Output; the nodes left keep their
order. Exact.
"""

from collections.abc import Collection
from dataclasses import replace

from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.rewrite import broken, require_consistent
from nsc_deploy.passes.base import Lowered, Note


class DropDeadNodes:
    """The pass."""

    name = "drop-dead-nodes"

    def requires(self, graph: Network, /) -> None:
        """Nodes, shapes and edges that fit together."""
        require_consistent(graph)

    def apply(self, graph: Network, /) -> Lowered[Network]:
        """Walk backwards from the outputs; inputs stay, for they are the graph's interface."""
        needed = _needed(graph) | {node.name for node in graph.input_nodes}
        notes = tuple(
            Note("removed", node.name, "removed: no output depends on it")
            for node in graph.nodes
            if node.name not in needed
        )
        return Lowered(_only(graph, needed) if notes else graph, notes)

    def ensures(self, graph: object, /) -> str | None:
        """Parts that do not fit together, or a node that leads nowhere."""
        fault = broken(graph)
        if fault is not None or not isinstance(graph, Network):
            return fault
        dead = {node.name for node in graph.nodes if node.primitive != "Input"} - _needed(graph)
        return f"'{min(dead)}' leads to no output" if dead else None


def _needed(graph: Network) -> set[str]:
    """The outputs and every node they depend on."""
    found: set[str] = set()
    open_nodes = [node.name for node in graph.output_nodes]
    while open_nodes:
        name = open_nodes.pop()
        if name not in found:
            found.add(name)
            open_nodes.extend(graph.node(name).inputs)
    return found


def _only(graph: Network, kept: Collection[str]) -> Network:
    """Nothing kept reads a node that goes, so inputs stay as they are."""
    components = (tuple(name for name in group if name in kept) for group in graph.components)
    return replace(
        graph,
        nodes=tuple(node for node in graph.nodes if node.name in kept),
        back_edges=frozenset(edge for edge in graph.back_edges if edge[1] in kept),
        components=tuple(group for group in components if group),
    )
