"""Placement on many equal cores: greedy, first fit, in the order of the graph, the same every time.

Population after population, from its first neuron on, the largest run of neurons that fits goes into the
first core that takes at least one; a new core is opened where none does. Neurons, input axons and memory
of a core are limits while it is filled. Its output axons depend on where later populations go: where they
come out too many, the population in that core that sends most of them is spread thinner and all is placed
anew.

One core of many while it is being filled: what a further share of neurons would cost, and whether it fits.

The synapses of one line onto the neurons of one core form a list. Where the format of lists is published,
a list takes the cheaper of two forms: dense, a weight for each neuron of the population's share, or sparse,
a weight and an index of the neuron for each synapse; blocks of either are padded to whole words. Else only
the bits of the weights are counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.chips.chip import Chip, ListFormat, ManyCores, Mesh
from nsc_deploy.exporters.chips.connectivity import ConvolutionPattern, Integers
from nsc_deploy.exporters.chips.placement import Core, Placement, Route, Share, Usage
from nsc_deploy.exporters.chips.projections import Population, Projection, Wiring
from nsc_deploy.exporters.chips.timing import Timing

_ROUNDS = 12
_GIVE_UP = 8
"""Times the cores of the chip after which no more are opened."""


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
class Setting:
    """What every core has in common.

    Attributes:
        layout: the published limits.
        weight_bits: of a weight in the graph's weights, its sign included.
        state_bits: of one state variable.
    """

    layout: ManyCores
    weight_bits: int
    state_bits: int

    @classmethod
    def of(cls, chip: Chip, layout: ManyCores, weight_bits: int) -> "Setting":
        """From a chip."""
        return cls(layout, weight_bits, chip.neurons.state_bits.value or 0)


@dataclass(frozen=True)
class Cost:
    """What a share needs beside its neurons.

    Attributes:
        lines: for each source, which of its lines have synapses onto the share.
        bits: of memory.
        synapses: number of synapses.
    """

    lines: dict[str, NDArray[np.bool_]]
    bits: int
    synapses: int


@dataclass
class Filling:
    """A core and what is in it so far."""

    setting: Setting
    shares: list[Share] = field(default_factory=list)
    lines: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    bits: int = 0
    synapses: int = 0

    @property
    def neurons(self) -> int:
        """Neurons in the core."""
        return sum(share.size for share in self.shares)

    @property
    def axons_in(self) -> int:
        """Lines with synapses in the core."""
        return sum(int(lines.sum()) for lines in self.lines.values())

    def room(self) -> int:
        """Neurons that can still come."""
        return (self.setting.layout.neurons_per_core.value or 2**31) - self.neurons

    def takes(self, share: Share, cost: Cost) -> bool:
        """Whether a share would fit."""
        layout = self.setting.layout
        return (
            share.size <= self.room()
            and _within(self._axons_with(cost), layout.axons_in.value)
            and _within(ceil((self.bits + cost.bits) / 8), layout.memory.capacity.value)
        )

    def add(self, share: Share, cost: Cost) -> None:
        """Take a share."""
        self.shares.append(share)
        self.bits += cost.bits
        self.synapses += cost.synapses
        for source, lines in cost.lines.items():
            self.lines[source] = self.lines[source] | lines if source in self.lines else lines

    def _axons_with(self, cost: Cost) -> int:
        new = sum(
            int((lines & ~self.lines[source]).sum()) if source in self.lines else int(lines.sum())
            for source, lines in cost.lines.items()
        )
        return self.axons_in + new

    def pools(self, axons_out: int) -> tuple[Usage, ...]:
        """What the core uses of what it has."""
        layout = self.setting.layout
        memory = layout.memory
        bound = memory.lists is None
        return (
            Usage(
                "neurons", self.neurons, layout.neurons_per_core.value, lower=layout.neurons_per_core.lower
            ),
            Usage("axons in", self.axons_in, layout.axons_in.value, lower=layout.axons_in.lower),
            Usage("axons out", axons_out, layout.axons_out.value, lower=layout.axons_out.lower),
            Usage("memory", ceil(self.bits / 8), memory.capacity.value, "B", bound, memory.capacity.lower),
            Usage("synapses", self.synapses, None),
        )


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

    def axons_out(self) -> dict[int, int]:
        """For each core the core-to-core edges that begin in it."""
        out = dict.fromkeys(range(len(self.fillings)), 0)
        for route in self.routes:
            if route.source_core is not None:
                out[route.source_core] += route.axons
        return out

    def senders(self, core: int) -> dict[str, int]:
        """For each population in a core the core-to-core edges that begin there."""
        sends: dict[str, int] = {}
        for route in self.routes:
            if route.source_core == core:
                sends[route.source] = sends.get(route.source, 0) + route.axons
        return sends


def pack(wiring: Wiring, timing: Timing, setting: Setting) -> Packing:
    """Place every neuron, in more cores than the chip has where it must be."""
    caps = {one.name: one.size for one in wiring.populations}
    packing = _pack_once(wiring, timing, setting, caps)
    limit = setting.layout.axons_out.value
    for _ in range(_ROUNDS):
        tighter = _tighter(packing, caps, limit)
        if tighter == caps:
            break
        caps = tighter
        packing = _pack_once(wiring, timing, setting, caps)
    return packing


def placement_of(
    packing: Packing, chip: Chip, layout: ManyCores, timing: Timing, outputs: tuple[str, ...] = ()
) -> Placement:
    """The packing as a placement."""
    out = packing.axons_out()
    cores = tuple(
        Core(index, tuple(one.shares), one.pools(out[index]), tile_of(index, layout.mesh))
        for index, one in enumerate(packing.fillings)
    )
    return Placement(chip.name, cores, packing.routes, dict(timing.latency), outputs)


def tile_of(index: int, mesh: Mesh | None) -> tuple[int, int] | None:
    """Column and row of the tile a core belongs to; None without a mesh, or past its end."""
    if mesh is None or index >= mesh.columns * mesh.rows * mesh.cores_per_tile:
        return None
    tile = index // mesh.cores_per_tile
    return tile % mesh.columns, tile // mesh.columns


def _pack_once(wiring: Wiring, timing: Timing, setting: Setting, caps: Mapping[str, int]) -> Packing:
    fillings: list[Filling] = []
    misfits: list[Misfit] = []
    most = _GIVE_UP * (setting.layout.cores.value or 1024)
    for population in wiring.populations:
        into = [
            (one, longest)
            for one, (_, longest) in zip(wiring.projections, timing.delays, strict=True)
            if one.target == population.name
        ]
        lost = _place(population, into, setting, caps[population.name], fillings, most)
        if lost:
            misfits.append(Misfit(population.name, tuple(lost)))
        if len(fillings) > most:
            break
    return Packing(tuple(fillings), _routes(wiring, fillings), tuple(misfits), len(fillings) <= most)


def _place(
    population: Population,
    into: list[tuple[Projection, int]],
    setting: Setting,
    cap: int,
    fillings: list[Filling],
    most: int,
) -> list[int]:
    """Put a population into cores; returns the neurons that fit none."""
    lost: list[int] = []
    start = index = hint = 0
    while start < population.size and len(fillings) <= most:
        new = index == len(fillings)
        filling = Filling(setting) if new else fillings[index]
        share = _largest(population, into, setting, filling, start, cap, hint)
        if share is None and new:
            lost.append(start)
            start += 1
            continue
        if share is not None:
            filling.add(share, cost_of(population, into, share, setting))
            if new:
                fillings.append(filling)
            start, hint = share.stop, share.size
        index += 1
    return lost


def _largest(
    population: Population,
    into: list[tuple[Projection, int]],
    setting: Setting,
    filling: Filling,
    start: int,
    cap: int,
    hint: int,
) -> Share | None:
    """The largest run of neurons from `start` on that a core takes; None if it takes none.

    `hint`, the size of the run before, spares most of the search and changes nothing else.
    """

    def fits(stop: int) -> bool:
        share = population.share(start, stop)
        return filling.takes(share, cost_of(population, into, share, setting))

    most = start + min(filling.room(), cap, population.size - start)
    if most <= start or not fits(start + 1):
        return None
    if fits(most):
        return population.share(start, most)
    low, high = start + 1, most
    for guess in (start + hint, start + hint + 1):
        if low < guess < high:
            low, high = (guess, high) if fits(guess) else (low, guess)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return population.share(start, low)


def _routes(wiring: Wiring, fillings: list[Filling]) -> tuple[Route, ...]:
    homes: dict[str, list[tuple[int | None, Share]]] = {
        name: [(None, Share(name, 0, size, np.arange(size)))] for name, size in wiring.inputs.items()
    }
    for index, filling in enumerate(fillings):
        for share in filling.shares:
            homes.setdefault(share.population, []).append((index, share))
    routes = []
    for target, filling in enumerate(fillings):
        for source, lines in filling.lines.items():
            met = _synapses_of(wiring, filling, source)
            for home, share in homes.get(source, ()):
                chosen = np.sort(share.neurons[lines[share.neurons]])
                if len(chosen):
                    routes.append(Route(source, home, target, chosen, met[chosen]))
    return tuple(routes)


def _synapses_of(wiring: Wiring, filling: Filling, source: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Synapses of each line of a source in a core."""
    size = wiring.inputs[source] if source in wiring.inputs else wiring.population(source).size
    met = np.zeros(size, np.int64)
    for share in filling.shares:
        for one in wiring.into(share.population):
            if one.source == source:
                met += one.pattern.lists(share.neurons)
    return met


def _tighter(packing: Packing, caps: Mapping[str, int], limit: int | None) -> dict[str, int]:
    """Fewer neurons a core for the population that sends most in a core with too many output axons."""
    tighter = dict(caps)
    if limit is None or not packing.complete:
        return tighter
    for index, used in packing.axons_out().items():
        if used > limit:
            # Spreading the others thinner would only give this one more cores to send to.
            sends = packing.senders(index)
            name = max(sends, key=lambda one: sends[one])
            size = sum(share.size for share in packing.fillings[index].shares if share.population == name)
            tighter[name] = min(tighter[name], max(1, size * limit // used))
    return tighter


def cost_of(
    population: Population, into: Sequence[tuple[Projection, int]], share: Share, setting: Setting
) -> Cost:
    """What a share of a population costs, wherever it goes.

    Args:
        population: whose neurons they are.
        into: its projections, each with the longest delay of its synapses.
        share: the neurons.
        setting: of the cores.
    """
    lines: dict[str, NDArray[np.bool_]] = {}
    bits = synapses = 0
    for one, delay in into:
        lists = one.pattern.lists(share.neurons)
        met = lists > 0
        lines[one.source] = lines[one.source] | met if one.source in lines else met
        synapses += int(lists.sum())
        bits += _synapse_bits(one, lists, share, delay, setting)
    if setting.layout.memory.holds_states:
        bits += share.size * population.states * setting.state_bits
    return Cost(lines, bits, synapses)


def _synapse_bits(one: Projection, lists: Integers, share: Share, delay: int, setting: Setting) -> int:
    layout = setting.layout
    if layout.memory.lists is not None:
        return list_bits(
            lists, share.size, delay, setting.weight_bits, _index_bits(layout), layout.memory.lists
        )
    shared = layout.shared_convolutions.value and isinstance(one.pattern, ConvolutionPattern)
    weights = one.pattern.stored(share.neurons) if shared else int(lists.sum())
    return weights * setting.weight_bits


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


def _index_bits(layout: ManyCores) -> int:
    return max(1, (layout.neurons_per_core.value or 1) - 1).bit_length()


def _within(used: int, limit: int | None) -> bool:
    return limit is None or used <= limit
