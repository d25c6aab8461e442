"""What Lava can take: one rule a concern, each a small function whose text becomes the user's error.

Which cycles Lava can take: spikes must go around, and the steps around each must agree.
"""

from collections.abc import Callable, Iterable

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.base import Status, Verdict
from nsc_deploy.exporters.lava.integers import DECAY_UNITY, MAX_DELAY
from nsc_deploy.exporters.lava.lowering.populations import KNOWN, NEURONS, SMALLER, WIRES
from nsc_deploy.exporters.lava.lowering.recurrence import (
    Bound,
    Disagreement,
    late_bias,
    least_lateness,
    too_few_steps,
)
from nsc_deploy.exporters.lava.lowering.synapses import LARGEST_MATRIX, most_synapses
from nsc_deploy.graphs.network import Network, Node, Reset, Signal
from nsc_deploy.graphs.operators.linear import delay_steps

Refusal = tuple[str, str]
Rule = Callable[[Node, Network], Refusal | None]
_BECOMES = {
    "Input": (Status.NATIVE, "a source of events"),
    "Output": (Status.NATIVE, "the spikes of the last layer"),
    "Linear": (Status.NATIVE, "synapses with 8-bit weights"),
    "Affine": (Status.NATIVE, "synapses with 8-bit weights and a bias of the neurons behind"),
    "LIF": (Status.NATIVE, "LIF neurons without synaptic current"),
    "CubaLIF": (Status.NATIVE, "LIF neurons with synaptic current"),
    "IF": (Status.NATIVE, "LIF neurons without decay"),
    "Threshold": (Status.SUBSTITUTED, "LIF neurons whose potential decays at once"),
    "Delay": (Status.SUBSTITUTED, "relay neurons with delayed synapses"),
    "Conv1d": (Status.SUBSTITUTED, "synapses with 8-bit weights, one for each use of a weight"),
    "Conv2d": (Status.SUBSTITUTED, "synapses with 8-bit weights, one for each use of a weight"),
    "SumPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "AvgPool2d": (Status.SUBSTITUTED, "folded into the weights"),
    "Scale": (Status.SUBSTITUTED, "folded into the weights"),
    "Flatten": (Status.SUBSTITUTED, "folded into the weights behind it"),
}


def verdicts(network: Network) -> tuple[Verdict, ...]:
    """A verdict on each node, in the order of the network."""
    return tuple(_verdict(node, network) for node in network.nodes)


def _verdict(node: Node, network: Network) -> Verdict:
    for rule in RULES:
        refusal = rule(node, network)
        if refusal is not None:
            return Verdict(node.name, node.primitive, Status.REFUSED, *refusal)
    status, reason = _BECOMES[node.primitive]
    return Verdict(node.name, node.primitive, status, reason)


def known_primitive(node: Node, network: Network) -> Refusal | None:
    """Only nodes that have a lowering."""
    if node.primitive in KNOWN:
        return None
    if node.primitive in {"LI", "CubaLI", "I"}:
        hint = "End the graph with the spiking layer before it and integrate on the host."
        return "an integrator without spikes sends nothing on Loihi", hint
    return f"Lava has no {node.primitive}", "Run this node on the host, or train without it."


def one_input_one_output(node: Node, network: Network) -> Refusal | None:
    """A chain has one end on each side."""
    ends = {"Input": network.input_nodes, "Output": network.output_nodes}.get(node.primitive, ())
    if len(ends) > 1:
        return f"is one of {len(ends)} {node.primitive} nodes, and one is wanted", "Merge them into one."
    return None


def event_input(node: Node, network: Network) -> Refusal | None:
    """Events in, since a real value has no place on the chip."""
    if node.primitive == "Input" and node.emits is not Signal.EVENTS:
        return (
            f"takes in {node.emits.value} values, and Loihi takes in spikes",
            "Turn them into events on the host (Affine and Threshold); --signal events if they are.",
        )
    return None


def spiking_output(node: Node, network: Network) -> Refusal | None:
    """The spikes of one node out."""
    if node.primitive != "Output":
        return None
    if len(node.inputs) > 1:
        return (
            f"sums the outputs of {len(node.inputs)} nodes, and spikes of one are wanted",
            "End the graph with one spiking neuron for each output; sum on the host.",
        )
    if network.arrives(node.name) is not Signal.EVENTS:
        return (
            "is fed with values that are not spikes",
            "End the graph with a spiking neuron; read out on the host.",
        )
    return None


def few_synapses(node: Node, network: Network) -> Refusal | None:
    """No more weights than a connection can be made of."""
    synapses = most_synapses(node)
    if synapses <= LARGEST_MATRIX:
        return None
    return f"becomes up to {synapses:,} synapses, more than the {LARGEST_MATRIX:,} of one connection", SMALLER


def reset_to_zero(node: Node, network: Network) -> Refusal | None:
    """The only reset Lava's LIF has."""
    if node.primitive not in NEURONS - {"Threshold"}:
        return None
    if network.reset is Reset.SUBTRACT:
        return "resets by subtraction, which no Lava process does", "Train with a reset to zero."
    if np.any(node.parameters.v_reset != 0):
        return (
            "resets to a value other than zero, which no Lava process does",
            "Shift the potentials to 0.",
        )
    return None


def firing_at_rest(node: Node, network: Network) -> Refusal | None:
    """Loihi's threshold has no sign."""
    if node.primitive in NEURONS - {"Threshold"} and np.any(node.parameters.v_threshold < 0):
        return "has a threshold below zero, and Loihi's has no sign", "Shift threshold and bias upwards."
    return None


def decay_in_range(node: Node, network: Network) -> Refusal | None:
    """A decay of 12 bits that is not lost in rounding, and a time step no longer than the time constant."""
    for name in ("tau", "tau_mem", "tau_syn"):
        tau = getattr(node.parameters, name, None)
        if tau is None or network.dt is None:
            continue
        share = network.dt / np.asarray(tau, dtype=np.float64)
        if (np.rint(np.minimum(share, 1.0) * DECAY_UNITY) < 1).any():
            return (
                f"has a {name} of {float(np.max(tau)):g} s: it decays by less than 1/8192 in a step",
                "Use an IF neuron, or a longer time step.",
            )
        if (share > 1 + 1e-9).any():
            return (
                f"has a {name} shorter than the time step of {network.dt:g} s",
                "Choose a shorter time step.",
            )
    return None


def no_bias_through_synapse(node: Node, network: Network) -> Refusal | None:
    """A bias in front of a CubaLIF is filtered by its synapse; Lava's bias is not."""
    source = bias_before(node.inputs, network) if node.primitive == "CubaLIF" else None
    if source is None:
        return None
    return (
        f"gets the bias of '{source}' through its synapse, and Lava adds a bias behind it",
        "Move the bias into v_leak, or use LIF neurons.",
    )


def no_delayed_bias(node: Node, network: Network) -> Refusal | None:
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
        "Move the bias into the weights that feed the cycle, or into v_leak.",
    )


def short_delay(node: Node, network: Network) -> Refusal | None:
    """Whole steps, and no more than a synapse can hold."""
    if node.primitive != "Delay":
        return None
    try:
        longest = int(delay_steps(node, network.dt).max(initial=0))
    except GraphError as error:
        return error.problem, error.hint or ""
    if longest > MAX_DELAY:
        return (
            f"delays by {longest} steps, a synapse by {MAX_DELAY} at most",
            "Shorten it, or use a longer time step.",
        )
    return None


def spiking_cycle(node: Node, network: Network) -> Refusal | None:
    """A neuron in every cycle."""
    component = _component(node.name, network)
    if not network.cyclic(component) or any(network.node(name).primitive in NEURONS for name in component):
        return None
    return (
        f"is part of a cycle without a spiking neuron ({', '.join(component)}), whose answer never ends",
        "Put a spiking neuron into it, or run it on the host.",
    )


def steps_agree(node: Node, network: Network) -> Refusal | None:
    """As many steps in a cycle as it has connections between neurons, and no bias that would start late."""
    if node.primitive not in NEURONS or not network.recurrent:
        return None
    late = _lateness(network)
    if isinstance(late, Disagreement):
        around = tuple(name for name in late.names if network.node(name).primitive in NEURONS)
        return too_few_steps(around, late.missing) if node.name in around else None
    return late_bias(late[node.name]) if late[node.name] and _starts_by_itself(node, network) else None


RULES: tuple[Rule, ...] = (
    known_primitive,
    spiking_cycle,
    steps_agree,
    one_input_one_output,
    event_input,
    spiking_output,
    few_synapses,
    reset_to_zero,
    firing_at_rest,
    decay_in_range,
    no_bias_through_synapse,
    no_delayed_bias,
    short_delay,
)


def bias_before(names: Iterable[str], network: Network) -> str | None:
    """The first of some nodes, or of the wires they read, that adds a bias, or None."""
    seen: set[str] = set()
    open_names = list(names)
    while open_names:
        before = network.node(open_names.pop())
        if before.name in seen or before.primitive not in WIRES:
            continue
        seen.add(before.name)
        if np.any(getattr(before.parameters, "bias", 0) != 0):
            return before.name
        open_names += before.inputs
    return None


def _component(name: str, network: Network) -> tuple[str, ...]:
    return next(group for group in network.components if name in group)


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
