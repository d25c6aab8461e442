"""Nested graphs made flat: the nodes of graph "a" inside another are called "a.name"."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nir

from nsc_deploy.errors import GraphError

MAX_DEPTH = 16
MAX_NODES = 20_000

Edge = tuple[str, str]


@dataclass(frozen=True)
class Flat:
    """Nodes and edges with nothing nested.

    Attributes:
        nodes: `nir` nodes by name, none of them a graph.
        edges: (source, target), in the order of the file.
        inputs: the sources of each node, in the order of the edges.
    """

    nodes: Mapping[str, Any]
    edges: tuple[Edge, ...]
    inputs: Mapping[str, tuple[str, ...]]


def flatten(graph: nir.NIRGraph) -> Flat:
    """Dissolve nested graphs; their Input and Output nodes become wires.

    Raises:
        GraphError: an edge to a node that is not there, an edge twice, graphs nested without end or with
            several inputs or outputs, two nodes of one name.
    """
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    _collect(graph, "", 0, nodes, edges)
    edges = _without_wires(nodes, edges)
    twice = next((edge for edge, times in Counter(edges).items() if times > 1), None)
    if twice is not None:
        raise GraphError(f"the edge from '{twice[0]}' to '{twice[1]}' is there twice")
    inputs: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        inputs[target].append(source)
    return Flat(nodes, tuple(edges), {name: tuple(sources) for name, sources in inputs.items()})


def _collect(graph: Any, prefix: str, depth: int, nodes: dict[str, Any], edges: list[Edge]) -> None:
    if depth > MAX_DEPTH:
        raise GraphError(f"graphs are nested more than {MAX_DEPTH} deep")
    entrances: dict[str, str] = {}
    exits: dict[str, str] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            entrances[name] = f"{full}.{_end(node, nir.Input, full)}"
            exits[name] = f"{full}.{_end(node, nir.Output, full)}"
            _collect(node, f"{full}.", depth + 1, nodes, edges)
        elif full in nodes:
            raise GraphError(f"two nodes are called '{full}'")
        else:
            nodes[full] = _Wire(node) if depth and isinstance(node, nir.Input | nir.Output) else node
    if len(nodes) > MAX_NODES:
        raise GraphError(f"has more than {MAX_NODES} nodes")
    for source, target in graph.edges:
        for name in (source, target):
            if name not in graph.nodes:
                raise GraphError(f"an edge names the node '{prefix}{name}', which is not there")
        edges.append((exits.get(source, prefix + source), entrances.get(target, prefix + target)))


@dataclass(frozen=True)
class _Wire:
    """Stands for the Input or Output of a nested graph until `_without_wires` has taken it out."""

    node: Any


def _end(graph: Any, kind: Any, full: str) -> str:
    found: list[str] = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise GraphError(
            f"is a graph with {len(found)} {kind.__name__} nodes, so its edges do not say which is meant",
            where=f"node '{full}'",
            remedy="Give the nested graph one Input and one Output, or flatten it in the tool that wrote it.",
        )
    return found[0]


def _without_wires(nodes: dict[str, Any], edges: list[Edge]) -> list[Edge]:
    for name, wire in [(name, node) for name, node in nodes.items() if isinstance(node, _Wire)]:
        del nodes[name]
        sources = [source for source, target in edges if target == name and source != name]
        targets = [target for source, target in edges if source == name and target != name]
        _refuse_loose(name, wire, sources, targets)
        edges = [bridged for edge in edges for bridged in _bridge(edge, name, targets)]
    return edges


def _refuse_loose(name: str, wire: _Wire, sources: list[str], targets: list[str]) -> None:
    """A wire with one end takes the edges at that end with it, and nobody would miss them."""
    if (targets and not sources) or (sources and not targets and isinstance(wire.node, nir.Input)):
        ends = f"leads on to '{targets[0]}'" if targets else f"takes in '{sources[0]}'"
        lost = "nothing enters it" if targets else "nothing inside reads it"
        raise GraphError(
            f"{ends}, and {lost}", where=f"node '{name}'", remedy="Add the missing edge, or take it out."
        )


def _bridge(edge: Edge, wire: str, targets: list[str]) -> list[Edge]:
    """An edge into the wire becomes edges to all its targets; an edge out of it goes."""
    source, target = edge
    if source == wire:
        return []
    return [(source, onward) for onward in targets] if target == wire else [edge]
