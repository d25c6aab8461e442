"""Pass: a graph with branches and joins becomes a chain of layers in which all paths are equally long.

On the chip every connection takes one step, so events that meet after different numbers of connections
would meet at different steps. Each population therefore gets a level, one more than the latest of its
sources, and events that are needed at a later level are handed on by relays: neurons without memory that
repeat their one input. A delay of the graph becomes a relay with delayed synapses. Populations of one
cycle share a level and read their own layer, a step later. A layer is one process, which resets all its
neurons alike: where some subtract and others reset to zero, the later ones take a level of their own.

It ensures that whatever a layer reads is carried by the layer before it or by itself, and that the last
layer is the output. Exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.lowering.populations import Population, PopulationGraph, Tap
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note, Pass, Rewrite


class LateError(ExportError):
    """Delays in a row add up to more than a synapse can have."""


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


@dataclass(frozen=True)
class Levelise(Pass[PopulationGraph, Levels]):
    """The pass.

    Attributes:
        max_delay: the longest delay a synapse can have, in steps.
    """

    name = "levelise"
    max_delay: int

    def rewrite(self, graph: PopulationGraph, /) -> Rewrite[Levels]:
        """Give every population a level, then hand on what later levels need.

        Raises:
            LateError: delays in a row add up to more than a synapse can have.
            ExportError: neurons of one cycle reset in two ways.
        """
        self._refuse_long_delays(graph)
        level = _levels(graph)
        depth = max(1, _available(graph.output, level)) + int(_shares_its_layer(graph))
        used = _relayed_lines(graph, level, depth)
        needed = _needed_until(graph, level, depth)
        slots = [_slots(graph, level, used, needed, layer) for layer in range(1, depth + 1)]
        return Rewrite(Levels(graph, tuple(slots)), tuple(_notes(slots)))

    def _refuse_long_delays(self, graph: PopulationGraph) -> None:
        for population in graph.populations:
            # A recurrent connection takes a step by itself, and a relay in front of it another one.
            for tap in (*population.drive, *(tap.later(-2) for tap in population.recurrent)):
                self._refuse_late(graph, tap, population.name)
        self._refuse_late(graph, graph.output, "")

    def _refuse_late(self, graph: PopulationGraph, tap: Tap, reader: str) -> None:
        if tap.delay <= self.max_delay:
            return
        to = f"'{reader}'" if reader else "the output"
        late = f"'{tap.source}' reaches {to} {tap.delay} steps late, and a synapse can do {self.max_delay}"
        delays = graph.delays.get((tap.source, reader), ())
        if not delays:
            raise LateError(
                late,
                where=f"node '{reader or tap.source}'",
                hint="Shorten the delays of the cycle, or choose a longer time step.",
            )
        *before, last = (f"'{name}'" for name in delays)
        row = f"with {', '.join(before)} in front of it, " if before else ""
        raise LateError(
            row + late,
            where=f"node {last}",
            hint="Shorten these delays, or choose a longer time step.",
        )

    def ensures(self, levels: Levels, /) -> str | None:
        """A layer that reads what the layer before does not carry."""
        before = levels.entrance
        for index, layer in enumerate(levels.layers):
            carried = {slot.carries: slot.lines for slot in before}
            for slot in layer:
                for tap, lines in reads(slot).items():
                    if tap not in carried or not np.isin(lines, carried[tap]).all():
                        return f"layer {index} reads {tap}, which the layer before does not carry"
            own = {slot.carries.later(1): slot.lines for slot in layer}
            for slot in layer:
                for tap, lines in reads_itself(slot).items():
                    if tap not in own or not np.isin(lines, own[tap]).all():
                        return f"layer {index} reads {tap}, which it does not carry itself"
            before = layer
        leaving = [slot.carries for slot in levels.layers[-1]]
        return None if leaving == [levels.graph.output] else "the last layer is not the output"


def _levels(graph: PopulationGraph) -> dict[str, int]:
    """Populations of one cycle share a level, and none is shared by those that reset in two ways."""
    level = {graph.input: 0}
    resets: dict[int, bool] = {}
    for population in graph.populations:
        if population.name in level:
            continue
        names = graph.cycle(population.name) or {population.name}
        taps = [tap for one in graph.populations if one.name in names for tap in one.drive]
        own = 1 + max((_available(tap, level) for tap in taps), default=0)
        subtracts = _subtracts([one for one in graph.populations if one.name in names])
        if subtracts is not None:
            while resets.setdefault(own, subtracts) != subtracts:
                own += 1
        level.update(dict.fromkeys(names, own))
    return level


def _subtracts(populations: Sequence[Population]) -> bool | None:
    """Whether the process that holds these must subtract; None where either does.

    Neurons without memory forget in every step what a reset leaves.

    Raises:
        ExportError: some must subtract and others must not.
    """
    subtracting = [one.name for one in populations if one.subtracts]
    to_zero = [one.name for one in populations if not one.subtracts and (one.leak_v < 1).any()]
    if subtracting and to_zero:
        raise ExportError(
            f"resets by subtraction in a cycle with '{to_zero[0]}', which resets to zero, and a cycle is one "
            "process",
            where=f"node '{subtracting[0]}'",
            hint="Train both with the same reset, or take the connection back out of the cycle.",
        )
    return bool(subtracting) if subtracting or to_zero else None


def _available(tap: Tap, level: Mapping[str, int]) -> int:
    """The first level at which the events of a tap exist: a delay line takes a layer of its own."""
    return level[tap.source] + (1 if tap.delay else 0)


def _shares_its_layer(graph: PopulationGraph) -> bool:
    """Whether the output lies in a cycle that needs more neurons in the same layer: a relay takes it out."""
    cycle = graph.cycle(graph.output.source)
    if not cycle or graph.output.delay:
        return False
    waits = any(tap.delay > 1 for one in graph.populations if one.name in cycle for tap in one.recurrent)
    return waits or len(cycle) > 1


def _needed_until(graph: PopulationGraph, level: Mapping[str, int], depth: int) -> dict[Tap, int]:
    """The last level at which a tap must still be carried."""
    needed = {graph.output: depth}
    for population in graph.populations:
        for tap in population.drive:
            needed[tap] = max(needed.get(tap, 0), level[population.name] - 1)
    return needed


def _relayed_lines(graph: PopulationGraph, level: Mapping[str, int], depth: int) -> dict[Tap, NDArray[Any]]:
    """For each tap, the lines that are read anywhere but right behind their source."""
    relayed: dict[Tap, NDArray[Any]] = {}
    if graph.output.delay or level[graph.output.source] < depth:
        relayed[graph.output] = np.ones(graph.size(graph.output.source), bool)
    for population in graph.populations:
        for tap, weight in population.drive.items():
            if tap.delay or level[population.name] > level[tap.source] + 1:
                read = weight.read_sources()
                relayed[tap] = relayed.get(tap, np.zeros_like(read)) | read
    return {tap: np.flatnonzero(lines) for tap, lines in relayed.items() if lines.any()}


def _slots(
    graph: PopulationGraph,
    level: Mapping[str, int],
    used: Mapping[Tap, NDArray[Any]],
    needed: Mapping[Tap, int],
    layer: int,
) -> tuple[Slot, ...]:
    own = [
        Slot(Tap(one.name), np.arange(one.size), one, late=one.late)
        for one in graph.populations
        if level[one.name] == layer
    ]
    late = {one.name: one.late for one in graph.populations}
    relays = [
        Slot(
            tap,
            used[tap],
            None,
            tap.delay if layer == level[tap.source] + 1 else 0,
            late=late.get(tap.source, 0),
        )
        for tap in sorted(used)
        if level[tap.source] < layer <= needed[tap]
    ]
    return (*own, *_relays_within(own), *relays)


def _relays_within(own: Sequence[Slot]) -> list[Slot]:
    """A recurrent connection takes one step; what is to come later waits in a relay of the same layer."""
    waiting: dict[Tap, NDArray[Any]] = {}
    for slot in own:
        for tap, weight in slot.population.recurrent.items() if slot.population else ():
            if tap.delay > 1:
                read = weight.read_sources()
                waiting[tap] = waiting.get(tap, np.zeros_like(read)) | read
    late = {slot.carries.source: slot.late for slot in own}
    return [
        Slot(
            tap.later(-1),
            np.flatnonzero(waiting[tap]),
            None,
            tap.delay - 2,
            within=True,
            late=late[tap.source],
        )
        for tap in sorted(waiting)
    ]


def _notes(layers: list[tuple[Slot, ...]]) -> list[Note]:
    notes = []
    for index, layer in enumerate(layers):
        for slot in (slot for slot in layer if slot.population is None):
            steps = slot.delay + int(slot.within)
            kind = "delay-line" if steps else "relay"
            late = f" {counted(steps, 'step')} late" if steps else ""
            hand = counted(slot.size, f"relay in layer {index} hands", f"relays in layer {index} hand")
            text = f"{hand} its events on{late}; no spike changes"
            notes.append(Note(kind, slot.carries.source, text))
    return notes


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
