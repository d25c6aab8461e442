"""From a placed part to its records in a report."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.on_chip import ChipActivity, Placed, StepTimes
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.pricing.profile import Price, Profile
from nsc_deploy.energy.report.schema import (
    ChipEnergy,
    ChipTime,
    ChipTraffic,
    CoreLoad,
    CoreUse,
    NodeRun,
    OnTarget,
    Pool,
    Range,
    RangeSpread,
    Run,
)
from nsc_deploy.energy.report.statistics import spread
from nsc_deploy.exporters.chips.chip import StepTime
from nsc_deploy.exporters.chips.placement import Core, Usage

Numbers = NDArray[np.float64]
_MICROJOULE = 1e-6
_MICROSECOND = 1e-3


def on_target(part: PartCount, placed: Placed | None, target: str, profile: Profile) -> OnTarget:
    """What is known of a part on a target.

    Args:
        part: counted.
        placed: on the target; None if it runs on a host.
        target: its name.
        profile: prices of messages.
    """
    if placed is None:
        return _on_host(part, target)
    activity = placed.activity
    timed = None if activity is None else activity.times
    return OnTarget(
        target=placed.target,
        title=placed.title,
        on_host=False,
        fits=not placed.problems,
        problems=placed.problems,
        nodes=tuple(
            NodeRun(
                node=one.node,
                primitive=one.primitive,
                run=Run(one.status.value),
                because=" ".join(filter(None, (one.reason, one.hint))),
            )
            for one in placed.nodes
        ),
        pools=(*(_pool(one, None) for one in placed.pools), *_fullest(placed.cores)),
        cores=tuple(_core(one) for one in placed.cores),
        traffic=None if activity is None else _traffic(activity),
        energy=None if activity is None else network_energy(activity, profile),
        load=None if activity is None else _load(part, activity, placed.step_time),
        time=None if activity is None or timed is None else _time(part, activity, timed),
        notes=(*placed.notes, *_unpublished(placed)),
        sources=placed.sources,
    )


def network_energy(activity: ChipActivity, profile: Profile) -> ChipEnergy | None:
    """Energy of messages and hops; None where the profile lacks a price that is needed."""
    prices = profile.network
    hops = activity.hops
    charged: list[tuple[NDArray[np.int64], Price | None]] = [(activity.messages, prices.message)]
    if hops is None:
        return None
    charged += [(hops.east_west, prices.hop_east_west), (hops.north_south, prices.hop_north_south)]
    if any(price is None and numbers.any() for numbers, price in charged) or prices.message is None:
        return None
    priced = [(numbers, price) for numbers, price in charged if price is not None]
    total: Numbers = np.sum([numbers * price.picojoules for numbers, price in priced], axis=0) * _MICROJOULE
    low, high = (
        sum(float(numbers.mean()) * price.bounds_picojoules[end] for numbers, price in priced) * _MICROJOULE
        for end in (0, 1)
    )
    return ChipEnergy(
        mean_uj=float(total.mean()),
        low_uj=low,
        high_uj=high,
        median_uj=float(np.median(total)),
        p95_uj=float(np.percentile(total, 95)),
        worst_uj=float(total.max()),
    )


def _unpublished(placed: Placed) -> tuple[str, ...]:
    if not placed.sources or placed.step_time is not None:
        return ()
    return (
        "No durations of synapse events and steps are published: the load in SynOps a second stands beside "
        "no limit of the chip, and no time of a step is given.",
    )


def _on_host(part: PartCount, target: str) -> OnTarget:
    because = "the part runs on a host"
    nodes = [
        NodeRun(node=one.name, primitive=one.primitive, run=Run.HOST, because=because) for one in part.layers
    ]
    nodes += [NodeRun(node=name, primitive="", run=Run.HOST, because=because) for name in part.free]
    return OnTarget(
        target=target,
        title=target,
        on_host=True,
        fits=False,
        problems=(),
        nodes=tuple(nodes),
        pools=(),
        cores=(),
        traffic=None,
        energy=None,
        load=None,
        time=None,
        notes=(),
        sources=(),
    )


def _pool(one: Usage, core: int | None) -> Pool:
    return Pool(
        pool=one.pool,
        used=one.used,
        limit=one.limit,
        lower=one.lower,
        unit=one.unit,
        at_least=one.at_least,
        percent=one.percent,
        core=core,
    )


def _fullest(cores: Sequence[Core]) -> Iterable[Pool]:
    """Of each pool that every core has, the core that uses most of it."""
    for name in dict.fromkeys(pool.pool for core in cores for pool in core.pools):
        held = [(core.index, pool) for core in cores for pool in core.pools if pool.pool == name]
        index, most = max(held, key=lambda one: (one[1].percent or 0.0, one[1].used))
        yield _pool(most, index)


def _core(core: Core) -> CoreUse:
    return CoreUse(
        index=core.index,
        tile=core.tile,
        holds=tuple(f"{share.population} {share.start}-{share.stop - 1}" for share in core.shares),
        pools=tuple(_pool(pool, core.index) for pool in core.pools),
    )


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


def _ranges(low: Numbers, high: Numbers) -> RangeSpread:
    """Bounds in microseconds, from nanoseconds."""
    both = (low * _MICROSECOND, high * _MICROSECOND)
    means, tails, tops = (
        Range(low=float(found[0]), high=float(found[1]))
        for found in (
            [np.mean(one) for one in both],
            [np.percentile(one, 95) for one in both],
            [np.max(one) for one in both],
        )
    )
    return RangeSpread(mean=means, p95=tails, worst=tops)
