"""The integer rows of one slot, and how the rows of all slots make a layer."""

from collections.abc import Sequence
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
from nsc_deploy.exporters.lava.lowering.scales import Rounded
from nsc_deploy.exporters.lava.lowering.synapses import Matrix, side_by_side, stacked
from nsc_deploy.exporters.passes.levels import Slot
from nsc_deploy.exporters.passes.populations import Population, Reals

RELAY_WEIGHT = 2
RELAY_THRESHOLD = 1


@dataclass(frozen=True)
class Rows:
    """The rows of a layer that belong to one slot, as a layer of their own.

    Its lines are those of the layer before and, as they were a step earlier, those of the whole layer it
    belongs to.
    """

    group: Group
    layer: IntegerLayer


def arriving_weights(population: Population, before: Sequence[Slot], own: Sequence[Slot]) -> Matrix:
    """All weights of a population as one matrix [size, lines].

    The lines are those of the layer before, then, as they were a step earlier, those of its own layer.
    """
    columns = []
    for drive, slots in ((population.drive, before), (population.recurrent, own)):
        for slot in slots:
            weights = drive.get(slot.carries if drive is population.drive else slot.carries.later(1))
            columns.append(
                Matrix.empty(population.size, slot.size)
                if weights is None
                else weights.from_sources(slot.lines)
            )
    return side_by_side(columns)


def neuron_rows(population: Population, rounded: Rounded, start: int, weight_exp: int) -> Rows:
    """The neurons of a population.

    Raises:
        ExportError: a bias does not fit.
    """
    mantissa, exponent = _bias(population, rounded)
    size = population.size
    current = NO_CURRENT if population.leak_u is None else np.rint(population.leak_u * DECAY_UNITY) - 1
    layer = IntegerLayer(
        weight=rounded.weight,
        delay=np.zeros(size, np.int32),
        du=_int32(np.broadcast_to(current, size)),
        dv=_int32(np.rint(population.leak_v * DECAY_UNITY)),
        vth=_int32(rounded.threshold),
        bias=_int32(mantissa),
        bias_exp=_int32(exponent),
        weight_exp=weight_exp,
    )
    group = Group(population.name, Role.NEURON, start, size, _one_or_many(rounded.scale), population.late)
    return Rows(group, layer)


def _one_or_many(scale: Reals) -> float | tuple[float, ...]:
    return float(scale[0]) if (scale == scale[0]).all() else tuple(scale.tolist())


def relay_rows(slot: Slot, before: Sequence[Slot], own: Sequence[Slot], start: int, exponent: int) -> Rows:
    """Neurons that repeat lines of the layer before (or of their own layer), late by the slot's delay."""
    lines = [(one, not slot.within) for one in before] + [(one, slot.within) for one in own]
    source = np.zeros(0, np.int64)
    offset = 0
    for one, readable in lines:
        if readable and one.carries == slot.source:
            source = offset + np.searchsorted(one.lines, slot.lines)
        offset += one.size
    weight = np.full(len(source), RELAY_WEIGHT, np.int32)
    shape = (slot.size, offset)
    full = np.ones(slot.size, np.int32)
    layer = IntegerLayer(
        weight=Matrix.from_entries(shape, np.arange(len(source)), source, weight),
        delay=full * slot.delay,
        du=full * NO_CURRENT,
        dv=full * DECAY_UNITY,
        vth=full * (RELAY_THRESHOLD << exponent),
        bias=full * 0,
        bias_exp=full * FIXED_POINT_BITS,
        weight_exp=exponent,
    )
    role = Role.DELAY if slot.delay or slot.within else Role.RELAY
    return Rows(Group(slot.carries.source, role, start, slot.size, 1.0, slot.late), layer)


def as_layer(rows: Sequence[Rows], inputs: int, exponent: int) -> IntegerLayer:
    """Rows side by side, as one layer; their weights come from `inputs` lines and from the layer itself."""
    fields = ("delay", "du", "dv", "vth", "bias", "bias_exp")
    arrays = {field: np.concatenate([getattr(one.layer, field) for one in rows]) for field in fields}
    weight = stacked([one.layer.weight for one in rows])
    recurrent = weight.from_sources(np.arange(inputs, weight.shape[1]))
    return IntegerLayer(
        **arrays,
        weight=weight.from_sources(np.arange(inputs)),
        weight_exp=exponent,
        groups=tuple(one.group for one in rows),
        recurrent=recurrent if recurrent.synapses else None,
    )


def _bias(population: Population, rounded: Rounded) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissa and exponent; whole weight units (exponent 6) where that is exact, else as fine as fits."""
    exponents = np.arange(MAX_BIAS_EXP + 1)
    mantissas = np.rint(rounded.bias / 2.0 ** exponents[:, None]).astype(np.int64)
    fits = np.abs(mantissas) <= BIAS_LIMIT
    if not fits[-1].all():
        raise ExportError(
            "has a bias that needs more than Loihi's 13 bits beside its weights",
            where=f"node '{population.name}'",
            remedy="Feed the bias as an input line that is always on, or train with a smaller one.",
        )
    whole = (rounded.bias % 2**FIXED_POINT_BITS == 0) & fits[FIXED_POINT_BITS]
    exponent = np.where(whole, FIXED_POINT_BITS, fits.argmax(axis=0))
    return np.take_along_axis(mantissas, exponent[None], 0)[0], exponent


def _int32(values: NDArray[np.generic]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)
