"""Pass: levels of populations become the integers Lava computes with.

Every population gets one scale: weights, threshold and bias are multiplied by it and rounded. Where inputs
were recorded, the scale is the one of a few candidates whose spikes disagree least with the reference, layer
by layer, each on what the integer layers before it really deliver; otherwise the one with the
smallest rounding error.

Requires: leaks that are zero or at least 1/8192 of the potential a step.
Promises: integers within Lava's ranges, and no synaptic current that can wrap around.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.lava.arithmetic import run_layer
from nsc_deploy.exporters.lava.integer import (
    BIAS_LIMIT,
    DECAY_UNITY,
    FIXED_POINT_BITS,
    MAX_BIAS_EXP,
    NO_CURRENT,
    STATE_LIMIT,
    Group,
    IntegerLayer,
    IntegerNetwork,
    Role,
    validate,
)
from nsc_deploy.exporters.passes.base import Lowered, Note
from nsc_deploy.exporters.passes.levelise import Levels, Slot
from nsc_deploy.exporters.passes.populations import Population, Reals, Tap
from nsc_deploy.exporters.passes.scales import Rounded, best, candidates, round_to

RELAY_WEIGHT = 2
RELAY_THRESHOLD = 1

Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Calibration:
    """What was recorded for choosing scales.

    Attributes:
        events: [steps, samples, inputs].
        reference: spikes of each population in the reference simulator, [steps, samples, size].
    """

    events: Spikes
    reference: Mapping[str, Spikes]


@dataclass(frozen=True)
class _Rows:
    """The rows of a layer that belong to one slot."""

    group: Group
    layer: IntegerLayer


class Quantise:
    """The pass.

    Args:
        bits: bits of a weight, its sign included, 2..8.
        calibration: recorded inputs, or None.
    """

    name = "quantise"

    def __init__(self, bits: int = 8, calibration: Calibration | None = None) -> None:
        self.bits = bits
        self.limit = 2 ** (bits - 1) - 1
        self.calibration = calibration

    def requires(self, levels: Levels, /) -> None:
        """A leak may not vanish in rounding."""
        for population in levels.graph.populations:
            for leak in (population.leak_v, population.leak_u):
                if leak is not None and ((leak > 0) & (np.rint(leak * DECAY_UNITY) == 0)).any():
                    raise ExportError(
                        f"leaks {leak[leak > 0].min():.1e} of its state a step, which rounds to no leak",
                        where=f"node '{population.name}'",
                        remedy="Use an IF neuron, or a longer time step.",
                    )

    def apply(self, levels: Levels, /) -> Lowered[IntegerNetwork]:
        """Round layer after layer, front to back."""
        layers: list[IntegerLayer] = []
        notes: list[Note] = []
        before = levels.entrance
        delivered = None if self.calibration is None else self.calibration.events
        for slots in levels.layers:
            rows: list[_Rows] = []
            for slot in slots:
                rows.append(self._slot(slot, before, sum(one.group.size for one in rows), delivered, notes))
            layers.append(_stacked(rows))
            before = slots
            delivered = None if delivered is None else run_layer(layers[-1], delivered).spikes
        return Lowered(IntegerNetwork(tuple(layers), levels.graph.dt), tuple(notes))

    def broken_promise(self, network: object, /) -> str | None:
        """A number out of range, or a current that can wrap."""
        if not isinstance(network, IntegerNetwork):
            return "no integer network"
        try:
            validate(network)
        except DataError as error:
            return error.message
        if any(_can_wrap(layer).any() for layer in network.layers):
            return "a synaptic current can leave its 24 bits"
        return None

    def _slot(
        self,
        slot: Slot,
        before: tuple[Slot, ...],
        start: int,
        delivered: Spikes | None,
        notes: list[Note],
    ) -> _Rows:
        if slot.population is None:
            return _relay_rows(slot, before, start)
        weights = _side_by_side(slot.population, before)
        tries = [
            self._rows(slot.population, weights, scale, start)
            for scale in self._scales(slot.population, weights)
        ]
        disagreement = (
            None if delivered is None else [self._disagreement(rows, delivered) for _, rows in tries]
        )
        chosen = best([rounded for rounded, _ in tries], disagreement)
        rounded, rows = next(pair for pair in tries if pair[0] is chosen)
        notes.extend(_notes(slot.population, rounded, rows.layer))
        return rows

    def _scales(self, population: Population, weights: Reals) -> tuple[float, ...]:
        """Candidates, shrunk where the sum of all synapses at once would leave 24 bits."""
        worst = float(
            np.maximum(weights.clip(0).sum(axis=1), (-weights).clip(0).sum(axis=1)).max(initial=0.0)
        )
        leak = 1.0 if population.leak_u is None else float(population.leak_u.min())
        room = (STATE_LIMIT / 2 / 2**FIXED_POINT_BITS) * leak / max(worst, 1e-30)
        return tuple(dict.fromkeys(min(scale, room) for scale in candidates(population, weights, self.limit)))

    def _rows(
        self, population: Population, weights: Reals, scale: float, start: int
    ) -> tuple[Rounded, _Rows]:
        rounded = round_to(population, weights, scale, self.limit)
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
        )
        return rounded, _Rows(Group(population.name, Role.NEURON, start, size, scale), layer)

    def _disagreement(self, rows: _Rows, delivered: Spikes) -> float:
        """Share of (step, sample, neuron) whose spike differs from the reference."""
        if self.calibration is None:
            return 0.0
        spikes = run_layer(rows.layer, delivered).spikes
        return float((spikes != self.calibration.reference[rows.group.node]).mean())


def _side_by_side(population: Population, before: tuple[Slot, ...]) -> Reals:
    """The drives as one matrix [size, lines of the layer before]."""
    columns = []
    for slot in before:
        drive = population.drive.get(slot.carries)
        columns.append(np.zeros((population.size, slot.size)) if drive is None else drive[:, slot.lines])
    return np.concatenate(columns, axis=1)


def _relay_rows(slot: Slot, before: tuple[Slot, ...], start: int) -> _Rows:
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
        vth=full * RELAY_THRESHOLD,
        bias=full * 0,
        bias_exp=full * FIXED_POINT_BITS,
    )
    role = Role.DELAY if slot.delay else Role.RELAY
    return _Rows(Group(slot.carries.source, role, start, slot.size, 1.0), layer)


def _stacked(rows: list[_Rows]) -> IntegerLayer:
    fields = ("weight", "delay", "du", "dv", "vth", "bias", "bias_exp")
    stacked = {field: np.concatenate([getattr(one.layer, field) for one in rows]) for field in fields}
    return IntegerLayer(**stacked, groups=tuple(one.group for one in rows))


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


def _can_wrap(layer: IntegerLayer) -> NDArray[np.bool_]:
    weight = layer.weight.astype(np.float64)
    worst = np.maximum(weight.clip(0).sum(axis=1), (-weight).clip(0).sum(axis=1)) * 2**FIXED_POINT_BITS
    share: NDArray[np.float64] = np.minimum((layer.du + 1) / DECAY_UNITY, 1.0)
    wraps: NDArray[np.bool_] = worst / share >= STATE_LIMIT
    return wraps


def _int32(values: NDArray[np.generic]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)


def _notes(population: Population, rounded: Rounded, layer: IntegerLayer) -> list[Note]:
    """Every approximation made for one population."""
    name = population.name
    notes = []
    if rounded.weight_error > 0 or rounded.clipped > 0:
        cut = f", {rounded.clipped:.2%} of them cut at the limit" if rounded.clipped else ""
        text = f"weights rounded by {rounded.weight_error:.2%} of the threshold (root mean square){cut}"
        notes.append(Note("weight-rounding", name, text, exact=False, error=rounded.weight_error))
    if rounded.threshold_error > 0:
        text = f"threshold rounded by up to {rounded.threshold_error:.2%}"
        notes.append(Note("threshold-rounding", name, text, exact=False, error=rounded.threshold_error))
    notes.extend(_decay_notes(population, layer))
    bias_error = np.abs((layer.bias.astype(np.float64) * 2.0**layer.bias_exp) - rounded.bias).max(initial=0.0)
    if bias_error > 0:
        text = f"bias rounded by up to {bias_error / 64 / rounded.scale:.2g} in the graph's units"
        notes.append(Note("bias-rounding", name, text, exact=False, error=float(bias_error)))
    if (layer.dv == DECAY_UNITY).all():
        text = "has no memory: a LIF neuron whose potential decays at once (dv = 4096, one more than 12 bits)"
        notes.append(Note("memoryless", name, text))
    return notes


def _decay_notes(population: Population, layer: IntegerLayer) -> list[Note]:
    notes = []
    leaks = [("membrane", population.leak_v, layer.dv)]
    if population.leak_u is not None:
        leaks.append(("synaptic", population.leak_u, layer.du + 1))
    for kind, leak, rounded in leaks:
        leaking = leak > 0
        error = np.abs(rounded / DECAY_UNITY - leak)[leaking] / leak[leaking]
        if error.size and error.max() > 0:
            text = f"{kind} decay rounded to 12 bits, by up to {error.max():.3%}"
            notes.append(Note("decay-rounding", population.name, text, exact=False, error=float(error.max())))
    partial = (layer.dv > 0) & (layer.dv < DECAY_UNITY)
    if partial.any():
        drain = DECAY_UNITY / layer.dv[partial] / np.maximum(layer.vth[partial] * 64.0, 1.0)
        text = f"decays truncate toward zero, which drains at most {drain.max():.2%} of the threshold"
        notes.append(Note("truncation", population.name, text, exact=False, error=float(drain.max())))
    return notes
