"""What Lava can take: one rule a concern, listed in `RULES`; its text becomes the user's error.

Lowering relies on these rules and asserts what they promise. It refuses by itself only what shows on the
populations and on no node: delays that add up, products of weights that are too large, a bias beside
weights.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.lava.integers import DECAY_UNITY, MAX_DELAY
from nsc_deploy.exporters.lava.lowering.extract import KNOWN, NEURONS, WIRES
from nsc_deploy.exporters.lava.lowering.recurrence import Bound, Disagreement, least_lateness
from nsc_deploy.exporters.lava.lowering.soft_resets import potentials_leave, soft_resets
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX, most_synapses, too_many_synapses
from nsc_deploy.graphs.network import FLOAT_ROUNDING, RESETTING, Network, Node, Reset, Signal
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.io.text import counted
from nsc_deploy.passes.verdict import Refusal, Rule, Status, Verdict, judge

_SILENT = frozenset(PRIMITIVES) - NEURONS
_BECOMES = {
    "Input": (Status.NATIVE, "a source of events"),
    "Output": (Status.NATIVE, "the spikes of the last layer"),
    "Linear": (Status.NATIVE, "synapses with 8-bit weights"),
    "Affine": (Status.NATIVE, "synapses with 8-bit weights and a bias of the neurons behind"),
    "LIF": (Status.NATIVE, "LIF neurons without synaptic current"),
    "CubaLIF": (Status.NATIVE, "LIF neurons with synaptic current"),
    "IF": (Status.NATIVE, "LIF neurons without decay"),
    "I": (Status.SUBSTITUTED, "part of neurons that reset by subtraction"),
    "Threshold": (Status.SUBSTITUTED, "LIF neurons whose potential decays at once"),
    "Delay": (Status.SUBSTITUTED, "relay neurons with delayed synapses"),
    "Conv1d": (Status.SUBSTITUTED, "synapses with 8-bit weights, one for each use of a weight"),
    "Conv2d": (Status.SUBSTITUTED, "synapses with 8-bit weights, one for each use of a weight"),
    "SumPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "AvgPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "Scale": (Status.SUBSTITUTED, "folded into the weights"),
    "Flatten": (Status.SUBSTITUTED, "folded into the weights behind it"),
}


OWN_PROCESS = "neurons that reset by subtraction: SubtractiveLIF, a process of ours, for Lava has none"
_WRITTEN_OUT = "part of such neurons"


def verdicts(network: Network) -> tuple[Verdict, ...]:
    """A verdict on each node, in the order of the network."""
    ours = _of_our_process(network)

    def told(one: Verdict) -> Verdict:
        if one.node not in ours or one.status is Status.REFUSED:
            return one
        return replace(one, status=Status.SUBSTITUTED, reason=ours[one.node])

    return tuple(told(one) for one in judge(network, RULES, _BECOMES))


def _of_our_process(network: Network) -> dict[str, str]:
    """What becomes of the nodes that are, or are part of, neurons that subtract."""
    found = {node.name: OWN_PROCESS for node in network.nodes if node.primitive in RESETTING}
    found = found if network.reset is Reset.SUBTRACT else {}
    for loop in soft_resets(network).values():
        found |= {loop.threshold: OWN_PROCESS, loop.integrator: _WRITTEN_OUT, loop.reset: _WRITTEN_OUT}
    if potentials_leave(network) is not None:
        found[network.output_node.name] = "potentials of the last layer, from the second port of our process"
    return found


def every_node_has_a_lowering(node: Node, network: Network) -> Refusal | None:
    """Only primitives that become neurons or synapses."""
    if node.primitive in KNOWN or node.name in soft_resets(network):
        return None
    if node.primitive in {"LI", "CubaLI", "I"}:
        hint = "End the graph with the spiking layer before it and integrate on the host."
        return "an integrator without spikes sends nothing on Loihi", hint
    return f"Lava has no {node.primitive}", "Run this node on the host, or train without it."


def every_cycle_spikes(node: Node, network: Network) -> Refusal | None:
    """A neuron in every cycle."""
    around = _cycle_of_wires(node, network)
    if not around:
        return None
    return (
        f"is part of a cycle without a spiking neuron ({', '.join(around)}), whose answer never ends",
        "Put a spiking neuron into it, or run it on the host.",
    )


def every_connection_of_a_cycle_has_a_step(node: Node, network: Network) -> Refusal | None:
    """As many steps in a cycle as it has connections between neurons, and no bias that would start late."""
    if node.primitive not in NEURONS or not network.recurrent:
        return None
    late = _lateness(network)
    if isinstance(late, Disagreement):
        around = tuple(name for name in late.names if network.node(name).primitive in NEURONS)
        return _too_few_steps(around, late.missing) if node.name in around else None
    if not late[node.name] or not _starts_by_itself(node, network):
        return None
    return (
        f"comes to lie {counted(late[node.name], 'step')} late for a cycle, and Loihi's bias cannot start "
        "late",
        "Take out its bias (also v_leak, or a threshold below zero), or give every connection of the cycle a "
        "Delay of one step.",
    )


def there_is_one_input_and_one_output(node: Node, network: Network) -> Refusal | None:
    """A chain has one end on each side."""
    ends = {"Input": network.input_nodes, "Output": network.output_nodes}.get(node.primitive, ())
    if len(ends) > 1:
        unread = node.primitive == "Input" and not any(node.name in other.inputs for other in network.nodes)
        hint = "Nothing reads it: take it out." if unread else "Merge them into one."
        return f"is one of {len(ends)} {node.primitive} nodes, and one is wanted", hint
    return None


def events_enter(node: Node, network: Network) -> Refusal | None:
    """Events in, since a real value has no place on the chip."""
    if node.primitive == "Input" and node.emits is not Signal.EVENTS:
        return (
            f"takes in {node.emits.value} values, and Loihi takes in spikes",
            "Turn them into events on the host (Affine and Threshold); --signal events if they are.",
        )
    return None


def spikes_of_one_node_leave(node: Node, network: Network) -> Refusal | None:
    """The spikes of one node out, all of one step."""
    if node.primitive != "Output":
        return None
    if len(node.inputs) > 1:
        return (
            f"sums the outputs of {len(node.inputs)} nodes, and spikes of one are wanted",
            "End the graph with one spiking neuron for each output; sum on the host.",
        )
    if potentials_leave(network) is not None:
        return None
    if network.arrives(node.name) is not Signal.EVENTS:
        return (
            "is fed with values that are not spikes",
            "End the graph with a spiking neuron; read out on the host.",
        )
    if not _leaves_together(node, network):
        return (
            "is fed with spikes that are late by different numbers of steps",
            "Put the Delay in front of the last neurons, or delay on the host.",
        )
    return None


def synapses_of_a_node_fit(most: int) -> Rule:
    """No more weights than a connection can be made of."""

    def rule(node: Node, network: Network) -> Refusal | None:
        return too_many_synapses(most_synapses(node), most)

    return rule


def potentials_reset_to_zero_or_by_subtraction(node: Node, network: Network) -> Refusal | None:
    """Resets to a value of its own have no process, neither Lava's nor ours, which subtracts."""
    if node.primitive not in RESETTING:
        return None
    if np.any(node.parameters.v_reset != 0):
        return (
            "resets to a value other than zero, which no Lava process does",
            "Shift the potentials to 0.",
        )
    return None


def thresholds_are_not_negative(node: Node, network: Network) -> Refusal | None:
    """Loihi's threshold has no sign."""
    if node.primitive in RESETTING and np.any(node.parameters.v_threshold < 0):
        return "has a threshold below zero, and Loihi's has no sign", "Shift threshold and bias upwards."
    return None


def decays_survive_rounding(unity: int) -> Rule:
    """A decay, in shares of `unity`, that is not lost in rounding; a step no longer than the constant."""

    def rule(node: Node, network: Network) -> Refusal | None:
        for name in ("tau", "tau_mem", "tau_syn"):
            tau = getattr(node.parameters, name, None)
            if tau is None or network.dt is None:
                continue
            share = network.dt / np.asarray(tau, dtype=np.float64)
            if (np.rint(np.minimum(share, 1.0) * unity) < 1).any():
                return (
                    f"has a {name} of {float(np.max(tau)):g} s: "
                    f"it decays by less than 1/{2 * unity} in a step",
                    "Use an IF neuron, or a longer time step.",
                )
            if (share > 1 + FLOAT_ROUNDING).any():
                return (
                    f"has a {name} shorter than the time step of {network.dt:g} s",
                    "Choose a shorter time step.",
                )
        return None

    return rule


def no_bias_passes_a_synapse(node: Node, network: Network) -> Refusal | None:
    """A bias in front of a CubaLIF is filtered by its synapse; Lava's bias is not."""
    source = bias_before(node.inputs, network) if node.primitive == "CubaLIF" else None
    if source is None:
        return None
    return (
        f"gets the bias of '{source}' through its synapse, and Lava adds a bias behind it",
        "Train without it, or use LIF neurons. Moved into v_leak, which no synapse filters, it makes "
        "another neuron: train on there.",
    )


def no_bias_starts_late(node: Node, network: Network) -> Refusal | None:
    """A bias that starts late has no place: Lava's is there from the first step on."""
    source = bias_before(node.inputs, network) if node.primitive == "Delay" else None
    if source is not None and np.any(node.parameters.delay > 0):
        return f"delays the bias of '{source}'", "Put the delay in front of the node with the bias."
    back = [one for one in node.inputs if (one, node.name) in network.back_edges]
    source = bias_before(back, network)
    if source is None:
        return None
    return (
        f"gets the bias of '{source}' through a cycle, so one step late; that of Lava starts with the first",
        "Train with the bias in the layer in front, which acts from the first step on: another neuron until "
        "it has settled.",
    )


def delays_fit_a_synapse(most: int) -> Rule:
    """Whole steps, and no more than a synapse can hold."""

    def rule(node: Node, network: Network) -> Refusal | None:
        if node.primitive != "Delay":
            return None
        try:
            longest = int(delay_steps(node, network.dt).max(initial=0))
        except GraphError as error:
            return error.problem, error.hint or ""
        if longest > most:
            return (
                f"delays by {longest} steps, a synapse by {most} at most",
                "Shorten it, or use a longer time step.",
            )
        return None

    return rule


RULES: tuple[Rule, ...] = (
    every_node_has_a_lowering,
    every_cycle_spikes,
    every_connection_of_a_cycle_has_a_step,
    there_is_one_input_and_one_output,
    events_enter,
    spikes_of_one_node_leave,
    synapses_of_a_node_fit(LARGEST_MATRIX),
    potentials_reset_to_zero_or_by_subtraction,
    thresholds_are_not_negative,
    decays_survive_rounding(DECAY_UNITY),
    no_bias_passes_a_synapse,
    no_bias_starts_late,
    delays_fit_a_synapse(MAX_DELAY),
)


def bias_before(names: Iterable[str], network: Network) -> str | None:
    """The first of some nodes, or of the wires they read, that adds a bias, or None."""
    for name in _before(names, network, WIRES):
        if np.any(getattr(network.node(name).parameters, "bias", 0) != 0):
            return name
    return None


def _before(names: Iterable[str], network: Network, through: Collection[str]) -> tuple[str, ...]:
    """Some nodes and what they read, walking through these primitives alone, in the order in which met."""
    found: dict[str, None] = {}
    open_names = list(names)
    while open_names:
        node = network.node(open_names.pop())
        if node.name not in found and node.primitive in through:
            found[node.name] = None
            open_names += node.inputs
    return tuple(found)


def _component(name: str, network: Network) -> tuple[str, ...]:
    return next(group for group in network.components if name in group)


def _cycle_of_wires(node: Node, network: Network) -> tuple[str, ...]:
    """The nodes of a cycle without neurons through a node, in the order of the network; or none."""
    component = _component(node.name, network)
    if node.primitive in NEURONS or not network.cyclic(component):
        return ()
    before = _before(node.inputs, network, _SILENT)
    return tuple(
        name
        for name in component
        if name in before and node.name in _before(network.node(name).inputs, network, _SILENT)
    )


def _leaves_together(output: Node, network: Network) -> bool:
    """Whether all spikes that leave are equally late; Delays may make up for each other."""
    steps = np.zeros(int(np.prod(output.output_shape)), np.int64)
    for name in _before(output.inputs, network, WIRES):
        if network.node(name).primitive == "Delay":
            try:
                steps += delay_steps(network.node(name), network.dt).reshape(-1)
            except GraphError:
                return True  # refused at the Delay itself
    return bool((steps == steps[:1]).all())


def _too_few_steps(names: tuple[str, ...], missing: int) -> Refusal:
    steps, connections = counted(len(names) - missing, "step"), counted(len(names), "connection")
    return (
        f"lies in the cycle {' -> '.join((*names, names[0]))}, which has {steps} of delay, "
        f"and Loihi takes one for each of its {connections}",
        f"Put a Delay of {counted(missing, 'step')} more into it, or feed each population back onto itself "
        "alone.",
    )


def _lateness(network: Network) -> dict[str, int] | Disagreement:
    """As `CloseCycles` finds it, seen from the nodes; of delays that differ, the shortest counts."""
    start = {node.name: 0 for node in network.nodes if node.primitive not in WIRES}
    return least_lateness(
        start, [_bound(name, node, network) for node in network.nodes for name in node.inputs]
    )


def _bound(source: str, node: Node, network: Network) -> Bound:
    inside = node.primitive in NEURONS and source in _component(node.name, network)
    delay = int((source, node.name) in network.back_edges)
    if node.primitive == "Delay":
        delay += int(delay_steps(node, network.dt).min())
    return Bound(source, node.name, int(inside) - delay)


def _starts_by_itself(node: Node, network: Network) -> bool:
    parameters = node.parameters
    threshold = parameters.threshold if node.primitive == "Threshold" else parameters.v_threshold
    return bool(
        np.any(threshold < 0)
        or np.any(getattr(parameters, "v_leak", 0) != 0)
        or bias_before(node.inputs, network) is not None
    )
