"""How weights and thresholds of one population become integers, and which scales are worth a try."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.integer import WEIGHT_STEP
from nsc_deploy.exporters.matrix import Matrix
from nsc_deploy.exporters.passes.populations import Population, Reals

LARGEST_GRID_BITS = 24
GRID_TRIES = 8
CLIPPINGS = (1.0, 0.93, 0.87, 0.8, 0.7, 1.15, 1.3, 1.6)


@dataclass(frozen=True)
class Rounded:
    """A population in integers under one scale.

    Attributes:
        scale: weight units for one unit of the graph.
        weight: int32 [size, lines], even, all drives side by side.
        threshold: int [size], in units of weight << weight_exp.
        bias: int [size], added to v, whose units are 2^6 finer than those of the threshold.
        clipped: share of the weights that did not fit and were cut.
        weight_error: root mean square of the rounding error of weights that are not zero, relative to
            the threshold.
        threshold_error: largest relative error of a threshold.
    """

    scale: float
    weight: Matrix
    threshold: NDArray[np.int64]
    bias: NDArray[np.int64]
    clipped: float
    weight_error: float
    threshold_error: float

    @property
    def error(self) -> float:
        """One figure to rank scales by when nothing was recorded."""
        return float(np.hypot(self.weight_error, self.threshold_error)) + 10.0 * self.clipped


def candidates(population: Population, weights: Matrix, limit: int, room: float) -> tuple[float, ...]:
    """Scales worth a try, the safest first.

    Weights on a coarse grid (such as +-1) get scales at which they are whole numbers; without memory that is
    exact and the only one tried. Then the scale that uses the whole range, some that cut the largest
    weights or leave room, each moved a little so that a threshold common to all neurons becomes whole.

    Args:
        population: the neurons.
        weights: all drives side by side.
        limit: largest weight, in steps of two units.
        room: no scale may be larger.
    """
    largest = weights.largest
    if largest == 0.0:
        return (min(1.0, room),)
    grid = _grid_scales(weights, largest, limit, room)
    if grid and memoryless(population):
        return grid[:1]
    scales = [min(WEIGHT_STEP * limit / largest * factor, room) for factor in CLIPPINGS]
    thresholds = np.unique(population.threshold)
    if len(thresholds) == 1 and thresholds[0] > 0:
        scales = [_aligned(scale, float(thresholds[0]), room) for scale in scales]
    return tuple(dict.fromkeys((*grid, *scales)))


def memoryless(population: Population) -> bool:
    """Whether the neurons carry nothing from one step to the next."""
    return bool((population.leak_v == 1.0).all()) and population.leak_u is None


def _aligned(scale: float, threshold: float, room: float) -> float:
    """The largest scale not above `scale` that makes the threshold a whole number (at least 1)."""
    return min(max(float(np.floor(scale * threshold)), 1.0) / threshold, room)


def _grid_scales(weights: Matrix, largest: float, limit: int, room: float) -> tuple[float, ...]:
    """The largest scales at which every weight is a whole number of steps, if there are any."""
    for bits in range(LARGEST_GRID_BITS):
        grid = 2.0**bits
        if largest * grid > limit:
            break
        if np.array_equal(weights.values * grid, np.rint(weights.values * grid)):
            most = int(min(limit / (largest * grid), room / (WEIGHT_STEP * grid)))
            return tuple(WEIGHT_STEP * grid * factor for factor in range(most, max(most - GRID_TRIES, 0), -1))
    return ()


def round_to(
    population: Population, weights: Matrix, scale: float, limit: int, weight_exp: int = 0
) -> Rounded:
    """A population in integers under a scale.

    Without memory the comparison "sum > threshold" has an exact integer form: the sum is a whole number,
    so the threshold is rounded down, and the bias moves into it. A threshold below zero (a neuron that fires
    unless it is inhibited) becomes a bias.
    """
    fine = scale * 2.0**weight_exp
    scaled = WEIGHT_STEP * np.rint(weights.values * scale / WEIGHT_STEP)
    cut = np.clip(scaled, -WEIGHT_STEP * limit, WEIGHT_STEP * limit)
    clipped = float((scaled != cut).mean()) if cut.size else 0.0
    if memoryless(population):
        level = np.floor((population.threshold - population.bias - population.offset) * fine)
        threshold = np.maximum(level, 0.0)
        bias = (threshold - level) * 64
        threshold_error = 0.0
    else:
        threshold = np.maximum(np.rint(population.threshold * fine), 0.0)
        bias = np.rint((population.bias + population.offset) * fine * 64)
        threshold_error = _largest(threshold / fine - population.threshold, population.threshold)
    reference = float(np.abs(population.threshold).mean()) or 1.0
    error = (cut / scale - weights.values)[scaled == cut]
    weight_error = float(np.sqrt(np.mean(error**2))) / reference if error.size else 0.0
    return Rounded(
        scale,
        weights.with_values(cut.astype(np.int32)),
        threshold.astype(np.int64),
        bias.astype(np.int64),
        clipped,
        weight_error,
        threshold_error,
    )


def _largest(error: Reals, reference: Reals) -> float:
    known = reference != 0
    return float(np.abs(error[known] / reference[known]).max(initial=0.0))


def best(rounded: Sequence[Rounded], disagreement: Sequence[float] | None) -> Rounded:
    """The one that disagrees least on recorded inputs, else the one with the smallest error."""
    if disagreement is None:
        return min(rounded, key=lambda one: one.error)
    order = sorted(range(len(rounded)), key=lambda index: (disagreement[index], rounded[index].error))
    return rounded[order[0]]
