"""What each kind of NIR node costs: operations of what arrives, constant costs, memory and its accesses.

The accesses follow the model that `operations` describes.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import nonzero_and_fan_out
from nsc_deploy.energy.counting.operations import Footprint, Integers, Kind, Pass
from nsc_deploy.graphs.connectivity import Convolution, matrix_fan_out
from nsc_deploy.graphs.network import Network, Node, Signal

_STATE_VARIABLES = {"LIF": 1, "IF": 1, "LI": 1, "I": 1, "CubaLIF": 2, "CubaLI": 2, "Threshold": 0}
UPDATED = frozenset(_STATE_VARIABLES)
_FREE = frozenset({"Input", "Output", "Flatten"})


@dataclass(frozen=True)
class InputCost:
    """What the values that arrive at a node cost.

    Attributes:
        kind: of operation, one for each synapse (or pooling window, or factor) of an input.
        fan_out: [*input_shape], how many of them each input has.
        dense: True where the input carries real values: then every one of them is charged, in every
            step; else only those that are not zero.
        windows: of a pool: each takes an addition less than values arrive in it.
    """

    kind: Kind
    fan_out: Integers
    dense: bool
    windows: Convolution | None = None

    @cached_property
    def uniform(self) -> int | None:
        """The fan-out of every input, if it is the same for all."""
        first = int(self.fan_out.flat[0])
        return first if bool((self.fan_out == first).all()) else None

    @cached_property
    def synapses(self) -> int:
        """The most operations one step can cost."""
        return int(self.fan_out.sum()) - (0 if self.windows is None else self.windows.outputs)

    def operations(self, values: NDArray[Any]) -> Integers:
        """What events cost in each step of each sample, [T, N, *input_shape] -> [T, N]."""
        operations = nonzero_and_fan_out(values, self.fan_out)[1]
        return operations if self.windows is None else operations - self._reached(values)

    def _reached(self, values: NDArray[Any]) -> Integers:
        """Windows in which anything arrives, [T, N]."""
        if self.windows is None:
            return np.zeros(values.shape[:2], np.int64)
        frames = (values != 0).reshape(-1, *values.shape[2:])
        padded = np.pad(frames, [(0, 0), (0, 0), *(axis.padding for axis in self.windows.axes)])
        sizes = tuple(axis.window for axis in self.windows.axes)
        places = (slice(None), slice(None), *(slice(None, None, axis.stride) for axis in self.windows.axes))
        there = sliding_window_view(padded, sizes, axis=(2, 3))[places].any(axis=(-2, -1))
        return np.asarray(there.reshape(*values.shape[:2], -1).sum(axis=-1, dtype=np.int64))


def input_cost(network: Network, node: Node) -> InputCost | None:
    """What a node charges for its inputs; None where they cost nothing by themselves."""
    arriving = network.arrives(node.name)
    dense = arriving is Signal.REAL
    if node.synaptic:
        kind = Kind.AC if arriving is Signal.EVENTS else Kind.MAC
        return InputCost(kind, _fan_out(node), dense)
    if node.primitive == "Scale":
        return InputCost(Kind.PRODUCT, np.ones(node.input_shape, dtype=np.int64), dense)
    if node.primitive in {"SumPool2d", "AvgPool2d"}:
        windows = Convolution.of(node)
        return InputCost(Kind.ADDITION, windows.fan_out(), dense, windows)
    if node.primitive not in UPDATED | _FREE | {"Delay"}:
        raise NotImplementedError(f"no rule says what a {node.primitive} costs")
    return None


def dense_synapses(node: Node) -> int:
    """Synapses of a node if no weight were zero."""
    if not node.synaptic:
        return 0
    if node.primitive in {"Linear", "Affine"}:
        return prod(node.parameters.weight.shape)
    form = Convolution.of(node)
    return replace(form, present=np.ones_like(form.present)).synapses


def constant_costs(node: Node) -> dict[Kind, int]:
    """What a node costs in every step for every sample, whatever arrives."""
    costs: dict[Kind, int] = {}
    if node.primitive in UPDATED:
        costs[Kind.NEURON_UPDATE] = prod(node.output_shape)
    if node.primitive in {"Affine", "Conv1d", "Conv2d"}:
        bias = node.parameters.bias
        costs[Kind.ADDITION] = int(np.count_nonzero(bias)) * (prod(node.output_shape) // bias.size)
    if node.primitive == "AvgPool2d":
        costs[Kind.PRODUCT] = prod(node.output_shape)
    return costs


def _fan_out(node: Node) -> Integers:
    if node.primitive in {"Linear", "Affine"}:
        return matrix_fan_out(node.parameters.weight)
    return Convolution.of(node).fan_out()


def state_variables(node: Node) -> int:
    """State variables one neuron of a node keeps from step to step."""
    return _STATE_VARIABLES.get(node.primitive, 0)


def reads_from(network: Network, target: Node, source: str) -> bool:
    """Whether a node fetches what arrives from a source as activations.

    What weights give to a neuron is in the neuron's own state already.
    """
    if target.primitive in _FREE or target.primitive == "Delay":
        return False
    return not (target.primitive in UPDATED and weighted(network, network.node(source)))


def weighted(network: Network, node: Node) -> bool:
    """Whether weights give what a node emits, seen through nodes that only reshape it.

    What else such a node takes in is added to the sums that weights have begun.
    """
    if node.primitive == "Flatten":
        return any(weighted(network, network.node(source)) for source in node.inputs)
    return node.synaptic


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


def single_pass(node: Node, inputs: InputCost | None, constant: dict[Kind, int]) -> Pass:
    """One pass of a node over values that arrive once, as a conventional layer would take them.

    Args:
        node: the node.
        inputs: what it charges for them.
        constant: what it costs in each step.
    """
    if node.primitive in UPDATED:
        return Pass(activation_writes=prod(node.output_shape))
    if node.primitive in _FREE or node.primitive == "Delay":
        return Pass()
    costs = Counter(constant)
    if inputs is not None:
        costs[inputs.kind] += inputs.synapses
    return Pass(
        macs=costs[Kind.AC] + costs[Kind.MAC],
        products=costs[Kind.PRODUCT],
        additions=costs[Kind.ADDITION],
        activation_reads=prod(node.input_shape),
        activation_writes=0 if node.synaptic else prod(node.output_shape),
    )
