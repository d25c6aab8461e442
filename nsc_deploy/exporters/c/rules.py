"""What C code can hold: one rule a concern, listed in `RULES`; its text becomes the user's error."""

import math

import numpy as np

from nsc_deploy.exporters.c.program import MAX_DELAY, MAX_SIZE, UNITY
from nsc_deploy.exporters.lava.integers import MAX_DELAY as LONGEST_OF_A_SYNAPSE
from nsc_deploy.exporters.lava.lowering.extract import KNOWN
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX
from nsc_deploy.exporters.lava.rules import (
    decays_survive_rounding,
    delays_fit_a_synapse,
    every_connection_of_a_cycle_has_a_step,
    every_cycle_spikes,
    no_bias_passes_a_synapse,
    no_bias_starts_late,
    spikes_of_one_node_leave,
    synapses_of_a_node_fit,
    there_is_one_input_and_one_output,
)
from nsc_deploy.graphs.network import RESETTING, Network, Node, Reset, Signal
from nsc_deploy.passes.verdict import Refusal, Rule, Status, Verdict, judge

_INTEGERS = "weights of up to 8 bits, those of one source in a row"
_BECOMES = {
    "Input": (Status.NATIVE, "a bit map of events, or a list"),
    "Output": (Status.NATIVE, "a bit map of spikes"),
    "Linear": (Status.NATIVE, _INTEGERS),
    "Affine": (Status.NATIVE, f"{_INTEGERS}, and a bias of the neurons behind"),
    "LIF": (Status.NATIVE, "neurons in integers of 24 bits"),
    "CubaLIF": (Status.NATIVE, "neurons with synaptic current, in integers of 24 bits"),
    "IF": (Status.NATIVE, "neurons without decay"),
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
    return judge(network, RULES, _BECOMES)


def every_node_becomes_neurons_or_synapses(node: Node, network: Network) -> Refusal | None:
    """Only primitives that have a form in C."""
    if node.primitive in KNOWN:
        return None
    return (
        f"has no form in C yet: {node.primitive}",
        "End the graph with the spiking layer before it, or run this node on the host (--split).",
    )


def events_enter(node: Node, network: Network) -> Refusal | None:
    """A bit map holds events and no values."""
    if node.primitive == "Input" and node.emits is not Signal.EVENTS:
        return (
            f"takes in {node.emits.value} values, and a step takes in events",
            "Turn them into events on the host (Affine and Threshold); --signal events if they are.",
        )
    return None


def lines_can_be_counted(node: Node, network: Network) -> Refusal | None:
    """Not more neurons in a node than tables are made for."""
    size = math.prod(node.output_shape)
    if size <= MAX_SIZE:
        return None
    return f"has {size:,} elements, more than {MAX_SIZE:,}", "Use a smaller image or fewer channels."


def potentials_reset_to_zero(node: Node, network: Network) -> Refusal | None:
    """As the lowering has it so far."""
    if node.primitive not in RESETTING:
        return None
    if network.reset is Reset.SUBTRACT:
        return "resets by subtraction, which is not written yet", "Train with a reset to zero."
    if np.any(node.parameters.v_reset != 0):
        return "resets to a value other than zero", "Shift the potentials to 0."
    return None


RULES: tuple[Rule, ...] = (
    every_node_becomes_neurons_or_synapses,
    every_cycle_spikes,
    every_connection_of_a_cycle_has_a_step,
    there_is_one_input_and_one_output,
    events_enter,
    spikes_of_one_node_leave,
    lines_can_be_counted,
    synapses_of_a_node_fit(LARGEST_MATRIX),
    potentials_reset_to_zero,
    decays_survive_rounding(UNITY),
    no_bias_passes_a_synapse,
    no_bias_starts_late,
    delays_fit_a_synapse(min(MAX_DELAY, LONGEST_OF_A_SYNAPSE)),
)
