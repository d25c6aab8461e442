"""Bits of weights and potentials, and delays of synapses, against what the chip has.

How wide a membrane potential must be for weights of so many bits.

Weights of b bits put the largest weight of a population at q = 2^(b-1) - 1; its threshold follows the same
scale. The potential must hold the threshold and one largest weight above it, with f bits below one weight
unit: (threshold / largest weight + 1) * q * 2^f, and a sign.
"""

from math import ceil, log2, prod

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.chips.chip import Chip
from nsc_deploy.exporters.chips.placement import Breach, Usage
from nsc_deploy.exporters.chips.projections import ProjectionGraph
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.graphs.network import Network, Node


def widths(
    network: Network, chip: Chip, graph: ProjectionGraph | None, timing: Timing | None, bits: int
) -> tuple[Usage, ...]:
    """What a graph needs of each.

    Args:
        network: the graph.
        chip: the chip.
        graph: as populations and projections; None where that failed.
        timing: the delays its synapses need; None where that failed.
        bits: of a weight.
    """
    weights, states, delays = chip.synapses.weight_bits, chip.neurons.state_bits, chip.synapses.delay_steps
    fraction = chip.neurons.fraction_bits.value or 0
    each = {} if graph is None else ratios(network, graph)
    widest = max((bits_of(ratio, bits, fraction) for ratio in each.values()), default=0)
    longest = max((longest for _, longest in timing.delays), default=0) if timing is not None else 0
    return (
        weights.usage("weight bits", bits),
        states.usage("state bits", widest),
        delays.usage("delay steps", longest),
    )


def width_breaches(network: Network, chip: Chip, graph: ProjectionGraph | None, bits: int) -> list[Breach]:
    """Weights or potentials that are too wide."""
    most, limit = chip.synapses.weight_bits.value, chip.neurons.state_bits.value
    breaches = []
    if most is not None and bits > most:
        problem = f"{bits} bits a weight; a synapse has {most}"
        breaches.append(Breach("weight bits", "chip", problem, f"Use --bits {most}.", bits, most))
    if limit is not None and graph is not None:
        fraction = chip.neurons.fraction_bits.value or 0
        for name, ratio in ratios(network, graph).items():
            if bits_of(ratio, bits, fraction) > limit:
                breaches.append(_too_wide(name, ratio, bits, fraction, limit))
    return breaches


def _too_wide(name: str, ratio: float, bits: int, fraction: int, limit: int) -> Breach:
    needed = bits_of(ratio, bits, fraction)
    fewer = next((one for one in range(bits - 1, 1, -1) if bits_of(ratio, one, fraction) <= limit), None)
    allowed = largest_ratio(limit, bits, fraction)
    hint = f"Train for a threshold of at most {allowed:.4g} times its largest weight (it is {ratio:.4g})"
    return Breach(
        "state bits",
        f"node '{name}'",
        f"beside weights of {bits} bits its threshold needs potentials of {needed}; a neuron has {limit}",
        hint + (f", or use --bits {fewer}." if fewer is not None else "."),
        needed,
        limit,
    )


def delay_breaches(chip: Chip, graph: ProjectionGraph | None, timing: Timing | None) -> list[Breach]:
    """Projections that need longer delays than a synapse has; silent on what a node is refused for anyway."""
    limit = chip.synapses.delay_steps.value
    if graph is None or timing is None or limit is None:
        return []
    breaches = []
    for one, (_, longest) in zip(graph.projections, timing.delays, strict=True):
        told = one.longest if "Delay" in chip.refused else 0
        told += 0 if chip.synapses.recurrence.value else one.back
        if longest - told > limit:
            over = longest - limit
            steps = "step" if over == 1 else "steps"
            hint = (
                f"Shorten the Delay by {over} {steps}."
                if one.longest >= over
                else f"Put {over} layers that repeat their input into this path."
            )
            breaches.append(
                Breach(
                    "delay",
                    f"'{one.source}' to '{one.target}'",
                    f"needs synapses with delays of {longest} steps, {one.longest} of the graph and the rest "
                    f"to wait for longer paths; a synapse has {limit}",
                    hint,
                    longest,
                    limit,
                )
            )
    return breaches


def bits_of(ratio: float, weight_bits: int, fraction_bits: int) -> int:
    """Bits of the potential for one ratio of threshold to largest weight."""
    return ceil(log2((ratio + 1) * _unit(weight_bits, fraction_bits) + 1)) + 1


def largest_ratio(limit: int, weight_bits: int, fraction_bits: int) -> float:
    """The largest ratio of threshold to largest weight that potentials of `limit` bits hold."""
    return (2.0 ** (limit - 1) - 1) / _unit(weight_bits, fraction_bits) - 1


def ratios(network: Network, graph: ProjectionGraph) -> dict[str, float]:
    """For each population its largest threshold over its largest weight; none where all weights are zero."""
    found = {}
    for one in graph.populations:
        node = network.node(one.name)
        gain = _gain(node, network)
        largest = max(
            (float((each.largest * gain).max(initial=0)) for each in graph.into(one.name)), default=0
        )
        if largest > 0:
            found[one.name] = _threshold(node) / largest
    return found


def _unit(weight_bits: int, fraction_bits: int) -> float:
    return float(max(1, 2 ** (weight_bits - 1) - 1) << fraction_bits)


def _threshold(node: Node) -> float:
    limits = node.parameters.threshold if node.primitive == "Threshold" else node.parameters.v_threshold
    return float(np.abs(limits).max(initial=0))


def _gain(node: Node, network: Network) -> NDArray[np.float64]:
    """What each neuron multiplies its input with before it reaches the potential, [neurons]."""
    form = node.parameters
    if node.primitive == "Threshold":
        return np.ones(prod(node.output_shape))
    gain = np.asarray(form.r, dtype=np.float64) * network.step_seconds
    if node.primitive != "IF":
        gain = gain / (form.tau if node.primitive == "LIF" else form.tau_mem)
    if node.primitive == "CubaLIF":
        gain = gain * form.w_in * network.step_seconds / form.tau_syn
    each: NDArray[np.float64] = np.abs(np.broadcast_to(gain, node.output_shape)).reshape(-1)
    return each
