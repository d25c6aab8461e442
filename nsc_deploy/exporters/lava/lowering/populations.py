"""A graph as populations of spiking neurons and what drives each: no wires, only neurons and synapses.

Pass: drop populations whose spikes never reach the output, and synapses of weight zero between layers.
Exact.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.lowering.synapses import Matrix, Reals
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note, Pass, Rewrite


@dataclass(frozen=True, order=True)
class Tap:
    """The events of a source, a whole number of steps late.

    Attributes:
        source: name of the input or of a population.
        delay: steps.
    """

    source: str
    delay: int = 0

    def later(self, steps: int) -> "Tap":
        """The same events, further steps late."""
        return Tap(self.source, self.delay + steps)


@dataclass(frozen=True)
class Population:
    """Spiking neurons of one graph node, flattened.

    With x[t] = sum over the taps of `drive` and `recurrent` of weights @ events(tap)[t], and over the
    `constants` of step t and of those before:

        u[t] = (1 - leak_u) u[t-1] + x[t]         only with a synaptic current, else u = x
        v[t] = (1 - leak_v) v[t-1] + u[t] + bias + offset
        s[t] = v[t] > threshold, and v[t] = 0 where s[t], or v[t] - threshold with `subtracts`

    Attributes:
        name: of the graph node.
        drive: [size, size of the source] for each tap, gains folded in.
        recurrent: the same from populations of the same cycle; each tap is at least one step late.
        late: steps by which this population was moved back, together with everything that it reads.
        bias: [size], of the weights, added to v; 0 with a synaptic current, see `constants`.
        offset: [size], of the neurons themselves (v_leak), added to v.
        leak_v: [size] in 0..1; 1 means no memory.
        leak_u: [size], or None without a synaptic current.
        threshold: [size].
        subtracts: whether a spike takes the threshold off the potential.
        constants: [size] by the step, counted from 0, from which on they arrive: biases that a synapse
            filters or that begin late. Lava has none.
    """

    name: str
    drive: Mapping[Tap, Matrix]
    bias: Reals
    offset: Reals
    leak_v: Reals
    leak_u: Reals | None
    threshold: Reals
    recurrent: Mapping[Tap, Matrix] = field(default_factory=dict)
    late: int = 0
    subtracts: bool = False
    constants: Mapping[int, Reals] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.threshold.size)

    @property
    def starts_by_itself(self) -> bool:
        """Whether it could leave rest without any input."""
        return bool(self.bias.any() or self.offset.any() or (self.threshold < 0).any())

    @property
    def strongest_constant(self) -> Reals:
        """[size], the largest magnitude of the `constants` of any step together."""
        strongest, begun = np.zeros(self.size), np.zeros(self.size)
        for step in sorted(self.constants):
            begun = begun + self.constants[step]
            strongest = np.maximum(strongest, np.abs(begun))
        return strongest


@dataclass(frozen=True)
class PopulationGraph:
    """A graph of populations.

    Attributes:
        input: name of the input.
        input_size: its number of event lines.
        populations: each after all sources of its `drive`.
        output: the tap that leaves the graph.
        dt: length of a step in seconds.
        cycles: names of the populations that drive each other (or themselves), once they are sorted out.
        graded: whether the potentials of the output's population leave, those before the reset, and not its
            spikes.
        delays: the Delay nodes on the slowest way from a source to its reader, by (source, reader); the
            reader is a population, or "" for the output.
    """

    input: str
    input_size: int
    populations: tuple[Population, ...]
    output: Tap
    dt: float
    cycles: tuple[frozenset[str], ...] = ()
    graded: bool = False
    delays: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def size(self, source: str) -> int:
        """Number of event lines of the input or of a population."""
        if source == self.input:
            return self.input_size
        return next(population.size for population in self.populations if population.name == source)

    def cycle(self, name: str) -> frozenset[str]:
        """The populations of the cycle that one lies in; none where it lies in no cycle."""
        return next((cycle for cycle in self.cycles if name in cycle), frozenset())

    def used_lines(self) -> dict[Tap, NDArray[Any]]:
        """For every tap in use, the indices of the source's lines that anything reads."""
        used: dict[Tap, NDArray[Any]] = {self.output: np.ones(self.size(self.output.source), bool)}
        for population in self.populations:
            for tap, weight in (*population.drive.items(), *population.recurrent.items()):
                read = weight.read_sources()
                used[tap] = used.get(tap, np.zeros_like(read)) | read
        return {tap: np.flatnonzero(lines) for tap, lines in used.items() if lines.any()}


class RemoveDead(Pass[PopulationGraph, PopulationGraph]):
    """The pass; it ensures that every population left is read by another one or by the output."""

    name = "remove-dead"

    def rewrite(self, graph: PopulationGraph, /) -> Rewrite[PopulationGraph]:
        """Walk backwards from the output."""
        alive = _alive(graph)
        kept = tuple(
            replace(one, drive={tap: weight for tap, weight in one.drive.items() if weight.synapses})
            for one in graph.populations
            if one.name in alive
        )
        notes = tuple(
            Note(
                "removed",
                one.name,
                f"{counted(one.size, 'neuron')} removed: no spike of it reaches the output",
            )
            for one in graph.populations
            if one.name not in alive
        )
        return Rewrite(replace(graph, populations=kept), notes)

    def ensures(self, graph: PopulationGraph, /) -> str | None:
        """A population that nothing reads."""
        read = {tap.source for tap in graph.used_lines()}
        unread = [one.name for one in graph.populations if one.name not in read]
        return f"'{unread[0]}' is read by nothing" if unread else None


def _alive(graph: PopulationGraph) -> set[str]:
    """The output's source and every source it depends on; cycles make no difference."""
    sources = {
        one.name: {tap.source for tap, weight in one.drive.items() if weight.synapses}
        for one in graph.populations
    }
    alive: set[str] = set()
    open_names = [graph.output.source]
    while open_names:
        name = open_names.pop()
        if name not in alive:
            alive.add(name)
            open_names.extend(sources.get(name, ()))
    return alive
