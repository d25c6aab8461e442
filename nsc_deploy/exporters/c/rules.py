"""What C code can hold: one rule a concern, listed in `RULES`; its text becomes the user's error."""

import math
from dataclasses import replace

import numpy as np

from nsc_deploy.exporters.c.comparators import find_front_end
from nsc_deploy.exporters.c.direct import INTEGRATORS
from nsc_deploy.exporters.c.program import MAX_SIZE, UNITY
from nsc_deploy.exporters.lava.lowering.extract import KNOWN
from nsc_deploy.exporters.lava.lowering.soft_resets import soft_resets
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX
from nsc_deploy.exporters.lava.rules import (
    decays_survive_rounding,
    delays_fit_a_synapse,
    every_cycle_spikes,
    spikes_of_one_node_leave,
    synapses_of_a_node_fit,
    there_is_one_input_and_one_output,
)
from nsc_deploy.graphs.network import RESETTING, Network, Node, Reset, Signal
from nsc_deploy.passes.verdict import Refusal, Rule, Status, Verdict, judge

LONGEST_DELAY = 63
"""Of one Delay, in steps; several in a row may add up to four times as many."""
_INTEGERS = "weights of up to 8 bits, those of one source in a row"
_BECOMES = {
    "Input": (Status.NATIVE, "a bit map of events, or a list"),
    "Output": (Status.NATIVE, "a bit map of spikes, or potentials"),
    "Linear": (Status.NATIVE, _INTEGERS),
    "Affine": (Status.NATIVE, f"{_INTEGERS}, and a bias of the neurons behind"),
    "LIF": (Status.NATIVE, "neurons in integers of 24 bits"),
    "CubaLIF": (Status.NATIVE, "neurons with synaptic current, in integers of 24 bits"),
    "IF": (Status.NATIVE, "neurons without decay"),
    "LI": (Status.NATIVE, "potentials in integers of 24 bits"),
    "CubaLI": (Status.NATIVE, "potentials with synaptic current, in integers of 24 bits"),
    "I": (Status.NATIVE, "potentials without decay, in integers of 24 bits"),
    "Threshold": (Status.NATIVE, "neurons without memory"),
    "Delay": (Status.NATIVE, "events kept for as many steps"),
    "Conv1d": (Status.NATIVE, "a loop over its kernel"),
    "Conv2d": (Status.NATIVE, "a loop over its kernel"),
    "SumPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "AvgPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "Scale": (Status.SUBSTITUTED, "folded into the weights"),
    "Flatten": (Status.NATIVE, "nothing: lines keep their order"),
}


def verdicts(network: Network) -> tuple[Verdict, ...]:
    """A verdict on each node, in the order of the network."""
    found = find_front_end(network)
    if found is None:
        return _judged(network)
    becomes = f"comparators of samples of 16 bits, {found.comparators.fraction_bits} of them behind the point"
    behind = {one.node: one for one in _judged(found.behind)}
    front = {node.name for node in found.graph.nodes} - {found.graph.output_node.name}
    return tuple(
        Verdict(node.name, node.primitive, Status.NATIVE, becomes)
        if node.name in front
        else behind[node.name]
        for node in network.nodes
    )


def _judged(network: Network) -> tuple[Verdict, ...]:
    """The verdicts, with what becomes of neurons that nodes write out."""
    loops = soft_resets(network).values()
    parts = {name for loop in loops for name in (loop.integrator, loop.threshold, loop.reset)}
    return tuple(
        replace(one, status=Status.SUBSTITUTED, reason="part of neurons that reset by subtraction")
        if one.node in parts and one.status is not Status.REFUSED
        else one
        for one in judge(network, RULES, _BECOMES)
    )


def every_node_becomes_neurons_or_synapses(node: Node, network: Network) -> Refusal | None:
    """Only primitives that have a form in C."""
    if node.primitive in KNOWN | INTEGRATORS:
        return None
    return f"has no form in C: {node.primitive}", "Run this node on the host, or train without it."


def events_enter(node: Node, network: Network) -> Refusal | None:
    """A bit map holds events and no values."""
    if node.primitive == "Input" and node.emits is not Signal.EVENTS:
        return (
            f"takes in {node.emits.value} values, and a step takes in events",
            "Begin with comparators (weights that look at one sample each, and a Threshold), or turn them "
            "into events on the host; --signal events if they are.",
        )
    return None


def lines_can_be_counted(node: Node, network: Network) -> Refusal | None:
    """Not more neurons in a node than tables are made for."""
    size = math.prod(node.output_shape)
    if size <= MAX_SIZE:
        return None
    return f"has {size:,} elements, more than {MAX_SIZE:,}", "Use a smaller image or fewer channels."


def thresholds_that_are_taken_off_are_not_negative(node: Node, network: Network) -> Refusal | None:
    """A potential that grows with each spike never comes to rest."""
    if node.primitive not in RESETTING or network.reset is not Reset.SUBTRACT:
        return None
    if np.any(node.parameters.v_reset != 0):
        return (
            "has a v_reset and a reset by subtraction, which exclude each other",
            "Choose one of them: --reset zero, or v_reset = 0.",
        )
    if np.any(node.parameters.v_threshold < 0):
        return "takes off a threshold below zero, which never ends", "Train with a reset to zero."
    return None


def integrators_end_the_graph(node: Node, network: Network) -> Refusal | None:
    """Their potentials are values, and only events go on."""
    if node.primitive not in INTEGRATORS:
        return None
    if node.name in soft_resets(network):  # Neurons that fire.
        return None
    if all(one.primitive == "Output" for one in network.successors(node.name)):
        return None
    return (
        "gives values to other nodes, and only events go from one to the next",
        "End the graph with it, or put a spiking neuron behind it.",
    )


def one_signal_leaves(node: Node, network: Network) -> Refusal | None:
    """The spikes of one node, all of one step; or the values of one."""
    if node.primitive != "Output":
        return None
    if network.arrives(node.name) is Signal.EVENTS:
        return spikes_of_one_node_leave(node, network)
    sources = [network.node(name) for name in node.inputs]
    if len(sources) > 1 and any(one.primitive in INTEGRATORS for one in sources):
        return (
            f"sums the potentials of {len(sources)} nodes",
            "End the graph with one integrator, which sums what arrives.",
        )
    return None


RULES: tuple[Rule, ...] = (
    every_node_becomes_neurons_or_synapses,
    every_cycle_spikes,
    there_is_one_input_and_one_output,
    events_enter,
    integrators_end_the_graph,
    one_signal_leaves,
    lines_can_be_counted,
    synapses_of_a_node_fit(LARGEST_MATRIX),
    thresholds_that_are_taken_off_are_not_negative,
    decays_survive_rounding(UNITY),
    delays_fit_a_synapse(LONGEST_DELAY),
)
