"""From numbers for each sample to the records of a report."""

from collections.abc import Iterable, Sequence

import numpy as np

from nsc_deploy.energy.counting.operations import Kind, Operations, Traffic
from nsc_deploy.energy.pricing.price import CHARGED, Energies, LayerEnergy, choose_memory
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.schema import Accesses, Counts, Energy, Kept

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
