"""How wide a membrane potential must be for weights of so many bits.

Weights of b bits put the largest weight of a population at q = 2^(b-1) - 1; its threshold follows the same
scale. The potential must hold the threshold and one largest weight above it, with f bits below one weight
unit: (threshold / largest weight + 1) * q * 2^f, and a sign.
"""

from math import ceil, log2

import numpy as np

from nsc_deploy.exporters.chips.wiring import Wiring
from nsc_deploy.graphs.network import Network, Node


def state_bits(network: Network, wiring: Wiring, weight_bits: int, fraction_bits: int) -> dict[str, int]:
    """Bits of the potential each population needs, its sign included.

    Args:
        network: the graph.
        wiring: the same as populations.
        weight_bits: b.
        fraction_bits: f.
    """
    return {
        name: bits_of(ratio, weight_bits, fraction_bits) for name, ratio in ratios(network, wiring).items()
    }


def bits_of(ratio: float, weight_bits: int, fraction_bits: int) -> int:
    """Bits of the potential for one ratio of threshold to largest weight."""
    return ceil(log2((ratio + 1) * _unit(weight_bits, fraction_bits) + 1)) + 1


def largest_ratio(limit: int, weight_bits: int, fraction_bits: int) -> float:
    """The largest ratio of threshold to largest weight that potentials of `limit` bits hold."""
    return (2.0 ** (limit - 1) - 1) / _unit(weight_bits, fraction_bits) - 1


def ratios(network: Network, wiring: Wiring) -> dict[str, float]:
    """For each population its largest threshold over its largest weight; none where all weights are zero."""
    found = {}
    for one in wiring.populations:
        node = network.node(one.name)
        largest = max((each.largest for each in wiring.into(one.name)), default=0.0) * _gain(node, network)
        if largest > 0:
            found[one.name] = _threshold(node) / largest
    return found


def _unit(weight_bits: int, fraction_bits: int) -> float:
    return float(max(1, 2 ** (weight_bits - 1) - 1) << fraction_bits)


def _threshold(node: Node) -> float:
    limits = node.parameters.threshold if node.primitive == "Threshold" else node.parameters.v_threshold
    return float(np.abs(limits).max(initial=0))


def _gain(node: Node, network: Network) -> float:
    """What the neuron multiplies its input with before it reaches the potential."""
    form = node.parameters
    if node.primitive == "Threshold":
        return 1.0
    dt = network.step_seconds
    gain = np.asarray(form.r, dtype=np.float64)
    if node.primitive == "IF":
        return float(np.abs(gain * dt).max(initial=0))
    gain = gain * dt / (form.tau if node.primitive == "LIF" else form.tau_mem)
    if node.primitive == "CubaLIF":
        gain = gain * form.w_in * dt / form.tau_syn
    return float(np.abs(gain).max(initial=0))
