"""A chain of layers: what lies in each, and what it reads from the layer before and from itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.passes.populations import Population, PopulationGraph, Tap


@dataclass(frozen=True)
class Slot:
    """Neurons in one layer.

    Attributes:
        carries: the events these neurons fire.
        lines: which lines of the source they carry, ascending.
        population: the neurons themselves, or None for relays.
        delay: steps by which a relay's synapses are late.
        within: whether a relay repeats neurons of its own layer, which takes a step by itself.
        late: steps by which the neurons that they carry are late.
    """

    carries: Tap
    lines: NDArray[Any]
    population: Population | None = None
    delay: int = 0
    within: bool = False
    late: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return len(self.lines)

    @property
    def source(self) -> Tap:
        """What a relay repeats."""
        return self.carries.later(-self.delay - int(self.within))


@dataclass(frozen=True)
class Levels:
    """A chain of layers.

    Attributes:
        graph: the populations.
        layers: for each layer its neurons, side by side.
    """

    graph: PopulationGraph
    layers: tuple[tuple[Slot, ...], ...]

    @property
    def entrance(self) -> tuple[Slot, ...]:
        """The input lines, seen as a layer."""
        return (Slot(Tap(self.graph.input), np.arange(self.graph.input_size)),)


def reads(slot: Slot) -> dict[Tap, NDArray[Any]]:
    """What a slot takes from the layer before, with the lines it needs."""
    if slot.population is not None:
        drive = slot.population.drive
        return {tap: np.flatnonzero(weight.read_sources()) for tap, weight in drive.items()}
    return {} if slot.within else {slot.source: slot.lines}


def reads_itself(slot: Slot) -> dict[Tap, NDArray[Any]]:
    """What a slot takes from its own layer, with the lines it needs; each tap is at least a step late."""
    if slot.population is not None:
        drive = slot.population.recurrent
        return {tap: np.flatnonzero(weight.read_sources()) for tap, weight in drive.items()}
    return {slot.source.later(1): slot.lines} if slot.within else {}


def recurrent(layer: Sequence[Slot]) -> bool:
    """Whether neurons of a layer drive neurons of the same layer."""
    return any(slot.population is not None and slot.population.recurrent for slot in layer)
