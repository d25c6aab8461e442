"""A part on a target, as a report has it: nodes, pools, cores, messages, energy and time of a step."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.energy.counting.on_chip import ChipActivity, PlacedPart, StepTimes, step_time
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.pricing.price import MICROJOULE
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.statistics import EnergySpread, Spread, spread, spread_uj
from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import CheckResult
from nsc_deploy.exporters.chips.chip import StepTime
from nsc_deploy.exporters.chips.placement import Core, Usage
from nsc_deploy.io.records import Record

_MICROSECOND = 1e-3
_LISTS = ("problems", "pools", "cores", "memory", "notes", "sources")
_NO_DURATIONS = (
    "No durations of synapse events and steps are published: the load in SynOps a second stands beside "
    "no limit of the chip, and no time of a step is given."
)


class Run(StrEnum):
    """How a target takes a node; `HOST`: the part it belongs to does not run on the target."""

    NATIVE = "native"
    SUBSTITUTED = "substituted"
    HOST = "host"
    NOT_PUBLISHED = "not published"
    REFUSED = "refused"


class NodeRun(Record):
    """One node and where it runs."""

    node: str
    primitive: str
    run: Run
    because: str = Field(description="what it becomes, or why it does not run on the target")


class Pool(Record):
    """What is used of one pool."""

    pool: str
    used: int
    limit: int | None = Field(description="None where none has been published")
    lower: int | None = Field(description="a lower limit that another publication gives")
    unit: str = Field(description="empty for a count")
    at_least: bool = Field(description="whether `used` is a lower bound")
    percent: float | None
    core: int | None = Field(
        description="the core, of several the one that uses most; None: the whole target"
    )


class CoreUse(Record):
    """One core."""

    index: int
    tile: tuple[int, int] | None = Field(description="column and row")
    holds: tuple[str, ...] = Field(description="populations and the numbers of their neurons")
    pools: tuple[Pool, ...]


class MemoryUse(Record):
    """Some bytes of a microcontroller."""

    memory: str = Field(description="flash or RAM")
    layer: str = Field(description='node, "input", or "all layers"')
    holds: str = Field(description="code, weights, thresholds, state, stack and the like")
    bytes: int


class ChipTraffic(Record):
    """Spikes on their way, of one sample; exact for the placement and the recording."""

    messages: Spread = Field(description="of spikes from core to core, a core to itself included")
    hops: Spread | None = Field(description="from tile to tile; None where no mesh is published")
    from_host: Spread = Field(description="messages of the inputs, which no source prices")
    to_host: Spread = Field(description="spikes of the outputs, which no source prices")
    synapse_events: Spread = Field(description="spikes that meet a synapse on the chip")


class CoreLoad(Record):
    """Synaptic operations a second of the core that has the most, at the step length of the recording."""

    mean: float
    worst: float = Field(description="of the worst sample")
    limit: float | None = Field(description="of one core")
    share: float | None = Field(description="worst over the limit")


class Range(Record):
    """A figure of which two bounds are known."""

    low: float
    high: float


class RangeSpread(Record):
    """How bounds are spread."""

    mean: Range
    p95: Range = Field(description="95th percentile, linear interpolation")
    worst: Range


class ChipTime(Record):
    """Time on the chip, in microseconds, if it runs as fast as it can.

    Low: every core sends and receives at the same time, and the barrier is the shortest published for so
    many tiles. High: all cores send first, then the last message crosses the chip, then all receive.
    """

    steps: int = Field(description="of one sample on the chip")
    late: int = Field(description="of them, steps by which the last population is behind the graph")
    step_us: RangeSpread = Field(description="one step, over all steps of all samples")
    inference_us: RangeSpread = Field(description="all steps of a sample, over the samples")
    dt_us: float = Field(description="length of a step of the recording")
    share: float = Field(description="the worst step at its high bound over the length of a step")


class OnTarget(Record):
    """A part on a target."""

    target: str
    title: str
    on_host: bool = Field(description="whether the part runs on a host and not on the target")
    fits: bool = Field(description="false for a part on a host too")
    problems: tuple[str, ...] = Field(description="why it does not fit")
    nodes: tuple[NodeRun, ...]
    pools: tuple[Pool, ...] = Field(description="of the whole target, then of the fullest core")
    cores: tuple[CoreUse, ...]
    memory: tuple[MemoryUse, ...] = Field(description="of a microcontroller, its map; else empty")
    traffic: ChipTraffic | None = Field(description="None where the part does not fit or nothing is known")
    energy: EnergySpread | None = Field(
        description="of messages and hops between cores, in no column; None without traffic or prices of them"
    )
    load: CoreLoad | None
    time: ChipTime | None = Field(description="None where no durations are published")
    notes: tuple[str, ...] = Field(description="what is not published or was not checked")
    sources: tuple[str, ...] = Field(description="of the limits and durations; `check --json` has each place")


def on_target(
    part: PartCount, placed: PlacedPart | None, target: str, profile: Profile, along_with: str | None = None
) -> OnTarget:
    """What is known of a part on a target.

    Args:
        part: counted.
        placed: on the target; None if it runs on a host, or goes along with another part.
        target: its name.
        profile: prices of messages.
        along_with: the part whose code holds it too, or None.
    """
    if placed is None:
        return _without_place(part, target, along_with)
    found, activity, durations = placed.found, placed.activity, step_time(placed.found)
    times = None if activity is None else activity.times
    cores = () if found.placement is None else found.placement.cores
    sources = () if found.chip is None else tuple(found.chip.sources.values())
    unpublished = (_NO_DURATIONS,) if sources and durations is None else ()
    return OnTarget(
        target=target,
        title=placed.target.summary.split(":")[0] if found.chip is None else found.chip.title,
        on_host=False,
        fits=found.fits,
        problems=_problems(found),
        nodes=tuple(
            NodeRun(
                node=one.node,
                primitive=one.primitive,
                run=Run(one.status.value),
                because=" ".join(filter(None, (one.reason, one.hint))),
            )
            for one in found.verdicts
        ),
        pools=(*(_pool(one, None) for one in _pools(found)), *_fullest(cores)),
        cores=tuple(
            CoreUse(
                index=core.index,
                tile=core.tile,
                holds=tuple(f"{one.population} {one.start}-{one.stop - 1}" for one in core.shares),
                pools=tuple(_pool(pool, core.index) for pool in core.pools),
            )
            for core in cores
        ),
        memory=_memory(found),
        traffic=None if activity is None else _traffic(activity),
        energy=None if activity is None else network_energy(activity, profile),
        load=None if activity is None else _load(part, activity, durations),
        time=None if activity is None or times is None else _time(part, activity, times),
        notes=(*found.notes, *unpublished),
        sources=tuple(f"{one.title} ({one.year})" for one in sources),
    )


def network_energy(activity: ChipActivity, profile: Profile) -> EnergySpread | None:
    """Energy of messages and hops; None where the profile lacks a price that is needed."""
    prices, hops = profile.network, activity.hops
    if hops is None or prices.message is None:
        return None
    charges = (
        (activity.messages, prices.message),
        (hops.east_west, prices.hop_east_west),
        (hops.north_south, prices.hop_north_south),
    )
    if any(price is None and numbers.any() for numbers, price in charges):
        return None
    priced = [(numbers, price) for numbers, price in charges if price is not None]
    total = np.sum([numbers * price.picojoules for numbers, price in priced], axis=0) * MICROJOULE
    low, high = (
        sum(float(numbers.mean()) * price.bounds_picojoules[end] for numbers, price in priced) * MICROJOULE
        for end in (0, 1)
    )
    return EnergySpread(**spread_uj(total, low, high))


def _without_place(part: PartCount, target: str, along_with: str | None) -> OnTarget:
    """A part of which the target says nothing by itself: on a host, or in the code of another part."""
    on_host = along_with is None
    because = "the part runs on a host" if on_host else f"in the code of {along_with}"
    run = Run.HOST if on_host else Run.NATIVE
    nodes = [*((one.name, one.primitive) for one in part.layers), *((name, "") for name in part.free)]
    runs = tuple(NodeRun(node=node, primitive=kind, run=run, because=because) for node, kind in nodes)
    nothing: dict[str, Any] = dict.fromkeys(OnTarget.model_fields) | dict.fromkeys(_LISTS, ())
    known = {"target": target, "title": target, "on_host": on_host, "fits": not on_host, "nodes": runs}
    notes = () if on_host else (f"{part.name} is in the code of {along_with}",)
    return OnTarget(**nothing | known | {"notes": notes})


def _pools(found: CheckResult) -> tuple[Usage, ...]:
    """What the part takes; nothing where an obstacle is found that no verdict told of."""
    try:
        return found.pools
    except ExportError:
        return ()


def _memory(found: CheckResult) -> tuple[MemoryUse, ...]:
    if found.firmware is None:
        return ()
    memory = found.firmware.memory
    return tuple(
        MemoryUse(memory=name, **vars(one))
        for name, pieces in (("flash", memory.flash), ("RAM", memory.ram))
        for one in pieces
    )


def _problems(found: CheckResult) -> tuple[str, ...]:
    refused = [f"{one.node} ({one.primitive}) {one.reason}. {one.hint}".strip() for one in found.refused]
    broken = [
        f"{one.rule}: {'' if one.where == 'chip' else f'{one.where}: '}{one.problem}. {one.hint}"
        for one in found.breaches
    ]
    return (*refused, *broken)


def _pool(one: Usage, core: int | None) -> Pool:
    return Pool(**vars(one), percent=one.percent, core=core)


def _fullest(cores: Sequence[Core]) -> Iterable[Pool]:
    """Of each pool that every core has, the core that uses most of it."""
    for name in dict.fromkeys(pool.pool for core in cores for pool in core.pools):
        used = [(core.index, pool) for core in cores for pool in core.pools if pool.pool == name]
        index, most = max(used, key=lambda one: (one[1].percent or 0.0, one[1].used))
        yield _pool(most, index)


def _traffic(activity: ChipActivity) -> ChipTraffic:
    hops = activity.hops
    return ChipTraffic(
        messages=spread(activity.messages),
        hops=None if hops is None else spread(hops.east_west + hops.north_south),
        from_host=spread(activity.from_host),
        to_host=spread(activity.to_host),
        synapse_events=spread(activity.synapse_events),
    )


def _load(part: PartCount, activity: ChipActivity, times: StepTime | None) -> CoreLoad:
    each = activity.busiest / (part.steps * part.dt)
    limit = None if times is None or times.synapse.value == 0 else 1e9 / times.synapse.value
    worst = float(each.max())
    return CoreLoad(
        mean=float(each.mean()), worst=worst, limit=limit, share=None if limit is None else worst / limit
    )


def _time(part: PartCount, activity: ChipActivity, times: StepTimes) -> ChipTime:
    step = _ranges(times.low, times.high)
    dt = part.dt * 1e6
    return ChipTime(
        steps=part.steps + activity.late,
        late=activity.late,
        step_us=step,
        inference_us=_ranges(times.low.sum(axis=0), times.high.sum(axis=0)),
        dt_us=dt,
        share=step.worst.high / dt,
    )


def _ranges(low: NDArray[np.float64], high: NDArray[np.float64]) -> RangeSpread:
    """Bounds in microseconds, from nanoseconds."""
    both = (low * _MICROSECOND, high * _MICROSECOND)
    mean, p95, worst = (
        Range(low=float(ends[0]), high=float(ends[1]))
        for ends in (
            [np.mean(one) for one in both],
            [np.percentile(one, 95) for one in both],
            [np.max(one) for one in both],
        )
    )
    return RangeSpread(mean=mean, p95=p95, worst=worst)
