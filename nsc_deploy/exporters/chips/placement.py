"""Where the neurons of a graph lie on a chip: a value that other rooms can read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from nsc_deploy.graphs.connectivity import Integers


@dataclass(frozen=True)
class Usage:
    """How much of a pool is used.

    Attributes:
        pool: its name.
        used: how much.
        limit: how much there is; None where that has not been published.
        unit: of both; empty for a count.
        at_least: True where `used` is a lower bound.
        lower: a lower limit that another publication gives.
    """

    pool: str
    used: int
    limit: int | None
    unit: str = ""
    at_least: bool = False
    lower: int | None = None

    @property
    def percent(self) -> float | None:
        """Used part of the limit in per cent; None without a limit."""
        return None if not self.limit else 100 * self.used / self.limit

    @property
    def over(self) -> bool:
        """Whether more is used than there is."""
        return self.limit is not None and self.used > self.limit


@dataclass(frozen=True)
class Share:
    """Neurons of one population in one core: the `start`-th to before the `stop`-th that are placed.

    Vectors are placed in their order, feature maps place by place with all channels together.

    Attributes:
        population: its name.
        start: the first in the order of placement.
        stop: past the last.
        neurons: their numbers in the graph, flattened.
    """

    population: str
    start: int
    stop: int
    neurons: Integers = field(compare=False, repr=False)

    @property
    def size(self) -> int:
        """How many."""
        return self.stop - self.start


@dataclass(frozen=True)
class Core:
    """One core.

    Attributes:
        index: its number on the chip.
        shares: the neurons in it.
        pools: what they use.
        tile: column and row of its tile in the mesh; None where the mesh is not published.
    """

    index: int
    shares: tuple[Share, ...]
    pools: tuple[Usage, ...]
    tile: tuple[int, int] | None = None


@dataclass(frozen=True)
class Route:
    """Spikes of a source that travel to a core.

    Attributes:
        source: an input or a population.
        source_core: the core the spikes leave; None for an input, whose spikes come from the host.
        target_core: the core they reach.
        lines: the neurons (or lines of the input) whose spikes travel, ascending.
        lists: synapses that each of these lines has in the core.
    """

    source: str
    source_core: int | None
    target_core: int
    lines: Integers = field(compare=False, repr=False)
    lists: Integers = field(compare=False, repr=False)

    @property
    def axons(self) -> int:
        """Messages for one spike of each line."""
        return len(self.lines)

    @property
    def synapses(self) -> int:
        """Synapses that the lines have in the core, all together."""
        return int(self.lists.sum())


@dataclass(frozen=True)
class Placement:
    """A graph on a chip.

    Attributes:
        chip: name of the chip.
        cores: the cores that hold neurons.
        routes: which spikes travel where; empty where the chip has no published network.
        latency: steps by which each input and population is late on the chip.
        outputs: the populations whose spikes leave for the host.
    """

    chip: str
    cores: tuple[Core, ...]
    routes: tuple[Route, ...]
    latency: Mapping[str, int]
    outputs: tuple[str, ...] = ()

    def core(self, index: int) -> Core:
        """The core with a number."""
        return self._by_index[index]

    @cached_property
    def _by_index(self) -> dict[int, Core]:
        return {core.index: core for core in self.cores}

    def hops(self, route: Route) -> tuple[int, int] | None:
        """Hops of one message east or west, and north or south; None where the way is not known.

        Messages take the shortest way along a row of tiles, then along a column.
        """
        if route.source_core is None:
            return None
        here, there = self.core(route.source_core).tile, self.core(route.target_core).tile
        if here is None or there is None:
            return None
        return abs(here[0] - there[0]), abs(here[1] - there[1])

    def shares_of(self, population: str) -> tuple[tuple[int, Share], ...]:
        """Where the neurons of a population lie: number of the core and the neurons in it."""
        return tuple(
            (core.index, share)
            for core in self.cores
            for share in core.shares
            if share.population == population
        )


@dataclass(frozen=True)
class Breach:
    """A rule that does not hold, and the smallest change that would mend it.

    Attributes:
        rule: its name.
        where: a node, a core, or the chip.
        problem: what is wrong.
        hint: the smallest change.
        used: how much is asked for.
        limit: how much there is.
    """

    rule: str
    where: str
    problem: str
    hint: str
    used: int
    limit: int


@dataclass(frozen=True)
class Layout:
    """What a way of placing neurons answers.

    Attributes:
        placement: where they lie; None where not every neuron found a place.
        pools: of the whole chip.
        breaches: rules that do not hold.
        partial: the cores of those neurons that did, where not every one found a place; else none.
    """

    placement: Placement | None
    pools: tuple[Usage, ...]
    breaches: tuple[Breach, ...] = ()
    partial: tuple[Core, ...] = ()
