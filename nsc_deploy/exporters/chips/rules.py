"""What a chip says about each node of a graph: one rule a concern, each text becomes the user's."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.base import Status, Verdict
from nsc_deploy.exporters.chips.chip import Chip
from nsc_deploy.exporters.chips.projections import Obstacle, Projection, ProjectionGraph
from nsc_deploy.graphs.network import FLOAT_ROUNDING, RESETTING, SPIKING, Network, Node, Signal
from nsc_deploy.graphs.operators.linear import delay_steps

Refusal = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """A graph before a chip.

    Attributes:
        network: the graph.
        chip: the chip.
        graph: as populations and projections; None where an obstacle was in the way.
        obstacles: what stands in the way of the mapping.
    """

    network: Network
    chip: Chip
    graph: ProjectionGraph | None
    obstacles: tuple[Obstacle, ...]

    @cached_property
    def components(self) -> dict[str, tuple[str, ...]]:
        """For each node the nodes of its cycle, or itself alone."""
        return {name: group for group in self.network.components for name in group}

    @cached_property
    def leaving(self) -> frozenset[str]:
        """The Outputs, and the nodes between them and the last neurons."""
        found: set[str] = set()
        waiting = [node.name for node in self.network.output_nodes]
        while waiting:
            node = self.network.node(waiting.pop())
            if node.name not in found and node.primitive not in SPIKING:
                found.add(node.name)
                waiting += node.inputs
        return frozenset(found)

    @cached_property
    def passing(self) -> dict[str, list[Projection]]:
        """For each node the projections that lead through it."""
        found: dict[str, list[Projection]] = {}
        for one in () if self.graph is None else self.graph.projections:
            for name in one.through:
                found.setdefault(name, []).append(one)
        return found


Rule = Callable[[Node, Case], Refusal | None]


def verdicts(case: Case) -> tuple[Verdict, ...]:
    """A verdict on each node, in the order of the graph."""
    return tuple(_verdict(node, case) for node in case.network.nodes)


def _verdict(node: Node, case: Case) -> Verdict:
    for rule in RULES:
        refusal = rule(node, case)
        if refusal is not None:
            return Verdict(node.name, node.primitive, Status.REFUSED, *refusal)
    resets = case.chip.neurons.resets
    if _resets_otherwise(node, case) and resets.others is Status.NOT_PUBLISHED:
        return Verdict(node.name, node.primitive, resets.others, *_reset_unlike(case))
    support = case.chip.nodes[node.primitive]
    rounded = _decay_rounding(node, case)
    if rounded is not None:
        return Verdict(node.name, node.primitive, Status.SUBSTITUTED, f"{support.becomes}: {rounded}")
    return Verdict(node.name, node.primitive, Status(support.status), support.becomes)


def known_primitive(node: Node, case: Case) -> Refusal | None:
    """Only nodes that have a place on the chip."""
    if node.primitive in case.chip.nodes:
        return None
    if node.primitive in case.chip.refused:
        known = case.chip.refused[node.primitive]
        return known.reason, known.hint
    return f"{case.chip.title} has no {node.primitive}", "Run this node on the host, or train without it."


def acyclic(node: Node, case: Case) -> Refusal | None:
    """No cycles where the chip has none."""
    component = case.components[node.name]
    if case.chip.synapses.recurrence.value or not case.network.cyclic(component):
        return None
    names = ", ".join(component)
    return (
        f"is part of a cycle ({names}), which the chip does not have",
        "Train without the recurrent connection.",
    )


def event_input(node: Node, case: Case) -> Refusal | None:
    """Events in, since a real value has no place on the chip."""
    if node.primitive == "Input" and node.emits is not Signal.EVENTS:
        return (
            f"takes in {node.emits.value} values, and the chip takes in events",
            "Turn them into events on the host (Affine and Threshold); --signal events if they are.",
        )
    return None


def spiking_output(node: Node, case: Case) -> Refusal | None:
    """Spikes out."""
    if node.primitive == "Output" and any(
        case.network.node(name).emits is not Signal.EVENTS for name in node.inputs
    ):
        return (
            "is fed with values that are not spikes",
            "End the graph with a spiking neuron; read out on the host.",
        )
    return None


def spikes_of_one_node_leave(node: Node, case: Case) -> Refusal | None:
    """Nothing on the chip adds up spikes of several nodes that go to the host."""
    if node.name not in case.leaving or len(node.inputs) < 2:
        return None
    return (
        f"sums the outputs of {len(node.inputs)} nodes, and no neuron of the chip lies behind it",
        "End the graph with one spiking neuron for each output; sum on the host.",
    )


def delays_reach_synapses(node: Node, case: Case) -> Refusal | None:
    """Synapses delay; on the way to the host there are none."""
    if node.primitive != "Delay" or node.name not in case.leaving:
        return None
    try:
        late = np.any(delay_steps(node, case.network.dt))
    except GraphError as error:
        return error.problem, error.hint or "Choose another delay."
    if not late:
        return None
    return (
        "delays spikes that leave the chip, and no synapse lies behind it",
        "Put the Delay in front of the last neurons, or delay on the host.",
    )


def reset_known(node: Node, case: Case) -> Refusal | None:
    """A reset the chip's neurons have."""
    if node.primitive not in RESETTING or case.network.reset is None:
        return None
    if _resets_otherwise(node, case) and case.chip.neurons.resets.others is Status.REFUSED:
        return _reset_unlike(case)
    if np.any(node.parameters.v_reset != 0):
        return "resets to a value other than zero", "Shift the potentials so that the reset goes to 0."
    return None


def _resets_otherwise(node: Node, case: Case) -> bool:
    """Whether a node resets as none is published to."""
    return node.primitive in RESETTING and case.network.reset not in {
        None,
        *case.chip.neurons.resets.values,
    }


def _reset_unlike(case: Case) -> Refusal:
    """How the graph resets and how the chip does, with the note of the chip's file."""
    resets, wanted = case.chip.neurons.resets, case.network.reset
    names = " or ".join(f"'{one.value}'" for one in resets.values)
    known = "the chip" if resets.others is Status.REFUSED else "what is published of the chip"
    note = f"{resets.note[:1].upper()}{resets.note[1:]}. " if resets.note else ""
    return f"resets by '{wanted}', and {known} by {names}", f"{note}Train with reset {names}."


def threshold_above_rest(node: Node, case: Case) -> Refusal | None:
    """Thresholds have no sign."""
    if node.primitive in RESETTING and np.any(node.parameters.v_threshold < 0):
        return "has a threshold below zero, and thresholds have no sign", "Shift threshold and bias upwards."
    return None


def decay_known(node: Node, case: Case) -> Refusal | None:
    """A decay the chip can do."""
    for name, share in _leaks(node, case.network):
        refusal = _decay_refusal(name, share, case)
        if refusal is not None:
            return refusal
    return None


def _decay_refusal(name: str, share: Any, case: Case) -> Refusal | None:
    decay = case.chip.neurons.decay
    if decay.form == "none":
        return f"has a {name}, and neurons of the chip do not decay", "Use IF neurons."
    if np.any(share > 1 + FLOAT_ROUNDING):
        return f"has a {name} shorter than the time step", "Choose a shorter time step."
    if decay.form == "fraction" and np.any(np.rint(share * 2.0 ** (decay.bits or 0)) < 1):
        return (
            f"has a {name} that decays by less than 1/{2 ** ((decay.bits or 0) + 1)} in a step: none at all",
            "Use an IF neuron, or a longer time step.",
        )
    if decay.form == "power-of-two" and np.any(_halvings(share) < 1):
        if np.all(share <= 1 - FLOAT_ROUNDING):
            return (
                f"has a {name} that rounds to a single step, in which everything decays",
                f"Train with a {name} of more than 1.42 steps.",
            )
        return f"has a {name} no longer than a step", f"Train with a {name} longer than the step."
    return None


def _decay_rounding(node: Node, case: Case) -> str | None:
    """How far time constants are from powers of two, where the chip rounds them so."""
    if case.chip.neurons.decay.form != "power-of-two":
        return None
    texts = []
    for name, share in _leaks(node, case.network):
        error = float(np.max(np.abs(2.0 ** _halvings(share) * share - 1)))
        if error > 1e-6:
            texts.append(f"{name} changes by up to {100 * error:.1f} %")
    return ", ".join(texts) or None


def _halvings(share: Any) -> Any:
    """The nearest power of two to a time constant in steps: its exponent."""
    return np.rint(-np.log2(share))


def _leaks(node: Node, network: Network) -> list[tuple[str, Any]]:
    """Names of the time constants of a neuron, and the part of its value it loses in a step."""
    names = {"LIF": ("tau",), "CubaLIF": ("tau_mem", "tau_syn")}.get(node.primitive, ())
    return [
        (name, network.step_seconds / np.asarray(getattr(node.parameters, name), dtype=np.float64))
        for name in names
    ]


def bias_behind_synapse(node: Node, case: Case) -> Refusal | None:
    """A bias before a synaptic current is filtered by it in NIR; on the chips it comes behind."""
    if node.primitive != "CubaLIF" or case.graph is None:
        return None
    for one in case.graph.into(node.name):
        biased = [name for name in one.through if _biased(case.network.node(name))]
        if biased:
            return (
                f"gets the bias of '{biased[0]}' through its synapse, and the chip adds a bias behind it",
                "Train without it. Moved into v_leak, which no synapse filters, it makes another neuron: "
                "train on there.",
            )
    return None


def bias_from_the_start(node: Node, case: Case) -> Refusal | None:
    """A delayed bias would start late; on the chips it is there from the first step on."""
    if node.primitive != "Delay" or case.graph is None or not np.any(delay_steps(node, case.network.dt)):
        return None
    for one in case.passing.get(node.name, ()):
        before = one.through[: one.through.index(node.name)]
        biased = [name for name in before if _biased(case.network.node(name))]
        if biased:
            return f"delays the bias of '{biased[0]}'", f"Put the delay in front of '{biased[0]}'."
    return None


def bias_past_no_back_edge(node: Node, case: Case) -> Refusal | None:
    """A bias that a back edge carries would start one step late likewise."""
    if case.graph is None or not _biased(node):
        return None
    for one in case.passing.get(node.name, ()):
        behind = (*one.through[one.through.index(node.name) :], one.target)
        late = next((edge for edge in pairwise(behind) if edge in case.network.back_edges), None)
        if late is not None:
            return (
                f"has a bias that reaches '{late[1]}' through a cycle, so one step late; that of the chip "
                "starts with the first",
                "Train with the bias in the layer in front, which acts from the first step on: another "
                "neuron until it has settled.",
            )
    return None


def _biased(node: Node) -> bool:
    return bool(np.any(getattr(node.parameters, "bias", 0)))


def no_obstacle(node: Node, case: Case) -> Refusal | None:
    """Nothing in the way of the mapping."""
    return next(((one.reason, one.hint) for one in case.obstacles if one.node == node.name), None)


RULES: tuple[Rule, ...] = (
    known_primitive,
    acyclic,
    event_input,
    spiking_output,
    spikes_of_one_node_leave,
    delays_reach_synapses,
    reset_known,
    threshold_above_rest,
    decay_known,
    no_obstacle,
    bias_behind_synapse,
    bias_from_the_start,
    bias_past_no_back_edge,
)
