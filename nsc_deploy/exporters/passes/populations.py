"""A graph as populations of spiking neurons and what drives each: no wires, only neurons and synapses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Tap:
    """The events of a source, a whole number of steps late.

    Attributes:
        source: name of the input or of a population.
        delay: steps.
    """

    source: str
    delay: int = 0


@dataclass(frozen=True)
class Population:
    """Spiking neurons of one graph node, flattened.

    With x[t] = sum over taps of `drive[tap]` @ events(tap)[t]:

        u[t] = (1 - leak_u) u[t-1] + x[t]         only with a synaptic current, else u = x
        v[t] = (1 - leak_v) v[t-1] + u[t] + bias + offset
        s[t] = v[t] > threshold, and v[t] = 0 where s[t]

    Attributes:
        name: of the graph node.
        drive: [size, size of the source] for each tap, gains folded in.
        bias: [size], of the weights, added to v; 0 with a synaptic current.
        offset: [size], of the neurons themselves (v_leak), added to v.
        leak_v: [size] in 0..1; 1 means no memory.
        leak_u: [size], or None without a synaptic current.
        threshold: [size].
    """

    name: str
    drive: Mapping[Tap, Reals]
    bias: Reals
    offset: Reals
    leak_v: Reals
    leak_u: Reals | None
    threshold: Reals

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.threshold.size)


@dataclass(frozen=True)
class PopulationGraph:
    """A feed-forward graph of populations.

    Attributes:
        input: name of the input.
        input_size: its number of event lines.
        populations: each after all its sources.
        output: the tap that leaves the graph.
        dt: length of a step in seconds.
    """

    input: str
    input_size: int
    populations: tuple[Population, ...]
    output: Tap
    dt: float

    def size(self, source: str) -> int:
        """Number of event lines of the input or of a population."""
        if source == self.input:
            return self.input_size
        return next(population.size for population in self.populations if population.name == source)


def used_lines(graph: PopulationGraph) -> dict[Tap, NDArray[Any]]:
    """For every tap in use, the indices of the source's lines that anything reads."""
    used: dict[Tap, NDArray[Any]] = {graph.output: np.ones(graph.size(graph.output.source), bool)}
    for population in graph.populations:
        for tap, weight in population.drive.items():
            read = (weight != 0).any(axis=0)
            used[tap] = used.get(tap, np.zeros_like(read)) | read
    return {tap: np.flatnonzero(lines) for tap, lines in used.items() if lines.any()}
