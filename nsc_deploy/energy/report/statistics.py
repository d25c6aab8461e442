"""From counts and prices of each sample to records of a report: spread, load, memory, course over time."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place
from nsc_deploy.energy.counting.operations import PartCount, Store
from nsc_deploy.energy.pricing.price import CHARGED, MICROJOULE, Energies, LayerEnergy, choose_memory
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.chip_schema import Spread
from nsc_deploy.energy.report.schema import Energy, Kept, Load, MemoryUse, OverTime, StoreUse
from nsc_deploy.io.records import Record

_Summable = TypeVar("_Summable", bound=Record)


def sum_records(kind: type[_Summable], several: Iterable[_Summable]) -> _Summable:
    """Records of numbers added up, field by field."""
    rows = list(several)
    return kind(**{name: sum(getattr(row, name) for row in rows) for name in kind.model_fields})


def sum_energy(layers: Sequence[LayerEnergy]) -> Energy:
    """The energy of several layers together, over the samples."""
    total, low, high = (
        np.sum([getattr(layer, name) for layer in layers], axis=0) * MICROJOULE
        for name in ("total", "low", "high")
    )
    kinds = {kind: [layer.kinds[kind].mean() for layer in layers if kind in layer.kinds] for kind in CHARGED}
    return Energy(
        **spread_uj(total, low, high),
        worst_sample=int(total.argmax()),
        with_rate_uj=float(sum(layer.with_rate.mean() for layer in layers)) * MICROJOULE,
        kinds_uj={kind: float(sum(means)) * MICROJOULE for kind, means in kinds.items() if means},
        unpriced=tuple(kind for kind in CHARGED if any(kind in layer.unpriced for layer in layers)),
    )


def spread_uj(total: Energies, low: Energies | float, high: Energies | float) -> dict[str, float]:
    """The fields of an `EnergySpread`, all in microjoules.

    Args:
        total: of each sample, [samples].
        low: the same at the low end of the prices, or its mean.
        high: at the high end.
    """
    return {
        "mean_uj": float(total.mean()),
        "low_uj": float(np.mean(low)),
        "high_uj": float(np.mean(high)),
        "median_uj": float(np.median(total)),
        "p95_uj": float(np.percentile(total, 95)),
        "worst_uj": float(total.max()),
    }


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


def kept(values: int, profile: Profile) -> Kept:
    """What so many values take, and the memory that holds them."""
    bits = profile.operand_bits
    memory = choose_memory(profile, values, bits) if values and bits is not None else None
    size = 0 if not values else None if bits is None else -(-values * bits // 8)
    capacity = None if memory is None else memory.capacity_bytes
    return Kept(
        values=values,
        bytes=size,
        memory=None if memory is None else memory.name,
        capacity_bytes=capacity,
        share=None if capacity is None or size is None else size / capacity,
    )


def memory_use(layers: Iterable[Mapping[Store, Kept]]) -> MemoryUse:
    """What several layers keep together."""
    rows = list(layers)
    stores = {
        store: StoreUse(
            values=sum(row[store].values for row in rows), bytes=_sum(row[store].bytes for row in rows)
        )
        for store in Store
    }
    return MemoryUse(stores=stores, bytes=_sum(use.bytes for use in stores.values()))


def _sum(sizes: Iterable[int | None]) -> int | None:
    """Unknown as soon as one of them is."""
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
