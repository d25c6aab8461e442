"""Pass: from NIR nodes to populations. Weights, Scale, Flatten, Delay and sums disappear into drives.

A drive is what arrives at a node as a weighted sum of events; each wire between the neurons makes another
of it. It ensures drives of matching sizes, all numbers finite. Exact, except that products of several
weight matrices in a row are taken in float64 beforehand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.lowering.populations import Population, PopulationGraph, Tap
from nsc_deploy.exporters.lava.lowering.soft_resets import SoftReset, potentials_leave, soft_resets
from nsc_deploy.exporters.lava.lowering.synapses import (
    CONVOLUTIONS,
    DENSE,
    LARGEST_MATRIX,
    POOLS,
    Matrix,
    Reals,
    most_synapses,
    too_many_synapses,
    weights_of,
)
from nsc_deploy.graphs.network import SPIKING, Network, Node, Reset, Signal
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.passes.base import Note, Pass, Rewrite

NEURONS = SPIKING
WIRES = DENSE | CONVOLUTIONS | POOLS | {"Scale", "Flatten", "Delay", "Output"}
KNOWN = NEURONS | WIRES | {"Input"}


class ExtractPopulations(Pass[Network, PopulationGraph]):
    """The pass, for a graph that the rules of Lava accepted and that has no pooling left."""

    name = "extract-populations"

    def rewrite(self, network: Network, /) -> Rewrite[PopulationGraph]:
        """Every neuron starts a tap; walk the wires from there, then see what arrives at the neurons.

        Raises:
            ExportError: the weights of several nodes in a row are too many synapses together.
        """
        loops = soft_resets(network)
        written_out = {loop.threshold: loop for loop in loops.values()}
        drives = {node.name: events_of(node) for node in network.nodes if node.primitive not in WIRES}
        # Who reads the potential of neurons that leave is told apart below: `graded`.
        drives |= {name: drives[loop.threshold] for name, loop in loops.items()}
        notes = [_recognised(loop) for loop in loops.values()]
        resets = {loop.reset for loop in loops.values()}
        for node in _wires_in_order(network):
            drives[node.name] = _through(node, _arriving(node, drives, network), network.dt)
            notes.extend([] if node.name in resets else _notes(node, network))
        populations = [
            _subtracting(written_out[node.name], drives, network)
            if node.name in written_out
            else population_of(node, _arriving(node, drives, network), network)
            for node in network.nodes
            if node.primitive in NEURONS
        ]
        entrance = network.input_node
        output = _output_tap(drives[network.output_node.name])
        size = int(np.prod(entrance.output_shape))
        graded = potentials_leave(network) is not None
        graph = PopulationGraph(
            entrance.name,
            size,
            tuple(populations),
            output,
            network.step_seconds,
            graded=graded,
            delays=_delays(network),
        )
        return Rewrite(graph, tuple(notes))

    def ensures(self, graph: PopulationGraph, /) -> str | None:
        """Sizes that do not fit, or numbers that are not finite."""
        known = {graph.input} | {population.name for population in graph.populations}
        for population in graph.populations:
            for tap, weight in population.drive.items():
                if tap.source not in known:
                    return f"'{population.name}' has the unknown source '{tap.source}'"
                if weight.shape != (population.size, graph.size(tap.source)):
                    return f"'{population.name}' has a drive of shape {weight.shape}"
                if not np.isfinite(weight.values).all():
                    return f"'{population.name}' has weights that are not finite"
        return None if graph.output.source in known else "nothing drives the output"


@dataclass(frozen=True)
class Drive:
    """A real-valued signal: sum over taps of `terms[tap]` @ events(tap) + `bias` + what has begun of `late`.

    Attributes:
        terms: weights of each tap.
        bias: there from the first step on.
        late: the biases that passed a Delay or a cycle, by the step, counted from 0, in which they begin.
    """

    terms: Mapping[Tap, Matrix]
    bias: Reals
    late: Mapping[int, Reals] = field(default_factory=dict)

    def through(self, matrix: Matrix, bias: Reals | float = 0.0) -> "Drive":
        """The signal behind a weight matrix."""
        terms = {tap: matrix.after(term) for tap, term in self.terms.items()}
        late = {step: matrix.after_vector(one) for step, one in self.late.items()}
        return Drive(terms, matrix.after_vector(self.bias) + bias, late)

    def scaled(self, gain: Reals) -> "Drive":
        """The signal times a gain for each element."""
        terms = {tap: term.scaled(gain) for tap, term in self.terms.items()}
        return Drive(terms, gain * self.bias, {step: gain * one for step, one in self.late.items()})

    def delayed(self, steps: NDArray[np.int64]) -> "Drive":
        """The signal with every element late by its number of steps; a Delay holds zeros at first."""
        begins: dict[int, Reals] = {0: np.zeros_like(self.bias)}
        for start, constant in ((0, self.bias), *self.late.items()):
            for late in np.unique(steps[constant != 0]):
                begun = np.where(steps == late, constant, 0.0)
                begins[start + int(late)] = begins.get(start + int(late), 0.0) + begun
        terms: dict[Tap, Matrix] = {}
        for tap, term in self.terms.items():
            for late in np.unique(steps):
                rows = term.at(steps == late)
                if rows.synapses:
                    _add(terms, tap.later(int(late)), rows)
        return Drive(terms, begins.pop(0), begins)


def events_of(node: Node) -> Drive:
    """The events that a node emits, as a signal."""
    size = int(np.prod(node.output_shape))
    return Drive({Tap(node.name): Matrix.identity(size)}, np.zeros(size))


def population_of(node: Node, arriving: Drive, network: Network) -> Population:
    """The neurons of a node, in discrete time, with their gain folded into the drive."""
    size = int(np.prod(node.output_shape))
    parameters = node.parameters
    zeros = np.zeros(size)
    if node.primitive == "Threshold":
        threshold = _rounded(_flat(parameters.threshold))
        return Population(
            node.name,
            arriving.terms,
            arriving.bias,
            zeros,
            zeros + 1.0,
            None,
            threshold,
            constants=arriving.late,
        )
    dt = network.step_seconds
    threshold = _rounded(_flat(parameters.v_threshold))
    subtracts = network.reset is Reset.SUBTRACT
    if node.primitive == "IF":
        driven = arriving.scaled(_rounded(_flat(parameters.r) * dt))
        return Population(
            node.name,
            driven.terms,
            driven.bias,
            zeros,
            zeros,
            None,
            threshold,
            subtracts=subtracts,
            constants=driven.late,
        )
    leak_v = np.minimum(dt / _flat(parameters.tau if node.primitive == "LIF" else parameters.tau_mem), 1.0)
    offset = leak_v * _flat(parameters.v_leak)
    gain = _rounded(_flat(parameters.r) * leak_v)
    leak_u = None
    if node.primitive == "CubaLIF":
        leak_u = np.minimum(dt / _flat(parameters.tau_syn), 1.0)
        gain = gain * _rounded(_flat(parameters.w_in) * leak_u)
    driven = arriving.scaled(gain)
    bias, constants = driven.bias, driven.late
    if leak_u is not None and bias.any():
        bias, constants = zeros, {0: bias, **constants}
    return Population(
        node.name,
        driven.terms,
        bias,
        offset,
        leak_v,
        leak_u,
        threshold,
        subtracts=subtracts,
        constants=constants,
    )


def _subtracting(loop: SoftReset, drives: Mapping[str, Drive], network: Network) -> Population:
    """The neurons that an integrator, a threshold and a loop are."""
    integrator = network.node(loop.integrator)
    inputs = tuple(name for name in integrator.inputs if name != loop.reset)
    arriving = _arriving(replace(integrator, inputs=inputs), drives, network)
    zeros = np.zeros(int(np.prod(integrator.output_shape)))
    threshold = _rounded(_flat(network.node(loop.threshold).parameters.threshold))
    return Population(
        loop.threshold,
        arriving.terms,
        arriving.bias,
        zeros,
        zeros,
        None,
        threshold,
        subtracts=True,
        constants=arriving.late,
    )


def _wires_in_order(network: Network) -> list[Node]:
    """The nodes that are neither inputs nor neurons, each after those it reads: every cycle has a neuron."""
    wires = {node.name: node for node in network.nodes if node.primitive in WIRES}
    reads = {name: [one for one in node.inputs if one in wires] for name, node in wires.items()}
    return [wires[name] for name in TopologicalSorter(reads).static_order()]


def _delays(network: Network) -> dict[tuple[str, str], tuple[str, ...]]:
    """The Delay nodes on the slowest way from each source to each neuron, and to the output."""
    if not any(node.primitive == "Delay" for node in network.nodes):
        return {}
    ways: dict[str, dict[str, tuple[int, tuple[str, ...]]]] = {
        node.name: {node.name: (0, ())} for node in network.nodes if node.primitive not in WIRES
    }

    def slowest(node: Node) -> dict[str, tuple[int, tuple[str, ...]]]:
        found: dict[str, tuple[int, tuple[str, ...]]] = {}
        for name in node.inputs:
            for source, way in ways[name].items():
                found[source] = max(way, found.get(source, way))
        return found

    for node in _wires_in_order(network):
        late = int(delay_steps(node, network.dt).max(initial=0)) if node.primitive == "Delay" else 0
        own = (node.name,) if late else ()
        ways[node.name] = {
            source: (steps + late, names + own) for source, (steps, names) in slowest(node).items()
        }
    readers = {node.name: slowest(node) for node in network.nodes if node.primitive in NEURONS}
    readers[""] = ways[network.output_node.name]
    return {
        (source, reader): names
        for reader, arriving in readers.items()
        for source, (_, names) in arriving.items()
        if names
    }


def _arriving(node: Node, drives: Mapping[str, Drive], network: Network) -> Drive:
    """The sum of the inputs; what comes back in a cycle comes one step late."""
    back = np.ones(int(np.prod(node.input_shape)), np.int64)
    return _summed(
        [
            drives[source].delayed(back) if (source, node.name) in network.back_edges else drives[source]
            for source in node.inputs
        ]
    )


def _summed(drives: Sequence[Drive]) -> Drive:
    terms: dict[Tap, Matrix] = {}
    late: dict[int, Reals] = {}
    for drive in drives:
        for tap, term in drive.terms.items():
            _add(terms, tap, term)
        for step, constant in drive.late.items():
            late[step] = late.get(step, 0.0) + constant
    return Drive(terms, np.sum([drive.bias for drive in drives], axis=0), late)


def _add(terms: dict[Tap, Matrix], tap: Tap, matrix: Matrix) -> None:
    terms[tap] = terms[tap].plus(matrix) if tap in terms else matrix


def _through(node: Node, arriving: Drive, dt: float | None) -> Drive:
    """The signal behind a node that is no neuron."""
    assert node.primitive in WIRES - POOLS, f"{node.primitive} is no wire"
    if node.synaptic:
        return _weighted(node, arriving)
    if node.primitive == "Scale":
        return arriving.scaled(_flat(node.parameters.scale))
    if node.primitive == "Delay":
        return arriving.delayed(delay_steps(node, dt).reshape(-1))
    return arriving


def _weighted(node: Node, arriving: Drive) -> Drive:
    _refuse_too_many(node, most_synapses(node))
    matrix = weights_of(node)
    for term in arriving.terms.values():
        _refuse_too_many(node, int(np.diff(term.stored.indptr).astype(np.int64)[matrix.source].sum()))
    bias = getattr(node.parameters, "bias", None)
    if bias is None:
        return arriving.through(matrix)
    channels = _flat(bias)
    return arriving.through(matrix, np.repeat(channels, matrix.shape[0] // len(channels)))


def _refuse_too_many(node: Node, synapses: int) -> None:
    """A node has more synapses with a pooling or with other weights in it than the rules saw."""
    refusal = too_many_synapses(synapses, LARGEST_MATRIX)
    if refusal is not None:
        raise ExportError(refusal[0], where=f"node '{node.name}'", hint=refusal[1])


def _output_tap(drive: Drive) -> Tap:
    [(tap, term)] = drive.terms.items()
    assert term.equals(Matrix.identity(term.shape[1])), "rule: spikes of one node leave"
    return tap


def _recognised(loop: SoftReset) -> Note:
    text = f"with '{loop.integrator}' and '{loop.reset}' neurons that reset by subtraction"
    return Note("recognised", loop.threshold, text)


def _notes(node: Node, network: Network) -> list[Note]:
    if node.synaptic and network.arrives(node.name) is Signal.REAL:
        text = "folded into the weights before it (the product of the two is taken in float64)"
        return [Note("folded", node.name, text)]
    if node.primitive in CONVOLUTIONS:
        text = f"{node.primitive} written as one synapse for each use of a weight"
        return [Note("unrolled", node.name, text)]
    if node.primitive in {"Scale", "Flatten"}:
        return [Note("folded", node.name, f"{node.primitive} folded into the weights behind it")]
    return []


def _flat(values: Any) -> Reals:
    """An array of parameters as one row in float64."""
    return np.asarray(values, dtype=np.float64).reshape(-1)


def _rounded(values: Reals) -> Reals:
    """A parameter as the simulator uses it: computed in float64, rounded to float32."""
    return values.astype(np.float32).astype(np.float64)
