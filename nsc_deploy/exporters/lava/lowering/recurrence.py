"""Pass: find the populations that drive each other, and make the steps around every cycle agree.

On the chip a spike of a neuron reaches a neuron of its own layer one step later. Populations of one cycle
come to lie in one layer, so each connection between them takes one step; a population that the graph
drives without a delay is moved back by a step, and everything that meets it behind as far. Steps that are
left over become delayed synapses. That works out if and only if no cycle has more connections than steps,
which the rules of Lava see to.

It ensures that `recurrent` holds what comes from the same cycle, at least a step late; `drive` the rest,
from populations before. Exact, but for the lateness of the output.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from nsc_deploy.exporters.lava.lowering.populations import Population, PopulationGraph, Tap
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note, Pass, Rewrite


class CloseCycles(Pass[PopulationGraph, PopulationGraph]):
    """The pass."""

    name = "close-cycles"

    def rewrite(self, graph: PopulationGraph, /) -> Rewrite[PopulationGraph]:
        """Group, order, move back."""
        group = _groups(graph)
        late = _lateness(graph, group)
        ordered = tuple(_split(one, group, late) for one in _in_order(graph, group))
        closed = replace(graph, populations=ordered, cycles=_cycles(ordered, group))
        return Rewrite(closed, tuple(_notes(closed)))

    def ensures(self, graph: PopulationGraph, /) -> str | None:
        """A source that comes too late in the order, or an event that comes too early."""
        seen = {graph.input}
        for population in graph.populations:
            for tap in population.drive:
                if tap.source not in seen or tap.delay < 0:
                    return f"'{population.name}' comes before its source '{tap.source}'"
            cycle = graph.cycle(population.name)
            for tap in population.recurrent:
                if tap.source not in cycle or tap.delay < 1:
                    return f"'{population.name}' is driven by '{tap.source}' too early"
            seen.add(population.name)
        return None


def _groups(graph: PopulationGraph) -> dict[str, int]:
    """A number for each population, the same for those that lie on a common cycle."""
    number = {one.name: index for index, one in enumerate(graph.populations)}
    edges = [
        (number[tap.source], number[one.name])
        for one in graph.populations
        for tap in one.drive
        if tap.source in number
    ]
    sources, targets = np.array(edges, np.int64).reshape(-1, 2).T
    links = csr_array((np.ones(len(sources)), (sources, targets)), shape=(len(number), len(number)))
    _, labels = connected_components(links, directed=True, connection="strong")
    return {name: int(labels[index]) for name, index in number.items()}


def _lateness(graph: PopulationGraph, group: Mapping[str, int]) -> dict[str, int]:
    names = {graph.input: 0, **dict.fromkeys(group, 0)}
    bounds = [
        Bound(tap.source, one.name, int(group.get(tap.source) == group[one.name]) - tap.delay)
        for one in graph.populations
        for tap in one.drive
    ]
    late = least_lateness(
        names, [bound for bound in bounds if bound.target != bound.source or bound.steps > 0]
    )
    assert not isinstance(late, Disagreement), "rule: every connection of a cycle has a step"
    for one in graph.populations:
        assert not (late[one.name] and one.starts_by_itself), "rule: no bias starts late for a cycle"
    return late


def _in_order(graph: PopulationGraph, group: Mapping[str, int]) -> list[Population]:
    """Each population after its sources, those of a cycle together."""
    before: dict[int, set[int]] = {number: set() for number in dict.fromkeys(group.values())}
    for one in graph.populations:
        before[group[one.name]] |= {group[tap.source] for tap in one.drive if tap.source in group}
    for number, sources in before.items():
        sources.discard(number)
    order = {number: place for place, number in enumerate(TopologicalSorter(before).static_order())}
    return sorted(graph.populations, key=lambda one: order[group[one.name]])


def _split(population: Population, group: Mapping[str, int], late: Mapping[str, int]) -> Population:
    drive: dict[Tap, Matrix] = {}
    recurrent: dict[Tap, Matrix] = {}
    for tap, weight in population.drive.items():
        inside = group.get(tap.source) == group[population.name]
        moved = tap.later(late[population.name] - late[tap.source])
        (recurrent if inside else drive)[moved] = weight
    return replace(population, drive=drive, recurrent=recurrent, late=late[population.name])


def _cycles(populations: tuple[Population, ...], group: Mapping[str, int]) -> tuple[frozenset[str], ...]:
    driven = {group[one.name] for one in populations if one.recurrent}
    return tuple(
        frozenset(one.name for one in populations if group[one.name] == number) for number in sorted(driven)
    )


def _notes(graph: PopulationGraph) -> list[Note]:
    notes = []
    for one in graph.populations:
        if one.recurrent:
            sources = ", ".join(f"'{tap.source}'" for tap in sorted(one.recurrent))
            text = f"driven by {sources} of its own layer, one step later as in the graph; no spike changes"
            notes.append(Note("recurrent", one.name, text))
        if one.late:
            text = f"{counted(one.late, 'step')} late, with everything it reads; no spike changes"
            notes.append(Note("late", one.name, text))
    return notes


@dataclass(frozen=True)
class Bound:
    """`target` is late by at least the lateness of `source` plus `steps`."""

    source: str
    target: str
    steps: int


@dataclass(frozen=True)
class Disagreement:
    """A cycle whose connections take more steps than it has.

    Attributes:
        names: around the cycle, each once.
        missing: steps that it would need in addition.
    """

    names: tuple[str, ...]
    missing: int


def least_lateness(start: Mapping[str, int], bounds: Sequence[Bound]) -> dict[str, int] | Disagreement:
    """The smallest lateness of each name that keeps all bounds (Bellman and Ford), or a cycle that cannot.

    Args:
        start: lateness that some names have at least; names that are not here have no lower end.
        bounds: between any names.
    """
    late = dict(start)
    came_from: dict[str, Bound] = {}
    names = set(start) | {bound.source for bound in bounds} | {bound.target for bound in bounds}
    for _ in range(len(names)):
        moved = [bound for bound in bounds if _moves(late, bound)]
        if not moved:
            return late
        for bound in moved:
            if _moves(late, bound):
                late[bound.target] = late[bound.source] + bound.steps
                came_from[bound.target] = bound
    still = next((bound for bound in bounds if _moves(late, bound)), None)
    return late if still is None else _cycle(came_from, still.target, len(names))


def _moves(late: Mapping[str, int], bound: Bound) -> bool:
    if bound.source not in late:
        return False
    wanted = late[bound.source] + bound.steps
    return bound.target not in late or late[bound.target] < wanted


def _cycle(came_from: Mapping[str, Bound], name: str, names: int) -> Disagreement:
    """Far enough back from a name that never settles lies a cycle."""
    for _ in range(names):
        name = came_from[name].source
    around: list[Bound] = []
    while not around or around[-1].source != name:
        around.append(came_from[around[-1].source if around else name])
    return Disagreement(
        tuple(bound.source for bound in reversed(around)), sum(bound.steps for bound in around)
    )
