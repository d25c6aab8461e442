"""A part placed on a target, and what recorded spikes cause there step by step.

The placement says which cores the spikes of a line go to, and how many synapses it has there; a run says
which lines fire in which step. Spikes of a population that is late by some steps on the chip are taken in
the step in which they are sent there. Messages, hops and synapse events are exact for the placement and
the recording.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nsc_deploy.energy.counting.operations import Integers
from nsc_deploy.exporters.base import CheckResult, Target
from nsc_deploy.exporters.chips.chip import ManyCores, StepTime
from nsc_deploy.exporters.chips.placement import Placement, Route
from nsc_deploy.exporters.chips.projections import Projection, build_projections
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.firmware import FirmwareRun

Times = NDArray[np.float64]


@dataclass(frozen=True)
class Hops:
    """Steps of messages from tile to tile, for each sample."""

    east_west: Integers
    north_south: Integers


@dataclass(frozen=True)
class StepTimes:
    """How long steps take on the chip, in nanoseconds.

    Attributes:
        low: [steps on the chip, samples], if a core sends and receives at the same time.
        high: the same, if all cores send first, the last message crosses the chip, and then all receive.
        quiet: low and high of a step without a single spike.
    """

    low: Times
    high: Times
    quiet: tuple[float, float]


@dataclass(frozen=True)
class ChipActivity:
    """What happens on a chip.

    Attributes:
        messages: between cores (also from a core to itself), for each sample.
        from_host: messages of the inputs, for each sample.
        to_host: spikes of the outputs, for each sample.
        synapse_events: spikes that meet a synapse, for each sample.
        busiest: synapse events of the core that has the most of them, for each sample.
        hops: None where it is not known how the cores lie.
        late: steps by which the last population is behind the graph.
        times: None where no durations are published.
    """

    messages: Integers
    from_host: Integers
    to_host: Integers
    synapse_events: Integers
    busiest: Integers
    hops: Hops | None
    late: int
    times: StepTimes | None


@dataclass(frozen=True)
class _Source:
    """What one spike of each line of a source causes.

    Attributes:
        causes: [lines, 4 * cores + 2]: messages in, synapse events, spikes and messages out of each core,
            then hops east or west and north or south.
        late: steps by which it is behind the graph.
        from_host: whether its spikes come from outside.
        to_host: whether its spikes leave the chip.
        last: `causes` in the last step of the recording, the one before it, and so on, as far back as the
            graph delays: what would meet a synapse after the end does not.
    """

    causes: sparse.csr_array
    late: int
    from_host: bool
    to_host: bool
    last: tuple[sparse.csr_array, ...]


class ActivityCounter:
    """Adds up what the spikes of a network that runs cause on a chip.

    Args:
        network: the graph.
        placement: of it; its routes are known.
        recording: what is run.
        step_time: durations, or None.
    """

    def __init__(
        self, network: Network, placement: Placement, recording: Recording, step_time: StepTime | None
    ) -> None:
        self._placement = placement
        self._step_time = step_time
        self._cores = len(placement.cores)
        delays = _delaying(network)
        self._sources = {name: _source(network, placement, name, delays) for name in placement.latency}
        self._steps, samples = recording.steps, recording.samples
        self._late = max((one.late for one in self._sources.values()), default=0)
        self._neurons = np.array([sum(share.size for share in core.shares) for core in placement.cores])
        self._totals = {
            name: np.zeros(samples, np.int64)
            for name in ("messages", "from_host", "to_host", "synapse_events", "busiest")
        }
        self._hops = Hops(np.zeros(samples, np.int64), np.zeros(samples, np.int64))
        shape = (self._steps + self._late, samples) if step_time is not None else (0, 0)
        self._low, self._high = np.zeros(shape), np.zeros(shape)
        self._open: tuple[slice, Integers] | None = None

    def __call__(self, samples: slice, name: str, output: NDArray[Any]) -> None:
        """Take in the output [T, N, *shape] of a node for some samples; other nodes are passed over."""
        source = self._sources.get(name)
        if source is None:
            return
        steps, size = output.shape[:2]
        batch = self._of_batch(samples, size)
        spikes = _spikes(output.reshape(steps * size, -1))
        caused = (spikes @ source.causes).toarray().reshape(steps, size, -1)
        for left, causes in enumerate(source.last[:steps]):
            at = steps - 1 - left
            caused[at] = (spikes[at * size : (at + 1) * size] @ causes).toarray()
        batch[source.late : source.late + steps] += caused
        if source.from_host:
            self._totals["from_host"][samples] += caused[..., : self._cores].sum(axis=(0, 2))
        if source.to_host:
            each_sample = np.asarray(spikes.sum(axis=1)).reshape(steps, size).sum(axis=0)
            self._totals["to_host"][samples] += each_sample

    def activity(self) -> ChipActivity:
        """The sums over all batches, once they have run."""
        self._close()
        known = all(core.tile is not None for core in self._placement.cores)
        hops = self._hops if known else None
        return ChipActivity(**self._totals, hops=hops, late=self._late, times=self._times())

    def _times(self) -> StepTimes | None:
        if self._step_time is None:
            return None
        nothing = np.zeros((1, 1, 4 * self._cores + 2), np.int64)
        low, high = _durations(nothing, self._neurons, self._placement, self._step_time)
        return StepTimes(self._low, self._high, (float(low[0, 0]), float(high[0, 0])))

    def _of_batch(self, samples: slice, size: int) -> Integers:
        if self._open is None or self._open[0] != samples:
            self._close()
            shape = (self._steps + self._late, size, 4 * self._cores + 2)
            self._open = samples, np.zeros(shape, np.int64)
        return self._open[1]

    def _close(self) -> None:
        """Keep of a batch the totals of each sample and the time of each step."""
        if self._open is None:
            return
        samples, caused = self._open
        self._open = None
        _, events, _, out = (caused[..., i * self._cores : (i + 1) * self._cores] for i in range(4))
        self._totals["messages"][samples] += out.sum(axis=(0, 2))
        self._totals["synapse_events"][samples] += events.sum(axis=(0, 2))
        self._totals["busiest"][samples] += events.sum(axis=0).max(axis=1)
        self._hops.east_west[samples] += caused[..., -2].sum(axis=0)
        self._hops.north_south[samples] += caused[..., -1].sum(axis=0)
        if self._step_time is not None:
            times = _durations(caused, self._neurons, self._placement, self._step_time)
            self._low[:, samples], self._high[:, samples] = times


def _spikes(values: NDArray[Any]) -> sparse.csr_array:
    """Ones where values [rows, lines] are not zero."""
    rows, lines = np.divmod(np.flatnonzero(values.reshape(-1) != 0), values.shape[1])
    ends = np.cumsum(np.bincount(rows, minlength=len(values)))
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    return sparse.csr_array((np.ones(len(lines), np.int64), lines, starts), shape=values.shape)


def _delaying(network: Network) -> tuple[Projection, ...]:
    """All projections of a graph that delays spikes in front of weights; none of another."""
    if not network.back_edges and all(node.primitive != "Delay" for node in network.nodes):
        return ()
    projections = build_projections(network).projections
    return projections if any(one.lag.any() for one in projections) else ()


def _source(network: Network, placement: Placement, name: str, projections: Sequence[Projection]) -> _Source:
    node, own = network.node(name), [one for one in projections if one.source == name]
    routes = [route for route in placement.routes if route.source == name]

    def caused(some: Iterable[Route]) -> sparse.csr_array:
        return _causes(placement, name, prod(node.output_shape), some)

    longest = max((int(one.lag.max(initial=0)) for one in own), default=0)
    last = tuple(caused(_in_time(routes, placement, own, left)) for left in range(longest))
    host = node.primitive == "Input"
    return _Source(caused(routes), placement.latency[name], host, name in placement.outputs, last)


def _in_time(
    routes: Sequence[Route], placement: Placement, projections: Sequence[Projection], left: int
) -> Iterator[Route]:
    """The routes of a source, of what meets a synapse within so many further steps."""
    for route in routes:
        lists = np.zeros(len(projections[0].lag), np.int64)
        for share in placement.core(route.target_core).shares:
            for one in projections:
                if one.target == share.population:
                    lists += np.where(one.lag <= left, one.synapses.fan_out_to(share.neurons), 0)
        lines = route.lines[lists[route.lines] > 0]
        yield replace(route, lines=lines, lists=lists[lines])


def _causes(placement: Placement, name: str, lines: int, routes: Iterable[Route]) -> sparse.csr_array:
    """What one spike of each line of a source causes, by the routes it takes."""
    cores = len(placement.cores)
    position = {core.index: number for number, core in enumerate(placement.cores)}
    # Entries (lines, column, value) of the same place are added up: routes of a line, with their hops.
    entries: list[tuple[Integers, int, Integers | int]] = [
        (share.neurons, 2 * cores + position[home], 1) for home, share in placement.shares_of(name)
    ]
    for route in routes:
        there = position[route.target_core]
        entries += [(route.lines, there, 1), (route.lines, cores + there, route.lists)]
        if route.source_core is not None:
            entries.append((route.lines, 3 * cores + position[route.source_core], 1))
            hops = placement.hops(route) or (0, 0)
            entries += [(route.lines, 4 * cores + axis, number) for axis, number in enumerate(hops)]
    rows, columns, values = (
        np.concatenate(
            [np.zeros(0, np.int64), *(np.broadcast_to(one[part], one[0].shape) for one in entries)]
        )
        for part in range(3)
    )
    return sparse.coo_array((values, (rows, columns)), shape=(lines, 4 * cores + 2)).tocsr()


def _durations(
    caused: Integers, neurons: Integers, placement: Placement, times: StepTime
) -> tuple[Times, Times]:
    """Shortest and longest time of each step, [steps, samples], in nanoseconds."""
    cores = len(placement.cores)
    arriving, events, spikes, out = (caused[..., i * cores : (i + 1) * cores] for i in range(4))
    access, update = times.neuron_access, times.neuron_update
    sent = [
        neurons * (access.shortest if low else access.longest + update.longest)
        + spikes * (times.spike.shortest if low else times.spike.longest)
        + out * (times.message_out.shortest if low else times.message_out.longest)
        for low in (True, False)
    ]
    received = [
        arriving * (times.message_in.shortest if low else times.message_in.longest)
        + events * (times.synapse.shortest if low else times.synapse.longest)
        for low in (True, False)
    ]
    tiles = len({core.tile for core in placement.cores}) or 1
    wait_low, wait_high = times.barrier.nanoseconds(tiles)
    ways = [placement.hops(route) or (0, 0) for route in placement.routes]
    crossing = max(
        (ew * times.hop_east_west.longest + ns * times.hop_north_south.longest for ew, ns in ways),
        default=0.0,
    )
    low = np.maximum(sent[0], received[0]).max(axis=-1) + wait_low
    high = sent[1].max(axis=-1) + crossing + received[1].max(axis=-1) + wait_high
    return low, high


@dataclass(frozen=True)
class PlacedPart:
    """A part on a target.

    Attributes:
        target: where to.
        found: what the target says of the part.
        activity: what happens on it; None where it does not fit or its network is not published.
        run: the recorded samples on a microcontroller; None where the target is none.
        along: name of the part in front of it that its code holds too, or None.
    """

    target: Target
    found: CheckResult
    activity: ChipActivity | None = None
    run: "FirmwareRun | None" = None
    along: str | None = None

    @property
    def refusal(self) -> str:
        """The first node that is refused, and how many more are; empty where none is."""
        refused = self.found.refused
        others = f" (and {counted(len(refused) - 1, 'more node')})" if len(refused) > 1 else ""
        return f"{refused[0].node} {refused[0].reason}{others}" if refused else ""

    @property
    def problems(self) -> tuple[str, ...]:
        """What stands against it: the node that is refused, with the way out, and each rule that breaks."""
        refused = (f"{self.refusal}. {one.hint}".strip().rstrip(".") for one in self.found.refused[:1])
        return (*refused, *(f"{one.rule}: {one.problem}" for one in self.found.breaches))

    @property
    def bytes(self) -> int | None:
        """What the cores hold for it; None where they do not say."""
        if not self.found.fits or self.found.placement is None:
            return None
        pools = [pool for core in self.found.placement.cores for pool in core.pools if pool.unit == "B"]
        return sum(pool.used for pool in pools) if pools else None


def activity_counter(found: CheckResult, network: Network, recording: Recording) -> ActivityCounter | None:
    """The counter of what a part causes on its target; None where it does not fit or no route is known."""
    if not found.fits or found.placement is None or not found.placement.routes:
        return None
    return ActivityCounter(network, found.placement, recording, step_time(found))


def step_time(found: CheckResult) -> StepTime | None:
    """The durations on the chip of a target, where they are published."""
    layout = None if found.chip is None else found.chip.layout
    return layout.step_time if isinstance(layout, ManyCores) else None
