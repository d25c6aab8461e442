"""When the spikes of a graph are on the chip: every connection takes steps there, the graph's take none.

Population P is late by latency(P) steps. A projection from A to B that the graph delays by d steps (its
Delay nodes, and one for each edge that closes a cycle) needs synapses with a delay of

    latency(B) - latency(A) - steps of a connection + d

which must not be negative. The smallest latencies that make it so are longest paths; a cycle that is
shorter in the graph than on the chip has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nsc_deploy.exporters.chips.projections import Obstacle, Projection, ProjectionGraph


@dataclass(frozen=True)
class Timing:
    """Latencies and delays.

    Attributes:
        latency: steps by which each input and population is late.
        delays: for each projection the shortest and the longest delay its synapses need.
    """

    latency: Mapping[str, int]
    delays: tuple[tuple[int, int], ...]


def align(graph: ProjectionGraph, connection_steps: int | None) -> Timing:
    """Find the smallest latencies.

    Args:
        graph: the graph.
        connection_steps: steps a connection takes on the chip; None where that is not known: then paths are
            not compared, and only the delays of the graph itself are needed.

    Raises:
        Obstacle: a cycle takes more steps on the chip than in the graph.
    """
    names = [*graph.inputs, *(one.name for one in graph.populations)]
    if connection_steps is None:
        delays = tuple((one.shortest, one.longest) for one in graph.projections)
        return Timing(dict.fromkeys(names, 0), delays)
    latency = _longest_paths(graph, names, connection_steps)
    spare = [
        latency[one.target] - latency[one.source] - connection_steps + one.back for one in graph.projections
    ]
    delays = tuple(
        (more + one.shortest, more + one.longest) for more, one in zip(spare, graph.projections, strict=True)
    )
    return Timing(latency, delays)


def _longest_paths(graph: ProjectionGraph, names: list[str], connection_steps: int) -> dict[str, int]:
    latency = dict.fromkeys(names, 0)
    came_by: dict[str, Projection] = {}
    for _ in range(len(names) + 1):
        moved: str | None = None
        for one in graph.projections:
            reached = latency[one.source] + _length(one, connection_steps)
            if reached > latency[one.target]:
                latency[one.target], came_by[one.target], moved = reached, one, one.target
        if moved is None:
            return latency
    raise _too_short(came_by, moved or names[0], connection_steps)


def _length(one: Projection, connection_steps: int) -> int:
    return connection_steps - one.shortest - one.back


def _too_short(came_by: Mapping[str, Projection], name: str, connection_steps: int) -> Obstacle:
    seen: list[str] = []
    while name not in seen:
        seen.append(name)
        name = came_by[name].source
    cycle = seen[seen.index(name) :][::-1]
    missing = sum(_length(came_by[one], connection_steps) for one in cycle)
    steps = "step" if missing == 1 else "steps"
    return Obstacle(
        cycle[0],
        f"is part of a cycle ({' -> '.join([*cycle, cycle[0]])}) that takes {missing} {steps} more "
        "on the chip than in the graph",
        f"Put a Delay of {missing} {steps} into the cycle and train with it.",
    )
