"""The integer rows of one slot, and how the rows of all slots make a layer."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.integer import (
    BIAS_LIMIT,
    DECAY_UNITY,
    FIXED_POINT_BITS,
    MAX_BIAS_EXP,
    NO_CURRENT,
    Group,
    IntegerLayer,
    Role,
)
from nsc_deploy.exporters.passes.levelise import Slot
from nsc_deploy.exporters.passes.populations import Population, Reals, Tap
from nsc_deploy.exporters.passes.scales import Rounded

RELAY_WEIGHT = 2
RELAY_THRESHOLD = 1


@dataclass(frozen=True)
class Rows:
    """The rows of a layer that belong to one slot, as a layer of their own."""

    group: Group
    layer: IntegerLayer


def side_by_side(population: Population, before: tuple[Slot, ...]) -> Reals:
    """The drives as one matrix [size, lines of the layer before]."""
    columns = []
    for slot in before:
        drive = population.drive.get(slot.carries)
        columns.append(np.zeros((population.size, slot.size)) if drive is None else drive[:, slot.lines])
    return np.concatenate(columns, axis=1)


def neuron_rows(population: Population, rounded: Rounded, start: int, weight_exp: int) -> Rows:
    """The neurons of a population.

    Raises:
        ExportError: a bias does not fit.
    """
    mantissa, exponent = _bias(population, rounded)
    size = population.size
    current = NO_CURRENT if population.leak_u is None else np.rint(population.leak_u * DECAY_UNITY) - 1
    layer = IntegerLayer(
        weight=_int32(rounded.weight),
        delay=np.zeros(size, np.int32),
        du=_int32(np.broadcast_to(current, size)),
        dv=_int32(np.rint(population.leak_v * DECAY_UNITY)),
        vth=_int32(rounded.threshold),
        bias=_int32(mantissa),
        bias_exp=np.full(size, exponent, np.int32),
        weight_exp=weight_exp,
    )
    return Rows(Group(population.name, Role.NEURON, start, size, rounded.scale), layer)


def relay_rows(slot: Slot, before: tuple[Slot, ...], start: int, exponent: int) -> Rows:
    """Neurons that repeat lines of the layer before, late by the slot's delay."""
    wanted = Tap(slot.carries.source, slot.carries.delay - slot.delay)
    weight = np.zeros((slot.size, sum(one.size for one in before)), np.int32)
    offset = 0
    for one in before:
        if one.carries == wanted:
            weight[np.arange(slot.size), offset + np.searchsorted(one.lines, slot.lines)] = RELAY_WEIGHT
        offset += one.size
    full = np.ones(slot.size, np.int32)
    layer = IntegerLayer(
        weight=weight,
        delay=full * slot.delay,
        du=full * NO_CURRENT,
        dv=full * DECAY_UNITY,
        vth=full * (RELAY_THRESHOLD << exponent),
        bias=full * 0,
        bias_exp=full * FIXED_POINT_BITS,
        weight_exp=exponent,
    )
    role = Role.DELAY if slot.delay else Role.RELAY
    return Rows(Group(slot.carries.source, role, start, slot.size, 1.0), layer)


def stacked(rows: list[Rows], exponent: int) -> IntegerLayer:
    """Rows side by side, as one layer."""
    fields = ("weight", "delay", "du", "dv", "vth", "bias", "bias_exp")
    arrays = {field: np.concatenate([getattr(one.layer, field) for one in rows]) for field in fields}
    return IntegerLayer(**arrays, weight_exp=exponent, groups=tuple(one.group for one in rows))


def _bias(population: Population, rounded: Rounded) -> tuple[NDArray[np.int64], int]:
    """Mantissa and exponent; whole weight units (exponent 6) where that is exact, else as fine as fits."""
    units = 2**FIXED_POINT_BITS
    if not (rounded.bias % units).any() and np.abs(rounded.bias).max(initial=0) <= BIAS_LIMIT * units:
        return rounded.bias // units, FIXED_POINT_BITS
    for exponent in range(MAX_BIAS_EXP + 1):
        mantissa = np.rint(rounded.bias / 2**exponent).astype(np.int64)
        if np.abs(mantissa).max() <= BIAS_LIMIT:
            return mantissa, exponent
    raise ExportError(
        "has a bias that needs more than Loihi's 13 bits beside its weights",
        where=f"node '{population.name}'",
        remedy="Feed the bias as an input line that is always on, or train with a smaller one.",
    )


def _int32(values: NDArray[np.generic]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)
