"""Which cycles Lava can take: spikes must go around, and the steps around each must agree."""

from collections.abc import Iterable

import numpy as np

from nsc_deploy.exporters.lava.lowering.populations import NEURONS, WIRES
from nsc_deploy.exporters.lava.lowering.recurrence import (
    Bound,
    Disagreement,
    late_bias,
    least_lateness,
    too_few_steps,
)
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators.linear import delay_steps

Refusal = tuple[str, str]


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
