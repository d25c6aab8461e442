"""How late each part of a graph with cycles has to be, when every connection takes a step of its own.

A connection between neurons of one cycle takes one step on the chip. Where the graph has fewer steps between
the two, the second has to be late; where it has more, the rest is made up with delayed synapses. That works
out if and only if no cycle has more connections than steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


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


def path(names: Iterable[str]) -> str:
    """A cycle in words."""
    listed = list(names)
    return " -> ".join([*listed, listed[0]])
