"""The memory a node of a NIR graph needs and the accesses it makes, by the model of `traffic`."""

from math import prod

import numpy as np

from nsc_deploy.energy.counting.nir_rules import UPDATED, Meter
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.traffic import Footprint, Pass
from nsc_deploy.graphs.network import Network, Node, Signal

_VARIABLES = {"LIF": 1, "IF": 1, "LI": 1, "I": 1, "CubaLIF": 2, "CubaLI": 2, "Threshold": 0}
_FREE = frozenset({"Input", "Output", "Flatten"})


def state_variables(node: Node) -> int:
    """State variables one neuron of a node keeps from step to step."""
    return _VARIABLES.get(node.primitive, 0)


def origin(network: Network, name: str) -> Node:
    """The node that wrote what `name` gives out, seen through nodes that only reshape."""
    node = network.node(name)
    while node.primitive == "Flatten" and len(node.inputs) == 1:
        node = network.node(node.inputs[0])
    return node


def reads_from(network: Network, target: Node, source: str) -> bool:
    """Whether a node fetches what arrives from a source as activations.

    What weights give to a neuron is in the neuron's own state already.
    """
    if target.primitive in _FREE or target.primitive == "Delay":
        return False
    return not (target.primitive in UPDATED and origin(network, source).synaptic)


def writes_result(network: Network, node: Node) -> bool:
    """Whether a node puts its result into memory as activations."""
    if node.primitive in _FREE or node.primitive == "Delay":
        return False
    if not node.synaptic:
        return True
    accumulated = network.arrives(node.name) is not Signal.REAL
    return not accumulated and any(one.primitive not in UPDATED for one in _readers(network, node))


def drives(network: Network, node: Node) -> tuple[str, ...]:
    """The neurons that a node with weights feeds."""
    return tuple(one.name for one in _readers(network, node) if one.primitive in UPDATED)


def _readers(network: Network, node: Node) -> list[Node]:
    """Nodes that take in the output, seen through nodes that only reshape it."""
    found = []
    for one in network.successors(node.name):
        found += _readers(network, one) if one.primitive == "Flatten" else [one]
    return found


def footprint(network: Network, node: Node) -> Footprint:
    """The values a node keeps."""
    weights = states = 0
    if node.synaptic:
        bias = getattr(node.parameters, "bias", 0)
        weights = int(np.count_nonzero(node.parameters.weight) + np.count_nonzero(bias))
        states = prod(node.output_shape) if network.arrives(node.name) is not Signal.REAL else 0
    elif node.primitive == "Delay":
        states = _delayed(network, node)
    elif node.primitive == "Scale":
        weights = int(np.size(node.parameters.scale))
    else:
        states = state_variables(node) * prod(node.output_shape)
    arriving = 0 if node.primitive in _FREE | UPDATED else prod(node.input_shape)
    return Footprint(weights, states, arriving)


def _delayed(network: Network, node: Node) -> int:
    """Values on their way through a delay, one for each step of it."""
    steps = np.rint(np.asarray(node.parameters.delay) / network.step_seconds)
    return int(np.broadcast_to(steps, node.output_shape).sum())


def single_pass(node: Node, meter: Meter | None, constant: dict[Kind, int]) -> Pass:
    """One pass of a node over values that arrive once, as a conventional layer would take them.

    Args:
        node: the node.
        meter: of the node.
        constant: what it costs in each step.
    """
    if node.primitive in UPDATED:
        return Pass(activation_writes=prod(node.output_shape))
    if node.primitive in _FREE or node.primitive == "Delay":
        return Pass()
    met = {} if meter is None else {meter.kind: meter.synapses}
    return Pass(
        macs=met.get(Kind.AC, 0) + met.get(Kind.MAC, 0),
        products=constant.get(Kind.PRODUCT, 0) + met.get(Kind.PRODUCT, 0),
        additions=constant.get(Kind.ADDITION, 0) + met.get(Kind.ADDITION, 0),
        activation_reads=prod(node.input_shape),
        activation_writes=0 if node.synaptic else prod(node.output_shape),
    )
