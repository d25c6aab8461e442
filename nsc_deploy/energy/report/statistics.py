"""Counts and prices of each sample as figures of a report: spread, load, memory, course over time, front."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.deployment import Deployment, Place
from nsc_deploy.energy.counting.operations import Kind, PartCount, Store
from nsc_deploy.energy.pricing.price import CHARGED, MICROJOULE, Energies, LayerEnergy, choose_memory
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.io.records import Record

if TYPE_CHECKING:
    from nsc_deploy.energy.report.schema import SystemReport

Whole = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of things."""
_Summable = TypeVar("_Summable", bound=Record)


class Spread(Record):
    """How a number of operations is spread over the samples."""

    mean: float
    median: float
    p95: float = Field(description="95th percentile over the samples, linear interpolation")
    worst: float
    worst_sample: int = Field(description="index of the largest in the recording, the first of equals")


class EnergySpread(Record):
    """How an energy is spread over the samples, in microjoules of one sample."""

    mean_uj: float
    low_uj: float = Field(description="mean at the low end of the profile's prices")
    high_uj: float = Field(description="mean at the high end of the profile's prices")
    median_uj: float
    p95_uj: float = Field(description="95th percentile over the samples")
    worst_uj: float


class Energy(EnergySpread):
    """Energy of one sample in one accounting, in microjoules.

    A figure with `unpriced` kinds is a lower bound.
    """

    worst_sample: int = Field(description="index of the worst sample in the recording")
    with_rate_uj: float = Field(description="of the mean, what is proportional to the number of events")
    kinds_uj: dict[Kind | Store, float] = Field(description="mean by kind of operation and of memory")
    unpriced: tuple[Kind | Store, ...] = Field(
        description="kinds that occur but have no price in the profile"
    )


class StoreUse(Record):
    """What is kept of one kind, by a layer or by all layers of a part together."""

    values: Whole
    bytes: int | None = Field(description="None where the profile does not say how wide a value is")


class Kept(StoreUse):
    """What a layer keeps in one of its memories."""

    memory: str | None = Field(description="the memory of the profile it is priced as")
    capacity_bytes: int | None = Field(description="of that memory; None for one without a size")
    share: float | None = Field(description="of that memory in use")


class Load(Record):
    """Synaptic operations a second, at the step length of the recording: a sample over its duration.

    `busiest_step` is for the step in which, on the mean of the samples, most happens, `worst_step` for the
    step of any sample in which most happens; None where steps cannot be told apart (a convolution over time
    in ONNX). Limit and share are None where the profile states no limit or the part runs on a host.
    """

    mean: float
    p95: float
    worst: float
    busiest_step: float | None = Field(description="in the busiest step, mean of the samples")
    worst_step: float | None = Field(description="in the busiest step of the worst sample")
    limit: float | None = Field(description="of one unit of the device")
    limit_of: str | None = Field(description="the unit the limit is for: core or chip")
    share: float | None = Field(description="worst sample over the limit; above 1 one unit cannot keep up")


class MemoryUse(Record):
    """What a part keeps in memory."""

    stores: dict[Store, StoreUse]
    bytes: int | None = Field(description="all stores together")


class OverTime(Record):
    """The course of a sample: for each step, the mean over the samples."""

    synops: tuple[float, ...]
    spikes: tuple[float, ...]


class FrontPoint(Record):
    """A system among others, by accuracy and energy.

    A system is beaten by another that is at least as accurate and takes at most as much energy, and is better
    in one of the two.
    """

    system: str
    accuracy: float
    accuracy_of: str = Field(default="", description="what it was measured on")
    energy_uj: float
    on_front: bool
    beaten_by: tuple[str, ...] = Field(description="labels, the most frugal first")


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
    seconds = part.seconds
    synaptic = spread(part.per_sample.synaptic)
    course = over_time(part)
    limit = None if part.place is Place.HOST else profile.load_limit
    return Load(
        mean=synaptic.mean / seconds,
        p95=synaptic.p95 / seconds,
        worst=synaptic.worst / seconds,
        busiest_step=None if course is None else max(course.synops) / part.dt,
        worst_step=None if part.synops is None else float(part.synops.max()) / part.dt,
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


def radio_uj(deployment: Deployment | None, profile: Profile) -> float | None:
    """Energy of the channel uses of a sample; None without a channel, or without a price of one."""
    if deployment is None or profile.radio is None:
        return None
    uses = deployment.channel.uses_per_step * deployment.channel.steps
    return uses * profile.radio.channel_use.picojoules * MICROJOULE


def addressing_uj(parts: Sequence[PartCount], profile: Profile) -> float | None:
    """Energy of finding the weights of a sample's synaptic operations: one place for each of them."""
    if profile.addressing is None:
        return None
    found = sum(float(part.per_sample.synaptic.mean()) for part in parts)
    return found * profile.addressing.synapse.picojoules * MICROJOULE


def static_uj(parts: Sequence[PartCount], profile: Profile) -> float | None:
    """Energy that the devices at the ends draw at rest while a sample lasts, as long as its longest part.

    An end that is done sooner waits: one that sends all in a single step rests for the others.
    """
    if profile.static_power is None:
        return None
    ends = {part.side for part in parts}
    lasts = max(part.seconds for part in parts)
    return len(ends) * lasts * profile.static_power.watts * 1e6


def pareto_front(systems: "Sequence[SystemReport]", column: str) -> tuple[FrontPoint, ...]:
    """Every system with an accuracy and a complete energy, the most frugal first.

    A system whose energy is a lower bound has no place among the others. Accuracies of different kinds stand
    beside each other, and each point says of which kind its own is.

    Args:
        systems: of a report.
        column: the accounting.
    """
    placed = [
        (system.label, system.accuracy, system.energy[column].mean_uj, system.accuracy_of or "")
        for system in systems
        if system.accuracy is not None and column in system.energy and not system.energy[column].unpriced
    ]
    placed.sort(key=lambda one: (one[2], -one[1], one[0]))
    points = []
    for label, accuracy, energy, kind in placed:
        better = tuple(
            name
            for name, rival, price, _ in placed
            if rival >= accuracy and price <= energy and (rival, price) != (accuracy, energy)
        )
        points.append(
            FrontPoint(
                system=label,
                accuracy=accuracy,
                accuracy_of=kind,
                energy_uj=energy,
                on_front=not better,
                beaten_by=better,
            )
        )
    return tuple(points)
