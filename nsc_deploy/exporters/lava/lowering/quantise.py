"""Pass: levels of populations become the integers Lava computes with.

Every neuron gets one scale: weights, threshold and bias are multiplied by it and rounded. Where inputs
were recorded, the scale is the one of a few candidates whose spikes disagree least with the reference,
layer by layer, each on what the integer layers before it really deliver; otherwise the one with the
smallest rounding error. The neurons of a population may be held to one scale, so that equal thresholds
stay equal. Every layer gets one weight exponent, as large as its sums allow: weights stay at their 8 bits,
but thresholds, biases and potentials are finer by that many bits, at no cost on the chip. It is smaller where
potentials would meet the end of their 24 bits: on the recorded inputs, or else within eight thresholds, or
beyond them where nothing is rounded with a smaller one either.

It ensures integers within Lava's ranges, and no synaptic current that can wrap around. This is the one
pass that always rounds: its notes say what each population lost.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.lava.arithmetic import LayerTrace, run_layer
from nsc_deploy.exporters.lava.integers import (
    BIAS_LIMIT,
    DECAY_UNITY,
    FIXED_POINT_BITS,
    MAX_BIAS_EXP,
    NO_CURRENT,
    STATE_LIMIT,
    WEIGHT_STEP,
    Group,
    IntegerLayer,
    IntegerNetwork,
    Role,
    validate,
)
from nsc_deploy.exporters.lava.lowering.levelise import Levels, Slot, recurrent
from nsc_deploy.exporters.lava.lowering.populations import Population
from nsc_deploy.exporters.lava.lowering.scales import (
    Rounded,
    best,
    can_wrap,
    candidates,
    common_scale,
    exponent_within,
    held,
    largest_scales,
    leaks,
    potential_room,
    require_currents,
    yardstick,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix, Reals, side_by_side, stacked
from nsc_deploy.io.text import counted, percent
from nsc_deploy.passes.base import Note, Pass, Rewrite

FINEST_WEIGHT_EXP = 4
RELAY_WEIGHT = 2
RELAY_THRESHOLD = 1
NARROW = 0.5
"""Below this share of the steps that the bits allow, weights are told to be narrowed."""
Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Calibration:
    """What was recorded for choosing scales, as one layer meets it.

    Attributes:
        events: [steps, samples, lines], what the layer before delivers in integers.
        reference: spikes of each population in the reference simulator, [steps, samples, size]; of one
            that is late (see `Population`) as late.
    """

    events: Spikes
    reference: Mapping[str, Spikes]

    def behind(self, layer: IntegerLayer) -> "Calibration":
        """As the next layer meets it."""
        return replace(self, events=run_layer(layer, self.events).spikes)

    def heard(self, own: tuple[Slot, ...]) -> Spikes:
        """All lines a row may read: those of the layer before, and its own layer's as in the reference."""
        lines = [
            delayed(self.reference[slot.carries.source][..., slot.lines], slot.carries.delay + 1)
            if slot.carries.source in self.reference
            else np.zeros((*self.events.shape[:2], slot.size), np.uint8)
            for slot in own
        ]
        return np.concatenate([self.events, *lines], axis=2)

    def disagreement(self, rows: "Rows", heard: Spikes) -> NDArray[np.int64]:
        """For each neuron, in how many (step, sample) its spike differs from the reference."""
        spikes = run_layer(rows.layer, heard).spikes
        differing: NDArray[np.int64] = (spikes != self.reference[rows.group.node]).sum((0, 1))
        return differing


@dataclass(frozen=True)
class Quantise(Pass[Levels, IntegerNetwork]):
    """The pass.

    Attributes:
        bits: bits of a weight, its sign included, 2..8.
        granularity: whether each neuron has a scale of its own, or all of a population one.
        calibrate: gives recorded inputs and what the reference makes of them; None where there are none.
        alike: populations whose neurons share one scale in any case, as the places of a convolution do for
            a target that keeps its kernel.
    """

    name = "quantise"
    bits: int = 8
    granularity: ScaleGranularity = ScaleGranularity.NEURON
    calibrate: Callable[[Levels], Calibration] | None = None
    alike: frozenset[str] = frozenset()

    @property
    def limit(self) -> int:
        """The largest weight, in steps of two units."""
        return int(2 ** (self.bits - 1) - 1)

    def rewrite(self, levels: Levels, /) -> Rewrite[IntegerNetwork]:
        """Round layer after layer, front to back.

        Raises:
            ExportError: a bias does not fit beside its weights, or a current can wrap with the smallest ones.
        """
        layers: list[IntegerLayer] = []
        notes: list[Note] = []
        before = levels.entrance
        calibration = None if self.calibrate is None else self.calibrate(levels)
        for slots in levels.layers:
            layer, made = self._layer(slots, before, calibration)
            layers.append(layer)
            notes.extend(made)
            before = slots
            calibration = None if calibration is None else calibration.behind(layer)
        network = IntegerNetwork(tuple(layers), levels.graph.dt, levels.graph.graded)
        return Rewrite(network, tuple(notes))

    def ensures(self, network: IntegerNetwork, /) -> str | None:
        """A number out of range, or a current that can wrap."""
        try:
            validate(network)
        except DataError as error:
            return error.message
        wrapping = [index for index, layer in enumerate(network.layers) if can_wrap(layer)]
        return f"a synaptic current of layer {wrapping[0]} can leave its 24 bits" if wrapping else None

    def _layer(
        self, slots: tuple[Slot, ...], before: tuple[Slot, ...], calibration: Calibration | None
    ) -> tuple[IntegerLayer, list[Note]]:
        own = slots if recurrent(slots) else ()
        exponent = self._weight_exp(slots, before, own, largest_scales)
        while exponent and not self._keeps_currents(slots, before, own, exponent):
            exponent -= 1
        if calibration is None:
            return self._with_headroom(slots, before, own, exponent)
        while True:
            layer, notes = self._rounded(slots, before, own, calibration, exponent)
            clipped = clipped_rows(layer, calibration.events)
            if not exponent or not clipped.any():
                return layer, notes + _clipping(layer, clipped)
            exponent -= 1

    def _keeps_currents(
        self, slots: tuple[Slot, ...], before: tuple[Slot, ...], own: tuple[Slot, ...], exponent: int
    ) -> bool:
        """Whether no neuron loses all its weights at an exponent so that its current cannot wrap."""
        if all(slot.population is None or slot.population.leak_u is None for slot in slots):
            return True
        try:
            self._rounded(slots, before, own, None, exponent)
        except ExportError:
            return False
        return True

    def _with_headroom(
        self, slots: tuple[Slot, ...], before: tuple[Slot, ...], own: tuple[Slot, ...], most: int
    ) -> tuple[IntegerLayer, list[Note]]:
        """With the exponent with the most room at which nothing is rounded, else the largest with room.

        A smaller one than the largest with room is looked at where potentials can go beyond that room.
        """
        least = min(most, self._weight_exp(slots, before, own, _roomy_scales))
        widest = least
        if not any(leaks(slot.population) for slot in slots if slot.population is not None):
            widest = min(least, self._weight_exp(slots, before, own, _endless_scales))
        tries = {}
        for exponent in range(widest, most + 1):
            tries[exponent] = self._rounded(slots, before, own, None, exponent)
            if all(note.exact for note in tries[exponent][1]):
                return tries[exponent]
        return tries[least]

    def _rounded(
        self,
        slots: tuple[Slot, ...],
        before: tuple[Slot, ...],
        own: tuple[Slot, ...],
        calibration: Calibration | None,
        exponent: int,
    ) -> tuple[IntegerLayer, list[Note]]:
        heard = None if calibration is None else calibration.heard(own)
        rows: list[Rows] = []
        notes: list[Note] = []
        for slot in slots:
            start = sum(one.group.size for one in rows)
            if slot.population is None:
                rows.append(relay_rows(slot, before, own, start, exponent))
                continue
            weights = arriving_weights(slot.population, before, own)
            tries = self._tries(slot.population, weights, exponent)
            disagreement = None
            if calibration is not None and heard is not None and len(tries) > 1:
                tried = [neuron_rows(slot.population, one, start, exponent) for one in tries]
                disagreement = np.stack([calibration.disagreement(one, heard) for one in tried])
            rounded = best(tries, disagreement, self._granularity(slot.population))
            require_currents(slot.population, rounded, self.limit, exponent)
            rows.append(neuron_rows(slot.population, rounded, start, exponent))
            notes.extend(notes_on(slot.population, rounded, rows[-1].layer, self.limit))
        inputs = sum(slot.size for slot in before)
        return as_layer(rows, inputs, exponent), notes

    def _granularity(self, population: Population) -> ScaleGranularity:
        return ScaleGranularity.LAYER if population.name in self.alike else self.granularity

    def _tries(self, population: Population, weights: Matrix, exponent: int) -> list[Rounded]:
        """The population under each scale that is worth a try."""
        room = largest_scales(population, weights) / 2.0**exponent
        granularity = self._granularity(population)
        scales = candidates(population, weights, self.limit, room, exponent, granularity)
        return [held(population, weights, scale, self.limit, exponent, granularity) for scale in scales]

    def _weight_exp(
        self,
        slots: tuple[Slot, ...],
        before: tuple[Slot, ...],
        own: tuple[Slot, ...],
        scales: Callable[[Population, Matrix], Reals],
    ) -> int:
        """The largest exponent, up to 4, at which the layer could have one scale and stay in all ranges."""
        exponents = [FINEST_WEIGHT_EXP]
        for population in (slot.population for slot in slots if slot.population is not None):
            weights = arriving_weights(population, before, own)
            room = scales(population, weights).min() / common_scale(weights, self.limit)
            exponents.append(exponent_within(room, FINEST_WEIGHT_EXP))
        return min(exponents)


def _roomy_scales(population: Population, weights: Matrix) -> Reals:
    room = potential_room(population, weights, subtracts=population.subtracts)
    return np.minimum(largest_scales(population, weights), room)


def _endless_scales(population: Population, weights: Matrix) -> Reals:
    room = potential_room(population, weights, subtracts=population.subtracts, headroom=np.inf)
    return np.minimum(largest_scales(population, weights), room)


def clipped_rows(layer: IntegerLayer, events: Spikes) -> NDArray[np.int64]:
    """In how many (step, sample) each row's potential meets the end of its 24 bits and keeps another value.

    Above the threshold only those lose something that subtract it; rows without memory lose nothing.

    Args:
        layer: valid.
        events: [steps, samples, inputs] of 0 and 1.
    """
    return clipped_in(layer, run_layer(layer, events))


def clipped_in(layer: IntegerLayer, trace: LayerTrace) -> NDArray[np.int64]:
    """The same of a run that is over."""
    most = STATE_LIMIT - 1
    clipped = trace.potential <= -most
    if layer.subtracts:
        clipped |= (trace.spikes > 0) & (trace.potential + (layer.vth << FIXED_POINT_BITS) >= most)
    found: NDArray[np.int64] = clipped.sum((0, 1)) * (layer.dv < DECAY_UNITY)
    return found


def _clipping(layer: IntegerLayer, clipped: NDArray[np.int64]) -> list[Note]:
    from nsc_deploy.exporters.quantised import clipping_note  # A check of a graph runs nothing.

    return [
        note
        for group in layer.groups
        if group.role is Role.NEURON
        for note in clipping_note(group.node, clipped[group.rows])
    ]


def delayed(spikes: Spikes, steps: int) -> Spikes:
    """Spikes [T, ...] some steps later, nothing before."""
    late = np.zeros_like(spikes)
    late[steps:] = spikes[: max(0, len(spikes) - steps)]
    return late


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
    assert not population.constants, "rule: no bias passes a synapse or starts late"
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
        subtracts=population.subtracts,
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
        # Beside such neurons stand only those without memory (see `levelise`), which may subtract too.
        subtracts=any(one.layer.subtracts for one in rows),
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
            hint="Feed the bias as an input line that is always on, or train with a smaller one.",
        )
    whole = (rounded.bias % 2**FIXED_POINT_BITS == 0) & fits[FIXED_POINT_BITS]
    exponent = np.where(whole, FIXED_POINT_BITS, fits.argmax(axis=0))
    return np.take_along_axis(mantissas, exponent[None], 0)[0], exponent


def _int32(values: NDArray[np.generic]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)


def notes_on(population: Population, rounded: Rounded, layer: IntegerLayer, limit: int) -> list[Note]:
    """Every approximation made for one population, whose weights may have up to `limit` steps."""
    name = population.name
    notes = []
    synapses = max(rounded.weights.synapses, 1)
    if rounded.weight_error.any():
        error = float(np.sqrt(np.mean(rounded.weight_error**2)))
        text = f"weights rounded by {error:.2%} of {_measure(population)} (root mean square)"
        notes.append(Note("weight-rounding", name, text, exact=False, error=error))
    for kind, weights, became in (
        ("saturation", rounded.saturated, "did not fit and were cut at the limit"),
        ("underflow", rounded.underflowed, "were too small and became 0"),
    ):
        if weights.any():
            share = int(weights.sum()) / synapses
            text = f"{weights.sum()} of {synapses} weights ({share:.2%}) {became}"
            notes.append(Note(kind, name, text, exact=False, error=share))
    notes.extend(_narrowed(name, rounded, limit))
    if rounded.threshold_error.any():
        largest = float(rounded.threshold_error.max())
        text = f"threshold rounded down by up to {_bound(rounded.threshold_error)}"
        notes.append(Note("threshold-rounding", name, text, exact=False, error=largest))
    unit = rounded.scale * 2.0 ** (layer.weight_exp + FIXED_POINT_BITS)
    notes.extend(_decay_notes(population, layer, unit))
    bias_error = (np.abs(layer.bias * 2.0**layer.bias_exp - rounded.bias) / unit).max(initial=0.0)
    if bias_error > 0:
        text = f"bias rounded by up to {bias_error:.2g} in the graph's units"
        notes.append(Note("bias-rounding", name, text, exact=False, error=float(bias_error)))
    if layer.subtracts:
        text = "resets by subtraction: neurons of a process of ours (SubtractiveLIF), which Lava has none of"
        notes.append(Note("own-process", name, text))
    if (layer.dv == DECAY_UNITY).all():
        text = "has no memory: a LIF neuron whose potential decays at once (dv = 4096, one more than 12 bits)"
        notes.append(Note("memoryless", name, text))
    return notes


def _narrowed(name: str, rounded: Rounded, limit: int) -> list[Note]:
    """Neurons whose weights had to stay small, because threshold, bias or sums would not have fitted."""
    steps = np.zeros(len(rounded.scale), np.int64)
    np.maximum.at(steps, rounded.weights.target, np.abs(rounded.values) // WEIGHT_STEP)
    narrow = (steps < limit * NARROW) & rounded.weight_error.astype(bool)
    if not narrow.any():
        return []
    text = (
        f"thresholds, biases or sums hold the scale of {counted(int(narrow.sum()), 'neuron')} down: "
        f"weights use {steps[narrow].min()} of {limit} steps"
    )
    return [Note("narrowed", name, text, exact=False, error=float(rounded.weight_error[narrow].max()))]


def _bound(errors: Reals) -> str:
    """The largest, which is never told as nothing."""
    return f"{percent(float(errors.max()), 2, apart=(0.0,))}%"


def _measure(population: Population) -> str:
    """What errors are relative to."""
    fires = population.threshold != 0
    if fires.all():
        return "the threshold"
    return "the threshold, or of 1 where it is 0" if fires.any() else "1 in the graph's units"


def _decay_notes(population: Population, layer: IntegerLayer, unit: Reals) -> list[Note]:
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
    membrane, synaptic = _lost(layer.dv), _lost(layer.du + 1)
    if membrane.any() or synaptic.any():
        # What a current has lost is missing in every step that the potential remembers.
        drain = (membrane + synaptic * DECAY_UNITY / np.maximum(layer.dv, 1)) / unit / yardstick(population)
        what = "decays truncate" if membrane.any() else "synaptic decays truncate"
        text = f"{what} toward zero, which drains at most {_bound(drain)} of {_measure(population)}"
        notes.append(Note("truncation", population.name, text, exact=False, error=float(drain.max())))
    return notes


def _lost(decay: NDArray[np.int32]) -> Reals:
    """What truncation takes from a state at most, in its own units: less than one a step, until forgotten."""
    partial = (decay > 0) & (decay < DECAY_UNITY)
    return np.where(partial, DECAY_UNITY / np.maximum(decay, 1), 0.0)
