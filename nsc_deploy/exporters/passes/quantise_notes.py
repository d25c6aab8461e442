"""What quantising a population falsified, in words and figures."""

import numpy as np

from nsc_deploy.exporters.lava.integer import DECAY_UNITY, FIXED_POINT_BITS, WEIGHT_STEP, IntegerLayer
from nsc_deploy.exporters.lava.lowering.scales import Rounded
from nsc_deploy.exporters.passes.populations import Population
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note

NARROW = 0.5
"""Below this share of the steps that the bits allow, weights are told to be narrowed."""


def notes_on(population: Population, rounded: Rounded, layer: IntegerLayer, limit: int) -> list[Note]:
    """Every approximation made for one population, whose weights may have up to `limit` steps."""
    name = population.name
    notes = []
    synapses = max(rounded.weights.synapses, 1)
    if rounded.weight_error.any():
        error = float(np.sqrt(np.mean(rounded.weight_error**2)))
        text = f"weights rounded by {error:.2%} of the threshold (root mean square)"
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
        text = f"threshold rounded by up to {largest:.2%}"
        notes.append(Note("threshold-rounding", name, text, exact=False, error=largest))
    notes.extend(_decay_notes(population, layer))
    unit = rounded.scale * 2.0 ** (layer.weight_exp + FIXED_POINT_BITS)
    bias_error = (np.abs(layer.bias * 2.0**layer.bias_exp - rounded.bias) / unit).max(initial=0.0)
    if bias_error > 0:
        text = f"bias rounded by up to {bias_error:.2g} in the graph's units"
        notes.append(Note("bias-rounding", name, text, exact=False, error=float(bias_error)))
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
