"""Placement on many equal cores: greedy, first fit, in the order of the graph, the same every time.

Population after population, from its first neuron on, the largest run of neurons that fits goes into the
first core that takes at least one; a new core is opened where none does. Neurons, input axons and memory
of a core are limits while it is filled. Its output axons depend on where later populations go: where they
come out too many, the population in that core that sends most of them is spread thinner and all is placed
anew.

The synapses of one line onto the neurons of one core form a list. Where the format of lists is published,
a list takes the cheaper of two forms: dense, a weight for each neuron of the population's share, or sparse,
a weight and an index of the neuron for each synapse; blocks of either are padded to whole words. Else only
the bits of the weights are counted.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.chips.chip import Chip, ListFormat, ManyCores, Mesh
from nsc_deploy.exporters.chips.placement import Core, Placement, Route, Share, Usage
from nsc_deploy.exporters.chips.projections import Population, Projection, ProjectionGraph
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.graphs.connectivity import Integers

_ROUNDS = 12
_GIVE_UP = 8
"""Times the cores of the chip after which no more are opened."""


def pack(case: "Case") -> "Packing":
    """Place every neuron, in more cores than the chip has where it must be."""
    caps = {one.name: one.size for one in case.graph.populations}
    packing = _pack_once(case, caps)
    for _ in range(_ROUNDS):
        tighter = _tighter(packing, caps, case.layout.axons_out.value)
        if tighter == caps:
            break
        caps = tighter
        packing = _pack_once(case, caps)
    return packing


@dataclass(frozen=True)
class Demand:
    """What some neurons of a population need in a core.

    Attributes:
        share: the neurons.
        lines: for each source, which of its lines have synapses onto them.
        bits: of memory.
        synapses: number of synapses.
    """

    share: Share
    lines: dict[str, NDArray[np.bool_]]
    bits: int
    synapses: int


@dataclass(frozen=True, eq=False)
class Case:
    """A graph before a chip of many cores.

    Attributes:
        graph: the graph.
        timing: the delays its synapses need.
        chip: the chip.
        layout: its cores.
        weight_bits: of a weight in the graph's weights, its sign included.
    """

    graph: ProjectionGraph
    timing: Timing
    chip: Chip
    layout: ManyCores
    weight_bits: int

    @property
    def state_bits(self) -> int:
        """Of one state variable."""
        return self.chip.neurons.state_bits.value or 0

    @cached_property
    def _into(self) -> dict[str, list[tuple[Projection, int]]]:
        """For each population its projections, each with the longest delay of its synapses."""
        found: dict[str, list[tuple[Projection, int]]] = {}
        for one, (_, longest) in zip(self.graph.projections, self.timing.delays, strict=True):
            found.setdefault(one.target, []).append((one, longest))
        return found

    def demand(self, population: Population, start: int, stop: int) -> Demand:
        """What the neurons from `start` to before `stop` in the order of placement need in any core."""
        share = population.share(start, stop)
        lines: dict[str, NDArray[np.bool_]] = {}
        bits = synapses = 0
        for one, delay in self._into.get(population.name, ()):
            lists = one.synapses.fan_out_to(share.neurons)
            met = lists > 0
            lines[one.source] = lines[one.source] | met if one.source in lines else met
            synapses += int(lists.sum())
            bits += self._synapse_bits(one, lists, share, delay)
        if self.layout.memory.holds_states:
            bits += share.size * population.states * self.state_bits
        return Demand(share, lines, bits, synapses)

    def _synapse_bits(self, one: Projection, lists: Integers, share: Share, delay: int) -> int:
        form = self.layout.memory.lists
        if form is not None:
            index_bits = max(1, (self.layout.neurons_per_core.value or 1) - 1).bit_length()
            return list_bits(lists, share.size, delay, self.weight_bits, index_bits, form)
        kernels = (
            one.synapses.kernel_weights(share.neurons) if self.layout.shared_convolutions.value else None
        )
        return (int(lists.sum()) if kernels is None else kernels) * self.weight_bits

    def fan_out_to(self, shares: list[Share]) -> dict[str, Integers]:
        """For each source the synapses of its lines onto some neurons."""
        found: dict[str, Integers] = {}
        for share in shares:
            for one, _ in self._into.get(share.population, ()):
                lists = one.synapses.fan_out_to(share.neurons)
                found[one.source] = found[one.source] + lists if one.source in found else lists
        return found


@dataclass
class Filling:
    """A core and what is in it so far."""

    layout: ManyCores
    shares: list[Share] = field(default_factory=list)
    lines: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    neurons: int = 0
    axons_in: int = 0
    bits: int = 0
    synapses: int = 0

    def room(self) -> int:
        """Neurons that can still come."""
        return (self.layout.neurons_per_core.value or 2**31) - self.neurons

    def takes(self, demand: Demand) -> bool:
        """Whether a share would fit."""
        return (
            demand.share.size <= self.room()
            and _within(self.axons_in + self._new_axons(demand), self.layout.axons_in.value)
            and _within(ceil((self.bits + demand.bits) / 8), self.layout.memory.capacity.value)
        )

    def add(self, demand: Demand) -> None:
        """Take a share."""
        self.axons_in += self._new_axons(demand)
        self.shares.append(demand.share)
        self.neurons += demand.share.size
        self.bits += demand.bits
        self.synapses += demand.synapses
        for source, lines in demand.lines.items():
            self.lines[source] = self.lines[source] | lines if source in self.lines else lines

    def _new_axons(self, demand: Demand) -> int:
        return sum(
            int((lines & ~self.lines[source]).sum()) if source in self.lines else int(lines.sum())
            for source, lines in demand.lines.items()
        )

    def pools(self, axons_out: int) -> tuple[Usage, ...]:
        """What the core uses of what it has."""
        layout = self.layout
        capacity, at_least = layout.memory.capacity, layout.memory.lists is None
        return (
            layout.neurons_per_core.usage("neurons", self.neurons),
            layout.axons_in.usage("axons in", self.axons_in),
            layout.axons_out.usage("axons out", axons_out),
            capacity.usage("memory", ceil(self.bits / 8), unit="B", at_least=at_least),
            Usage("synapses", self.synapses, None),
        )


@dataclass(frozen=True)
class Misfit:
    """Neurons of a population that fit no core, not even an empty one.

    Attributes:
        population: its name.
        neurons: their numbers.
    """

    population: str
    neurons: tuple[int, ...]


@dataclass(frozen=True)
class Packing:
    """Neurons in cores, as many cores as that takes.

    Attributes:
        fillings: the cores in order.
        routes: which spikes travel where.
        misfits: neurons that fit no core.
        complete: False where no further cores were opened because there were far too many.
    """

    fillings: tuple[Filling, ...]
    routes: tuple[Route, ...]
    misfits: tuple[Misfit, ...]
    complete: bool

    @cached_property
    def senders(self) -> dict[int, Counter[str]]:
        """For each core the core-to-core edges that begin in it, for each population there."""
        found: dict[int, Counter[str]] = {core: Counter() for core in range(len(self.fillings))}
        for route in self.routes:
            if route.source_core is not None:
                found[route.source_core][route.source] += route.axons
        return found

    def axons_out(self) -> dict[int, int]:
        """For each core the core-to-core edges that begin in it."""
        return {core: sends.total() for core, sends in self.senders.items()}

    def placement(self, case: Case) -> Placement:
        """Where the neurons lie."""
        axons, mesh = self.axons_out(), case.layout.mesh
        cores = tuple(
            Core(index, tuple(one.shares), one.pools(axons[index]), tile_of(index, mesh))
            for index, one in enumerate(self.fillings)
        )
        return Placement(case.chip.name, cores, self.routes, dict(case.timing.latency), case.graph.outputs)


def tile_of(index: int, mesh: Mesh | None) -> tuple[int, int] | None:
    """Column and row of the tile a core belongs to; None without a mesh, or past its end."""
    if mesh is None or index >= mesh.columns * mesh.rows * mesh.cores_per_tile:
        return None
    tile = index // mesh.cores_per_tile
    return tile % mesh.columns, tile // mesh.columns


def _pack_once(case: Case, caps: Mapping[str, int]) -> Packing:
    fillings: list[Filling] = []
    misfits: list[Misfit] = []
    most = _GIVE_UP * (case.layout.cores.value or 1024)
    for population in case.graph.populations:
        lost = _place(case, population, caps[population.name], fillings, most)
        if lost:
            misfits.append(Misfit(population.name, tuple(lost)))
        if len(fillings) > most:
            break
    return Packing(tuple(fillings), _routes(case, fillings), tuple(misfits), len(fillings) <= most)


def _place(case: Case, population: Population, cap: int, fillings: list[Filling], most: int) -> list[int]:
    """Put a population into cores; returns the neurons that fit none."""

    def from_start(start: int) -> Callable[[int], Demand]:
        # What a run needs does not depend on the core, and every core is asked.
        return cache(lambda stop: case.demand(population, start, stop))

    lost: list[int] = []
    start = index = size = 0
    demand = from_start(start)
    while start < population.size and len(fillings) <= most:
        new = index == len(fillings)
        filling = Filling(case.layout) if new else fillings[index]
        taken = _largest(filling, demand, start, min(cap, population.size - start), size)
        if taken is not None:
            filling.add(taken)
            if new:
                fillings.append(filling)
            start, size = taken.share.stop, taken.share.size
            demand = from_start(start)
        elif new:
            lost.append(start)
            start += 1
            demand = from_start(start)
            continue
        index += 1
    return lost


def _largest(
    filling: Filling, demand: Callable[[int], Demand], start: int, most: int, before: int
) -> Demand | None:
    """The largest run of neurons from `start` on that a core takes; None if it takes none.

    Args:
        filling: the core.
        demand: of the neurons from `start` to before another.
        start: the first neuron.
        most: neurons to take.
        before: neurons that the core before took: a guess that spares most of the search.
    """
    last = start + min(filling.room(), most)
    if last <= start or not filling.takes(demand(start + 1)):
        return None
    if filling.takes(demand(last)):
        return demand(last)
    low, high = start + 1, last
    for guess in (start + before, start + before + 1):
        if low < guess < high:
            low, high = (guess, high) if filling.takes(demand(guess)) else (low, guess)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if filling.takes(demand(middle)) else (low, middle)
    return demand(low)


def _routes(case: Case, fillings: list[Filling]) -> tuple[Route, ...]:
    homes: dict[str, list[tuple[int | None, Share]]] = {
        name: [(None, Share(name, 0, size, np.arange(size)))] for name, size in case.graph.inputs.items()
    }
    for index, filling in enumerate(fillings):
        for share in filling.shares:
            homes.setdefault(share.population, []).append((index, share))
    routes = []
    for target, filling in enumerate(fillings):
        for source, lists in case.fan_out_to(filling.shares).items():
            for home, share in homes.get(source, ()):
                chosen = np.sort(share.neurons[lists[share.neurons] > 0])
                if len(chosen):
                    routes.append(Route(source, home, target, chosen, lists[chosen]))
    return tuple(routes)


def _tighter(packing: Packing, caps: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """Fewer neurons a core for the population that sends most in a core with too many output axons."""
    tighter = dict(caps)
    if limit is None or not packing.complete:
        return tighter
    for index, used in packing.axons_out().items():
        if used > limit:
            # Spreading the others thinner would only give this one more cores to send to.
            sends = packing.senders[index]
            name = max(sends, key=lambda one: sends[one])
            size = sum(share.size for share in packing.fillings[index].shares if share.population == name)
            tighter[name] = min(tighter[name], max(1, size * limit // used))
    return tighter


def list_bits(
    lists: Integers, neurons: int, delay: int, weight_bits: int, index_bits: int, form: ListFormat
) -> int:
    """Memory of the lists of one projection in one core.

    Args:
        lists: [lines], synapses of each line.
        neurons: in the share; a dense list has a weight for each.
        delay: the longest delay of the synapses, which all of them have room for.
        weight_bits: of a weight.
        index_bits: of the number of a neuron in its core.
        form: how lists are kept.
    """
    width = next((one for one in sorted(form.weight_widths) if one >= weight_bits), weight_bits)
    each = width + delay.bit_length()
    used = lists[lists > 0]
    dense = _blocks(np.full(len(used), neurons), each, form)
    sparse = _blocks(used, each + index_bits, form)
    return int(np.minimum(dense, sparse).sum())


def _blocks(synapses: NDArray[np.integer], bits: int, form: ListFormat) -> Integers:
    """Bits of lists with so many synapses each."""
    full, rest = np.divmod(synapses, form.block)
    whole = _padded(form.block * bits + form.header_bits, form.word_bits)
    last = np.where(rest > 0, -(-(rest * bits + form.header_bits) // form.word_bits) * form.word_bits, 0)
    return np.asarray(full * whole + last, dtype=np.int64)


def _padded(bits: int, word: int) -> int:
    return -(-bits // word) * word


def _within(used: int, limit: int | None) -> bool:
    return limit is None or used <= limit
