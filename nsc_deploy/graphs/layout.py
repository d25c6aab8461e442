"""Where the nodes of a graph go in a drawing: layers from left to right, few crossings.

Layers by the longest path, long edges broken by invisible points, order within a layer by the mean
place of the neighbours (Sugiyama, Tagawa and Toda 1981).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nsc_deploy.graphs.inspect.describe import NodeView

Point = tuple[float, float]
_SWEEPS = 12


@dataclass(frozen=True)
class Line:
    """An edge as the points it passes, from source to target."""

    source: str
    target: str
    points: tuple[Point, ...]
    late: bool


@dataclass(frozen=True)
class Layout:
    """Places in units of one layer and one row.

    Attributes:
        places: centre of each node.
        lines: edges.
        width: number of layers.
        height: rows of the fullest layer.
    """

    places: dict[str, Point]
    lines: tuple[Line, ...]
    width: int
    height: int


def lay_out(nodes: Sequence[NodeView]) -> Layout:
    """Place the nodes of a graph, which come in an order with all but the late edges pointing forward."""
    forward, late = _edges(nodes)
    layer: dict[str, int] = {}
    for node in nodes:
        before = [layer[source] for source, target in forward if target == node.name]
        layer[node.name] = 1 + max(before, default=-1)
    chains = {edge: _chain(edge, layer) for edge in forward}
    rows: list[list[str]] = [[] for _ in range(1 + max(layer.values()))]
    for name, index in (*layer.items(), *_bends(chains, layer).items()):
        rows[index].append(name)
    neighbours = _neighbours(chains)
    heights = _heights(rows, neighbours)
    places = {name: (float(index), heights[name]) for index, row in enumerate(rows) for name in row}
    lines = [Line(*edge, tuple(places[name] for name in chain), late=False) for edge, chain in chains.items()]
    lines += [Line(*edge, (places[edge[0]], places[edge[1]]), late=True) for edge in late]
    shown = {node.name: places[node.name] for node in nodes}
    return Layout(shown, tuple(lines), len(rows), max(len(row) for row in rows))


def _edges(nodes: Sequence[NodeView]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    order = {node.name: index for index, node in enumerate(nodes)}
    edges = [(source, node.name) for node in nodes for source in node.inputs if source in order]
    forward = [edge for edge in edges if order[edge[0]] < order[edge[1]]]
    return forward, [edge for edge in edges if order[edge[0]] >= order[edge[1]]]


def _chain(edge: tuple[str, str], layer: dict[str, int]) -> list[str]:
    source, target = edge
    between = range(layer[source] + 1, layer[target])
    return [source, *(f"{source}\0{target}\0{index}" for index in between), target]


def _bends(chains: dict[tuple[str, str], list[str]], layer: dict[str, int]) -> dict[str, int]:
    return {
        name: layer[edge[0]] + step
        for edge, chain in chains.items()
        for step, name in enumerate(chain)
        if name not in layer
    }


def _neighbours(chains: dict[tuple[str, str], list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain in chains.values():
        for left, right in pairwise(chain):
            found.setdefault(left, []).append(right)
            found.setdefault(right, []).append(left)
    return found


def _heights(rows: list[list[str]], neighbours: dict[str, list[str]]) -> dict[str, float]:
    heights = {name: index - (len(row) - 1) / 2 for row in rows for index, name in enumerate(row)}
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wish = {name: _mean([heights[other] for other in neighbours.get(name, [name])]) for name in row}
            row.sort(key=lambda name: wish[name])
            heights.update(_spread([wish[name] for name in row], row))
    for row in rows:
        heights.update(_halves([heights[name] for name in row], row))
    return heights


def _halves(places: list[float], row: list[str]) -> dict[str, float]:
    """To whole and half rows, so that lines that are nearly level become level."""
    rounded: list[float] = []
    for place in places:
        near = round(2 * place) / 2
        rounded.append(max(near, rounded[-1] + 1) if rounded else near)
    return dict(zip(row, rounded, strict=True))


def _spread(wishes: list[float], row: list[str]) -> dict[str, float]:
    """As near to the wishes as a distance of 1 between neighbours allows, and centred on them."""
    placed: list[float] = []
    for wish in wishes:
        placed.append(max(wish, placed[-1] + 1) if placed else wish)
    shift = _mean(wishes) - _mean(placed)
    return {name: place + shift for name, place in zip(row, placed, strict=True)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
