"""How weights and thresholds of one population become integers, and which scales are worth a try.

Each neuron has a scale of its own, or all of a population share one: weights, threshold and bias of a
neuron are multiplied by its scale and rounded, so a scale changes no spike but through rounding. It may be
as large as the bits allow that hold thresholds, biases and sums (`largest_scales`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.lava.integers import (
    BIAS_LIMIT,
    DECAY_UNITY,
    FIXED_POINT_BITS,
    MAX_BIAS_EXP,
    STATE_LIMIT,
    THRESHOLD_LIMIT,
    WEIGHT_STEP,
    IntegerLayer,
)
from nsc_deploy.exporters.lava.lowering.populations import Population
from nsc_deploy.exporters.lava.lowering.synapses import Matrix, Reals, side_by_side
from nsc_deploy.graphs.dyadic import CUTS

FINEST_GRID = 2.0**24
GRID_TRIES = 8
SAME = 1e-12
"""Relative difference of two numbers that differ by the rounding of float64 alone."""
RANGES = (1.0, 0.93, 0.87, 0.8, 0.7, *CUTS[1:])
"""Scales worth a try, in units of the one at which the largest weight just fits; above 1 it is cut."""
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Rounded:
    """A population in integers; all arrays but `values` are [size].

    Attributes:
        weights: what was rounded, all drives side by side [size, lines].
        scale: weight units for one unit of the graph.
        values: int32 [synapses], the weights in integers, even, in the places of `weights`.
        threshold: in units of weight << weight_exp.
        bias: added to v, whose units are 2^6 finer than those of the threshold.
        weight_error: root mean square of the error of a neuron's weights, relative to its threshold.
        threshold_error: relative error of the threshold.
        saturated: weights cut at the limit.
        underflowed: weights that became 0.
    """

    weights: Matrix
    scale: Reals
    values: NDArray[np.int32]
    threshold: Whole
    bias: Whole
    weight_error: Reals
    threshold_error: Reals
    saturated: Whole
    underflowed: Whole

    @cached_property
    def weight(self) -> Matrix:
        """The weights in integers, those that became 0 left out."""
        return self.weights.with_values(self.values)

    @property
    def error(self) -> Reals:
        """One figure a neuron to rank scales by when nothing was recorded."""
        return np.hypot(self.weight_error, self.threshold_error)


def candidates(
    population: Population,
    weights: Matrix,
    limit: int,
    room: Reals,
    weight_exp: int,
    granularity: ScaleGranularity,
) -> tuple[Reals, ...]:
    """Scales [size] worth a try, the safest first.

    Weights on a coarse grid (such as +-1, or those trained for as few bits) get scales at which they are
    whole numbers, and no others; without memory that is exact, and one is enough. The rest get the scale that
    uses the whole range, some that cut the largest weights or leave room, each moved a little so that the
    threshold becomes whole.

    Args:
        population: the neurons.
        weights: all drives side by side.
        limit: largest weight, in steps of two units.
        room: [size], no scale may be larger.
        weight_exp: of the layer.
        granularity: whose scales must be alike.
    """
    largest = _largest_weights(weights, granularity)
    room = room if granularity is ScaleGranularity.NEURON else np.full_like(room, room.min())
    full = WEIGHT_STEP * limit / np.where(largest > 0, largest, np.inf)
    on_grid = _on_grid(_grids(weights, granularity), np.minimum(full, room))
    forgets = memoryless(population)
    tries = []
    for number, factor in enumerate(RANGES):
        scale = np.minimum(full * factor, room)
        if not forgets:
            scale = _aligned(scale, population.threshold, room, weight_exp, granularity)
        exact = on_grid[0 if forgets else number % len(on_grid)]
        tries.append(np.where(largest > 0, np.where(exact > 0, exact, scale), np.minimum(1.0, room)))
    return _different(tries)


def memoryless(population: Population) -> bool:
    """Whether the neurons carry nothing from one step to the next."""
    return bool((population.leak_v == 1.0).all()) and population.leak_u is None


def leaks(population: Population) -> bool:
    """Whether a potential loses a part of itself in a step, and is rounded for it in integers."""
    return bool(((population.leak_v > 0) & (population.leak_v < 1)).any())


def common_scale(weights: Matrix, limit: int) -> float:
    """The scale at which the largest weight of all just fits."""
    return WEIGHT_STEP * limit / weights.largest if weights.synapses else 1.0


def _different(tries: Sequence[Reals]) -> tuple[Reals, ...]:
    return tuple({scale.tobytes(): scale for scale in tries}.values())


def _aligned(
    scale: Reals, threshold: Reals, room: Reals, weight_exp: int, granularity: ScaleGranularity
) -> Reals:
    """The largest scales not above `scale` that make the threshold a whole number.

    Where it is below 1 `scale` stays, and it becomes 0: beside weights so large it decides next to nothing.
    """
    if granularity is ScaleGranularity.LAYER and len(np.unique(threshold)) > 1:
        return scale
    unit = np.where(threshold > 0, threshold, 1.0) * 2.0**weight_exp
    whole = np.floor(scale * unit)
    return np.where((threshold > 0) & (whole >= 1), np.minimum(whole / unit, room), scale)


def _largest_weights(weights: Matrix, granularity: ScaleGranularity) -> Reals:
    largest = np.zeros(weights.shape[0])
    np.maximum.at(largest, weights.target, np.abs(weights.values))
    return (
        largest if granularity is ScaleGranularity.NEURON else np.full_like(largest, largest.max(initial=0.0))
    )


def _on_grid(step: Whole, largest: Reals) -> list[Reals]:
    """The largest scales at which multiples of a step are whole numbers; 0 where even one step is too large.

    First those at which every dyadic number as coarse as the step is whole too, as thresholds often are.

    Args:
        step: [size] in units of the finest grid, 0 for none.
        largest: [size], no scale may be larger.
    """
    known = np.where(step > 0, step, 1)
    unit = WEIGHT_STEP * FINEST_GRID / known
    most = np.floor(np.where(step > 0, largest / unit, 0) * (1 + SAME))
    odd = known / (known & -known)
    dyadic = [np.floor(most / odd) * odd - number * odd for number in range(GRID_TRIES // 2)]
    close = [most - number for number in range(GRID_TRIES // 2)]
    return [unit * np.where(factor >= 1, factor, most) for factor in (*dyadic, *close)]


def _grids(weights: Matrix, granularity: ScaleGranularity) -> Whole:
    """The coarsest step of which a neuron's weights are multiples, on the finest grid; 0 if there is none."""
    fine = weights.values * FINEST_GRID
    known = (fine == np.rint(fine)) & (np.abs(fine) < 2.0**53)
    step = np.zeros(weights.shape[0], np.int64)
    np.gcd.at(step, weights.target, np.where(known, fine, 1.0).astype(np.int64))
    step[weights.target[~known]] = 0
    if granularity is ScaleGranularity.LAYER:
        used = np.unique(weights.target)
        step[:] = np.gcd.reduce(step[used]) if step[used].all() else 0
    return step


def round_to(
    population: Population, weights: Matrix, scale: Reals, limit: int, weight_exp: int = 0
) -> Rounded:
    """A population in integers under scales [size].

    Without memory the comparison "sum > threshold" has an exact integer form: the sum is a whole number,
    so the threshold is rounded down, and the bias moves into it. A threshold below zero (a neuron that fires
    unless it is inhibited) becomes a bias.
    """
    fine, of_synapse = scale * 2.0**weight_exp, scale[weights.target]
    wanted = WEIGHT_STEP * np.rint(weights.values * of_synapse / WEIGHT_STEP)
    values = np.clip(wanted, -WEIGHT_STEP * limit, WEIGHT_STEP * limit)
    if memoryless(population):
        level = _level(population, fine)
        threshold = np.maximum(level, 0.0)
        bias = (threshold - level) * 64
        threshold_error = np.zeros(population.size)
    else:
        # Down: rounded up onto a sum, a threshold just below it would no longer be exceeded by it.
        threshold = floored(population.threshold * fine)
        bias = np.rint((population.bias + population.offset) * fine * 64)
        threshold_error = np.abs(threshold / fine - population.threshold) / yardstick(population)
        threshold_error[(threshold_error < SAME) | _sums_are_whole(population, bias)] = 0.0
    synapses = np.maximum(weights.sums(np.ones(weights.synapses)), 1)
    square = weights.sums((values / of_synapse - weights.values) ** 2) / synapses
    weight_error = np.sqrt(square) / yardstick(population)
    weight_error[weight_error < SAME] = 0.0
    return Rounded(
        weights=weights,
        scale=scale,
        values=values.astype(np.int32),
        threshold=threshold.astype(np.int64),
        bias=bias.astype(np.int64),
        weight_error=weight_error,
        threshold_error=threshold_error,
        saturated=weights.sums(wanted != values).astype(np.int64),
        underflowed=weights.sums(values == 0).astype(np.int64),
    )


def _sums_are_whole(population: Population, bias: Reals) -> NDArray[np.bool_]:
    """Neurons that hold a whole number against their threshold, so that one rounded down is no other one."""
    if population.leak_u is not None or population.subtracts:
        return np.zeros(population.size, bool)
    whole: NDArray[np.bool_] = (population.leak_v == 0) & (bias % 64 == 0) & (population.threshold >= 0)
    return whole


def _level(population: Population, fine: Reals) -> Reals:
    """What a sum must exceed, as a whole number, with the bias moved into it.

    A whole bias is taken off after rounding: beside it a threshold just below zero ("x >= 0") would be lost.
    """
    added = (population.bias + population.offset) * fine
    terms = (np.abs(population.bias) + np.abs(population.offset)) * fine
    level = population.threshold * fine
    whole = np.rint(added)
    together = floored(level - added, np.abs(level) + terms)
    return np.where(np.abs(added - whole) <= SAME * terms, floored(level) - whole, together)


def floored(values: Reals, terms: Reals | None = None) -> Reals:
    """Whole numbers below; what is a whole number but for the rounding of a product counts as that number.

    Args:
        values: any.
        terms: what they are made of by adding, in size; they themselves where None.
    """
    near: Reals = np.rint(values)
    same = np.abs(values - near) <= SAME * (np.abs(values) if terms is None else terms)
    return np.where(same, near, np.floor(values))


def yardstick(population: Population) -> Reals:
    """Thresholds as what errors are relative to; 1 where a threshold is zero."""
    size: Reals = np.abs(population.threshold)
    return np.where(size > 0, size, 1.0)


def best(
    tries: Sequence[Rounded], disagreement: NDArray[Any] | None, granularity: ScaleGranularity
) -> Rounded:
    """For each neuron the try that disagrees least on recorded inputs, else the one with the smallest error.

    Args:
        tries: the candidates.
        disagreement: [tries, size] spikes that differ from the reference, or None.
        granularity: whose scales must be alike.
    """
    error = np.stack([one.error for one in tries])
    first = np.zeros_like(error) if disagreement is None else np.asarray(disagreement, np.float64)
    if granularity is ScaleGranularity.LAYER:
        first, error = (np.broadcast_to(x.sum(1, keepdims=True), x.shape) for x in (first, error**2))
    order = np.lexsort((error, first), axis=0)
    return _picked(tries, order[0])


def _picked(tries: Sequence[Rounded], choice: NDArray[Any]) -> Rounded:
    """Each neuron from the try that `choice` [size] names for it."""
    weights = tries[0].weights

    def of(name: str, index: NDArray[Any]) -> NDArray[Any]:
        every = np.stack([getattr(one, name) for one in tries])
        chosen: NDArray[Any] = np.take_along_axis(every, index[None], 0)[0]
        return chosen

    fields = ("scale", "threshold", "bias", "weight_error", "threshold_error", "saturated", "underflowed")
    return Rounded(
        weights=weights,
        values=of("values", choice[weights.target]),
        **{name: of(name, choice) for name in fields},
    )


HEADROOM = 8.0
"""For so many thresholds, on either side of 0, a potential has room where nothing was recorded."""
UNLEAKED_STEPS = 256
"""So long a potential that leaks less, or not at all, is driven."""
LOWERED = 0.8
"""By so much a scale goes down at a time until no synaptic current can wrap."""


def room_for(used: Reals, limit: Any) -> Reals:
    """The scale at which what is used is as large as a limit; without end where nothing is."""
    limits = np.broadcast_to(np.asarray(limit, np.float64), used.shape)
    room: Reals = np.divide(limits, used, out=np.full(used.shape, np.inf), where=used > 0)
    return room


def exponent_within(room: float, most: int) -> int:
    """The largest exponent of 0 to `most` by which a scale with so much room may be finer."""
    return int(np.floor(np.log2(np.clip(room, 1.0, 2.0**most))))


def largest_scales(population: Population, weights: Matrix) -> Reals:
    """For each neuron the largest scale of weights, threshold and bias together that fits everywhere."""
    rooms = (_current_room(population, weights), _threshold_room(population), _bias_room(population))
    smallest: Reals = np.minimum.reduce(rooms)
    return smallest


def _current_room(population: Population, weights: Matrix) -> Reals:
    """The largest scales at which all synapses and constants at once leave half of the 24 bits of u free."""
    leak = 1.0 if population.leak_u is None else population.leak_u
    half = STATE_LIMIT / 2 ** (FIXED_POINT_BITS + 1)
    strongest = weights.strongest_drive() + population.strongest_constant
    return room_for(strongest, half * leak)


def can_wrap(layer: IntegerLayer) -> bool:
    """Whether any input at all can drive a synaptic current of the layer out of its 24 bits."""
    weights = layer.weight if layer.recurrent is None else side_by_side([layer.weight, layer.recurrent])
    return bool(_wrapping(weights, layer.du + 1, layer.weight_exp).any())


def _wrapping(weights: Matrix, decay: NDArray[Any], weight_exp: int) -> NDArray[np.bool_]:
    """For each neuron whether its current, which loses decay/4096 in a step, can leave its 24 bits."""
    share: NDArray[np.float64] = np.minimum(decay / DECAY_UNITY, 1.0)
    leaves: NDArray[np.bool_] = (
        weights.strongest_drive() * 2 ** (FIXED_POINT_BITS + weight_exp) / share >= STATE_LIMIT
    )
    return leaves


def held(
    population: Population,
    weights: Matrix,
    scale: Reals,
    limit: int,
    weight_exp: int,
    granularity: ScaleGranularity,
) -> Rounded:
    """A population in integers under scales [size], or the next smaller ones at which no current can wrap.

    Rounding can double weights and slow a decay down, so that half of the 24 bits is not always enough.
    """
    rounded = round_to(population, weights, scale, limit, weight_exp)
    decay = _decay(population)
    while (wraps := _wrapping(rounded.weight, decay, weight_exp)).any():
        moved = wraps if granularity is ScaleGranularity.NEURON else np.ones_like(wraps)
        scale = np.where(moved, LOWERED * scale, scale)
        rounded = round_to(population, weights, scale, limit, weight_exp)
    return rounded


def _decay(population: Population) -> Reals:
    """What a current loses in a step, in 4096ths; all of it where there is no synapse."""
    share = np.ones(population.size) if population.leak_u is None else population.leak_u
    return np.rint(np.broadcast_to(share, population.size) * DECAY_UNITY)


def require_currents(population: Population, rounded: Rounded, limit: int, weight_exp: int) -> None:
    """See that no neuron has lost all its weights so that its current cannot wrap.

    Raises:
        ExportError: one has, for it would with weights of a single step.
    """
    lost = (rounded.weights.strongest_drive() > 0) & (rounded.weight.strongest_drive() == 0)
    if population.leak_u is None or not lost.any():
        return
    largest = _largest_weights(rounded.weights, ScaleGranularity.NEURON)
    step = WEIGHT_STEP / np.where(largest > 0, largest, 1.0)
    least = round_to(population, rounded.weights, step, limit, weight_exp)
    if (lost & _wrapping(least.weight, _decay(population), weight_exp)).any():
        raise ExportError(
            "has a synaptic current that can leave its 24 bits, however small its weights are",
            where=f"node '{population.name}'",
            hint="Train with a shorter tau_syn, or with fewer inputs of a neuron.",
        )


def _threshold_room(population: Population) -> Reals:
    """Without memory a bias moves into the threshold (see `round_to`)."""
    largest: Reals = np.abs(population.threshold)
    if memoryless(population):
        largest = np.maximum(largest, population.threshold - population.bias - population.offset)
    return room_for(largest, THRESHOLD_LIMIT)


def potential_room(
    population: Population, weights: Matrix, *, subtracts: bool, headroom: float = HEADROOM
) -> Reals:
    """For each neuron the largest scale at which it loses nothing at the ends of its 24 bits.

    Inhibition drives a potential below zero; above the threshold only those keep anything that subtract it.
    Neither is taken for larger than so many thresholds (the largest weight, where a threshold is 0): events
    need not come all at once, and on.

    Args:
        population: the neurons.
        weights: all drives side by side.
        subtracts: whether a spike takes the threshold off.
        headroom: how many thresholds; infinity: whatever comes in `UNLEAKED_STEPS` steps.
    """
    if memoryless(population):
        return np.full(population.size, np.inf)
    values, added = weights.values.astype(np.float64), population.bias + population.offset
    driven = weights.sums((-values).clip(0)) + (-added).clip(0)
    if subtracts:
        driven = np.maximum(driven, weights.sums(values.clip(0)) + added.clip(0))
    kept = 1.0 if population.leak_u is None else population.leak_u
    settled = (
        (driven + population.strongest_constant) / kept / np.maximum(population.leak_v, 1 / UNLEAKED_STEPS)
    )
    size = np.abs(population.threshold)
    size = np.where(size > 0, size, _largest_weights(weights, ScaleGranularity.NEURON))
    reach = np.minimum(settled, headroom * np.where(size > 0, size, np.inf))
    return room_for(reach, STATE_LIMIT / 2**FIXED_POINT_BITS)


def _bias_room(population: Population) -> Reals:
    """With the largest exponent; a threshold below zero becomes a bias too."""
    added = population.bias + population.offset - np.minimum(population.threshold, 0)
    return room_for(np.abs(added), BIAS_LIMIT * 2 ** (MAX_BIAS_EXP - FIXED_POINT_BITS))
