"""What quantising a population falsified, in words and figures."""

import numpy as np

from nsc_deploy.exporters.lava.integer import DECAY_UNITY, FIXED_POINT_BITS, IntegerLayer
from nsc_deploy.exporters.passes.base import Note
from nsc_deploy.exporters.passes.populations import Population
from nsc_deploy.exporters.passes.scales import Rounded


def notes_on(population: Population, rounded: Rounded, layer: IntegerLayer) -> list[Note]:
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
    unit = rounded.scale * 2.0 ** (layer.weight_exp + FIXED_POINT_BITS)
    bias_error = np.abs(layer.bias * 2.0**layer.bias_exp - rounded.bias).max(initial=0.0) / unit
    if bias_error > 0:
        text = f"bias rounded by up to {bias_error:.2g} in the graph's units"
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
