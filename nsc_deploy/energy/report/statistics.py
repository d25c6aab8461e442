"""From numbers for each sample to the records of a report.

From counts to the measures of a report: spread, load, memory in use, course over time.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place
from nsc_deploy.energy.counting.operations import Kind, Operations, PartCount, Store, Traffic
from nsc_deploy.energy.pricing.price import CHARGED, Energies, LayerEnergy, choose_memory
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import (
    Accesses,
    Counts,
    Energy,
    Kept,
    Load,
    MemoryUse,
    OverTime,
    Spread,
    StoreUse,
)

_MICROJOULE = 1e-6


def mean_counts(operations: Operations, dense: int) -> Counts:
    """Means over the samples."""
    means = {kind.value: float(operations.of(kind).mean()) for kind in Kind}
    return Counts(**means, dense=dense)


def mean_accesses(traffic: Traffic) -> Accesses:
    """Means over the samples."""
    return Accesses(**{name: float(numbers.mean()) for name, numbers in vars(traffic).items()})


def sum_accesses(several: Iterable[Accesses]) -> Accesses:
    """Field by field."""
    rows = [accesses.model_dump() for accesses in several]
    return Accesses(**{name: sum(row[name] for row in rows) for name in Accesses.model_fields})


def kept(values: int, profile: Profile) -> Kept:
    """What so many values take, and the memory that holds them."""
    bits = profile.operand_bits
    if bits is None or not values:
        return Kept(values=values, bytes=None if values else 0, memory=None, capacity_bytes=None, share=None)
    memory = choose_memory(profile, values, bits)
    size = -(-values * bits // 8)
    capacity = None if memory is None else memory.capacity_bytes
    return Kept(
        values=values,
        bytes=size,
        memory=None if memory is None else memory.name,
        capacity_bytes=capacity,
        share=None if capacity is None else size / capacity,
    )


def sum_counts(several: Iterable[Counts]) -> Counts:
    """Field by field."""
    rows = [counts.model_dump() for counts in several]
    return Counts(**{name: sum(row[name] for row in rows) for name in Counts.model_fields})


def sum_energy(layers: Sequence[LayerEnergy]) -> Energy:
    """The energy of several layers together, over the samples."""
    total: Energies = np.sum([layer.total for layer in layers], axis=0) * _MICROJOULE
    low = np.sum([layer.low for layer in layers], axis=0) * _MICROJOULE
    high = np.sum([layer.high for layer in layers], axis=0) * _MICROJOULE
    present = [kind for kind in CHARGED if any(kind in layer.kinds for layer in layers)]
    return Energy(
        mean_uj=float(total.mean()),
        low_uj=float(low.mean()),
        high_uj=float(high.mean()),
        median_uj=float(np.median(total)),
        p95_uj=float(np.percentile(total, 95)),
        worst_uj=float(total.max()),
        worst_sample=int(total.argmax()),
        with_rate_uj=float(sum(layer.with_rate.mean() for layer in layers)) * _MICROJOULE,
        kinds_uj={
            kind: float(sum(layer.kinds[kind].mean() for layer in layers if kind in layer.kinds))
            * _MICROJOULE
            for kind in present
        },
        unpriced=tuple(kind for kind in CHARGED if any(kind in layer.unpriced for layer in layers)),
    )


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
