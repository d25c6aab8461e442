"""From counts to the measures of a report: spread, load, memory in use, course over time."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place
from nsc_deploy.energy.counting.operations import PartCount, Store
from nsc_deploy.energy.measures import Load, MemoryUse, OverTime, Spread, StoreUse
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import Kept


def spread(values: NDArray[np.int64]) -> Spread:
    """The spread of numbers over the samples, [samples]."""
    return Spread(
        mean=float(np.mean(values)),
        median=float(np.median(values)),
        p95=float(np.percentile(values, 95)),
        worst=float(values.max()),
        worst_sample=int(values.argmax()),
    )


def load(part: PartCount, profile: Profile) -> Load:
    """Synaptic operations a second, against the limit of the profile's device."""
    seconds = part.steps * part.dt
    synaptic = spread(part.per_sample.synaptic)
    course = over_time(part)
    limit = None if part.place is Place.HOST else profile.load_limit
    return Load(
        mean=synaptic.mean / seconds,
        p95=synaptic.p95 / seconds,
        worst=synaptic.worst / seconds,
        busiest_step=None if course is None else max(course.synops) / part.dt,
        limit=None if limit is None else limit.synops_per_second,
        limit_of=None if limit is None else limit.of,
        share=None if limit is None else synaptic.worst / seconds / limit.synops_per_second,
    )


def over_time(part: PartCount) -> OverTime | None:
    """Means over the samples of what happens in each step; None where the counts have no steps."""
    courses = [layer.per_step for layer in part.layers]
    known = [course for course in courses if course is not None]
    if not known or len(known) < len(courses):
        return None
    synaptic = np.sum([course.synaptic for course in known], axis=0) / part.samples
    spikes = np.sum([course.spikes for course in known], axis=0) / part.samples
    return OverTime(synops=tuple(synaptic.tolist()), spikes=tuple(spikes.tolist()))


def memory_use(layers: Iterable[Mapping[Store, Kept]]) -> MemoryUse:
    """What several layers keep together."""
    rows = list(layers)
    stores = {store: _together([row[store] for row in rows]) for store in Store}
    sizes = [use.bytes for use in stores.values()]
    return MemoryUse(stores=stores, bytes=_sum(sizes))


def _together(kept: Sequence[Kept]) -> StoreUse:
    return StoreUse(values=sum(one.values for one in kept), bytes=_sum([one.bytes for one in kept]))


def _sum(sizes: Sequence[int | None]) -> int | None:
    """Unknown as soon as one of them is."""
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None
