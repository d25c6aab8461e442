"""How large a population may be scaled before something leaves the bits that hold it."""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.lava.integer import (
    BIAS_LIMIT,
    DECAY_UNITY,
    FIXED_POINT_BITS,
    MAX_BIAS_EXP,
    STATE_LIMIT,
    THRESHOLD_LIMIT,
    IntegerLayer,
)
from nsc_deploy.exporters.lava.lowering.synapses import Matrix, side_by_side
from nsc_deploy.exporters.passes.populations import Population, Reals

SMALLEST = 1e-30
"""What nothing (no weight, no threshold) counts as, so that it holds no scale down."""


def largest_scales(population: Population, weights: Matrix) -> Reals:
    """For each neuron the largest scale of weights, threshold and bias together that fits everywhere."""
    rooms = (_current_room(population, weights), _threshold_room(population), _bias_room(population))
    smallest: Reals = np.minimum.reduce(rooms)
    return smallest


def _current_room(population: Population, weights: Matrix) -> Reals:
    """The largest scales at which all synapses at once leave half of the 24 bits of u free."""
    leak = 1.0 if population.leak_u is None else population.leak_u
    half = STATE_LIMIT / 2 ** (FIXED_POINT_BITS + 1)
    room: Reals = half * leak / np.maximum(weights.strongest_drive(), SMALLEST)
    return room


def can_wrap(layer: IntegerLayer) -> bool:
    """Whether any input at all can drive a synaptic current of the layer out of its 24 bits."""
    unit = 2 ** (FIXED_POINT_BITS + layer.weight_exp)
    share: NDArray[np.float64] = np.minimum((layer.du + 1) / DECAY_UNITY, 1.0)
    weights = layer.weight if layer.recurrent is None else side_by_side([layer.weight, layer.recurrent])
    return bool((weights.strongest_drive() * unit / share >= STATE_LIMIT).any())


def _threshold_room(population: Population) -> Reals:
    return THRESHOLD_LIMIT / np.maximum(np.abs(population.threshold), SMALLEST)


def _bias_room(population: Population) -> Reals:
    """With the largest exponent; a threshold below zero becomes a bias too."""
    added = population.bias + population.offset - np.minimum(population.threshold, 0)
    room: Reals = BIAS_LIMIT * 2 ** (MAX_BIAS_EXP - FIXED_POINT_BITS) / np.maximum(np.abs(added), SMALLEST)
    return room
