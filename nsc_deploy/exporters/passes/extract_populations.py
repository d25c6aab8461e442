"""Pass: from NIR nodes to populations. Linear, Affine, Scale, Flatten, Delay and sums disappear into drives.

Requires: no cycles, one Input of events, one Output fed by spikes alone, and only nodes it knows.
Promises: populations in order, drives and parameters of matching sizes, all numbers finite.
Exact, except that products of several weight matrices in a row are taken in float64 beforehand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.matrix import Matrix
from nsc_deploy.exporters.passes.base import Lowered, Note
from nsc_deploy.exporters.passes.populations import Population, PopulationGraph, Reals, Tap
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators.delay import delay_steps
from nsc_deploy.graphs.signal import Signal

NEURONS = frozenset({"LIF", "IF", "CubaLIF", "Threshold"})
WIRES = frozenset({"Linear", "Affine", "Scale", "Flatten", "Delay", "Output"})
KNOWN = NEURONS | WIRES | {"Input"}


@dataclass(frozen=True)
class Drive:
    """A real-valued signal as a sum over taps: sum of `terms[tap]` @ events(tap) + `bias`."""

    terms: Mapping[Tap, Matrix]
    bias: Reals

    def through(self, matrix: Matrix, bias: Reals | float = 0.0) -> "Drive":
        """The signal behind a weight matrix."""
        terms = {tap: matrix.after(term) for tap, term in self.terms.items()}
        return Drive(terms, matrix.after_vector(self.bias) + bias)

    def scaled(self, gain: Reals) -> "Drive":
        """The signal times a gain for each element."""
        return Drive({tap: term.scaled(gain) for tap, term in self.terms.items()}, gain * self.bias)

    def delayed(self, steps: NDArray[np.int64]) -> "Drive":
        """The signal with every element late by its number of steps."""
        terms: dict[Tap, Matrix] = {}
        for tap, term in self.terms.items():
            for late in np.unique(steps):
                rows = term.at(steps == late)
                if rows.synapses:
                    _add(terms, tap.later(int(late)), rows)
        return Drive(terms, self.bias)


def _add(terms: dict[Tap, Matrix], tap: Tap, matrix: Matrix) -> None:
    terms[tap] = terms[tap].plus(matrix) if tap in terms else matrix


class ExtractPopulations:
    """The pass."""

    name = "extract-populations"

    def requires(self, network: Network, /) -> None:
        """No cycles, known nodes, one event input, one output."""
        for node in network.nodes:
            if node.primitive not in KNOWN:
                raise ExportError(f"{node.primitive} is not lowered", where=f"node '{node.name}'")
        if network.recurrent:
            raise ExportError("the graph has a cycle")
        if network.arrives(network.input_node.name) is not Signal.EVENTS:
            raise ExportError("takes in real values", where=f"node '{network.input_node.name}'")

    def apply(self, network: Network, /) -> Lowered[PopulationGraph]:
        """Walk the nodes in order, carrying drives; a neuron node ends a drive and starts a tap."""
        drives: dict[str, Drive] = {}
        populations: list[Population] = []
        notes: list[Note] = []
        for node in network.nodes:
            arriving = _sum([drives[source] for source in node.inputs]) if node.inputs else None
            if node.primitive in NEURONS and arriving is not None:
                populations.append(population_of(node, arriving, network))
            if arriving is None or node.primitive in NEURONS:
                drives[node.name] = _events_of(node)
            else:
                drives[node.name] = _through(node, arriving, network)
                notes.extend(_notes(node, network))
        entrance = network.input_node
        output = _output_tap(network.output_node, drives[network.output_node.name])
        size = int(np.prod(entrance.output_shape))
        graph = PopulationGraph(entrance.name, size, tuple(populations), output, network.step_seconds)
        return Lowered(graph, tuple(notes))

    def broken_promise(self, graph: object, /) -> str | None:
        """Sizes that do not fit, or numbers that are not finite."""
        if not isinstance(graph, PopulationGraph):
            return "no population graph"
        seen = {graph.input}
        for population in graph.populations:
            for tap, weight in population.drive.items():
                if tap.source not in seen:
                    return f"'{population.name}' comes before its source '{tap.source}'"
                if weight.shape != (population.size, graph.size(tap.source)):
                    return f"'{population.name}' has a drive of shape {weight.shape}"
                if not np.isfinite(weight.values).all():
                    return f"'{population.name}' has weights that are not finite"
            seen.add(population.name)
        return None if graph.output.source in seen else "nothing drives the output"


def population_of(node: Node, arriving: Drive, network: Network) -> Population:
    """The neurons of a node, in discrete time, with their gain folded into the drive.

    Raises:
        ExportError: a synaptic current would filter a bias.
    """
    size = int(np.prod(node.output_shape))
    parameters = node.parameters
    zeros = np.zeros(size)
    if node.primitive == "Threshold":
        threshold = _rounded(_flat(parameters.threshold))
        return Population(node.name, arriving.terms, arriving.bias, zeros, zeros + 1.0, None, threshold)
    dt = network.step_seconds
    threshold = _rounded(_flat(parameters.v_threshold))
    if node.primitive == "IF":
        driven = arriving.scaled(_rounded(_flat(parameters.r) * dt))
        return Population(node.name, driven.terms, driven.bias, zeros, zeros, None, threshold)
    leak_v = np.minimum(dt / _flat(parameters.tau if node.primitive == "LIF" else parameters.tau_mem), 1.0)
    offset = leak_v * _flat(parameters.v_leak)
    gain = _rounded(_flat(parameters.r) * leak_v)
    leak_u = None
    if node.primitive == "CubaLIF":
        if arriving.bias.any():
            raise ExportError(
                "gets a bias through its synapse, and the bias of a population acts behind it",
                where=f"node '{node.name}'",
                remedy="Move the bias into v_leak, or use LIF neurons.",
            )
        leak_u = np.minimum(dt / _flat(parameters.tau_syn), 1.0)
        gain = gain * _rounded(_flat(parameters.w_in) * leak_u)
    driven = arriving.scaled(gain)
    return Population(node.name, driven.terms, driven.bias, offset, leak_v, leak_u, threshold)


def _through(node: Node, arriving: Drive, network: Network) -> Drive:
    if node.primitive == "Linear":
        return arriving.through(Matrix.of(node.parameters.weight.astype(np.float64)))
    if node.primitive == "Affine":
        weight = Matrix.of(node.parameters.weight.astype(np.float64))
        return arriving.through(weight, _flat(node.parameters.bias))
    if node.primitive == "Scale":
        return arriving.scaled(_flat(node.parameters.scale))
    if node.primitive == "Delay":
        steps = delay_steps(node, network.dt).reshape(-1)
        if arriving.bias.any() and steps.any():
            raise ExportError(
                "delays a signal that holds a bias",
                where=f"node '{node.name}'",
                remedy="Put the delay in front of the Affine node.",
            )
        return arriving.delayed(steps)
    return arriving


def _events_of(node: Node) -> Drive:
    size = int(np.prod(node.output_shape))
    return Drive({Tap(node.name): Matrix.identity(size)}, np.zeros(size))


def _sum(drives: list[Drive]) -> Drive:
    terms: dict[Tap, Matrix] = {}
    for drive in drives:
        for tap, term in drive.terms.items():
            _add(terms, tap, term)
    return Drive(terms, np.sum([drive.bias for drive in drives], axis=0))


def _output_tap(node: Node, drive: Drive) -> Tap:
    if len(drive.terms) == 1 and not drive.bias.any():
        (tap, term), *_ = drive.terms.items()
        if term.equals(Matrix.identity(term.shape[1])):
            return tap
    raise ExportError(
        "is not fed by the spikes of exactly one node",
        where=f"node '{node.name}'",
        remedy="End the graph with a spiking neuron; a weighted sum of spikes belongs to the host.",
    )


def _notes(node: Node, network: Network) -> list[Note]:
    if node.primitive in {"Linear", "Affine"} and network.arrives(node.name) is Signal.REAL:
        text = "folded into the weights before it (the product of the two is taken in float64)"
        return [Note("folded", node.name, text)]
    if node.primitive in {"Scale", "Flatten"}:
        return [Note("folded", node.name, f"{node.primitive} folded into the weights behind it")]
    return []


def _flat(values: Any) -> Reals:
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _rounded(values: Reals) -> Reals:
    """A parameter as the simulator uses it: computed in float64, rounded to float32."""
    return values.astype(np.float32).astype(np.float64)
