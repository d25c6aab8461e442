"""Pass: from NIR nodes to populations. Weights, pools, Scale, Flatten, Delay and sums disappear into drives.

Requires: one Input of events, one Output fed by spikes alone, only nodes it knows, a neuron in every cycle.
Promises: drives and parameters of matching sizes, all numbers finite.
Exact, except that products of several weight matrices in a row are taken in float64 beforehand.
"""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import numpy as np

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.exporters.passes.drives import Drive, events_of, flat, late, summed, through
from nsc_deploy.exporters.passes.populations import Population, PopulationGraph, Reals, Tap
from nsc_deploy.exporters.passes.wire_weights import CONVOLUTIONS, POOLS
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.passes.base import Lowered, Note

NEURONS = frozenset({"LIF", "IF", "CubaLIF", "Threshold"})
WIRES = frozenset({"Linear", "Affine", "Scale", "Flatten", "Delay", "Output"}) | CONVOLUTIONS | POOLS
WEIGHTED = frozenset({"Linear", "Affine"}) | CONVOLUTIONS
KNOWN = NEURONS | WIRES | {"Input"}


class ExtractPopulations:
    """The pass."""

    name = "extract-populations"

    def requires(self, network: Network, /) -> None:
        """Known nodes, one event input, one output."""
        for node in network.nodes:
            if node.primitive not in KNOWN:
                raise ExportError(f"{node.primitive} is not lowered", where=f"node '{node.name}'")
        if network.arrives(network.input_node.name) is not Signal.EVENTS:
            raise ExportError("takes in real values", where=f"node '{network.input_node.name}'")

    def apply(self, network: Network, /) -> Lowered[PopulationGraph]:
        """Every neuron starts a tap; walk the wires from there, then see what arrives at the neurons."""
        drives = {node.name: events_of(node) for node in network.nodes if node.primitive not in WIRES}
        notes: list[Note] = []
        for node in wires_in_order(network):
            drives[node.name] = through(node, _arriving(node, drives, network), network.dt)
            notes.extend(_notes(node, network))
        populations = [
            population_of(node, _arriving(node, drives, network), network)
            for node in network.nodes
            if node.primitive in NEURONS
        ]
        entrance = network.input_node
        output = _output_tap(network.output_node, drives[network.output_node.name])
        size = int(np.prod(entrance.output_shape))
        graph = PopulationGraph(entrance.name, size, tuple(populations), output, network.step_seconds)
        return Lowered(graph, tuple(notes))

    def broken_promise(self, graph: object, /) -> str | None:
        """Sizes that do not fit, or numbers that are not finite."""
        if not isinstance(graph, PopulationGraph):
            return "no population graph"
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


def wires_in_order(network: Network) -> list[Node]:
    """The nodes that are neither inputs nor neurons, each after those it reads.

    Raises:
        ExportError: some of them form a cycle without a neuron.
    """
    names = {node.name for node in network.nodes if node.primitive in WIRES}
    reads = {name: [one for one in network.node(name).inputs if one in names] for name in names}
    try:
        order = list(TopologicalSorter(reads).static_order())
    except CycleError as error:
        around = error.args[1][:-1]
        raise ExportError(
            f"the cycle through {', '.join(sorted(around))} holds no spiking neuron: its answer never ends",
            where=f"node '{min(around)}'",
            remedy="Put a spiking neuron into it, or run it on the host.",
        ) from error
    return [network.node(name) for name in order]


def _arriving(node: Node, drives: Mapping[str, Drive], network: Network) -> Drive:
    """The sum of the inputs; what comes back in a cycle comes one step late."""
    size = int(np.prod(node.input_shape))
    back = np.ones(size, np.int64)
    return summed(
        [
            late(node, drives[source], back) if (source, node.name) in network.back_edges else drives[source]
            for source in node.inputs
        ]
    )


def population_of(node: Node, arriving: Drive, network: Network) -> Population:
    """The neurons of a node, in discrete time, with their gain folded into the drive.

    Raises:
        ExportError: a synaptic current would filter a bias.
    """
    size = int(np.prod(node.output_shape))
    parameters = node.parameters
    zeros = np.zeros(size)
    if node.primitive == "Threshold":
        threshold = _rounded(flat(parameters.threshold))
        return Population(node.name, arriving.terms, arriving.bias, zeros, zeros + 1.0, None, threshold)
    dt = network.step_seconds
    threshold = _rounded(flat(parameters.v_threshold))
    if node.primitive == "IF":
        driven = arriving.scaled(_rounded(flat(parameters.r) * dt))
        return Population(node.name, driven.terms, driven.bias, zeros, zeros, None, threshold)
    leak_v = np.minimum(dt / flat(parameters.tau if node.primitive == "LIF" else parameters.tau_mem), 1.0)
    offset = leak_v * flat(parameters.v_leak)
    gain = _rounded(flat(parameters.r) * leak_v)
    leak_u = None
    if node.primitive == "CubaLIF":
        if arriving.bias.any():
            raise ExportError(
                "gets a bias through its synapse, and the bias of a population acts behind it",
                where=f"node '{node.name}'",
                remedy="Move the bias into v_leak, or use LIF neurons.",
            )
        leak_u = np.minimum(dt / flat(parameters.tau_syn), 1.0)
        gain = gain * _rounded(flat(parameters.w_in) * leak_u)
    driven = arriving.scaled(gain)
    return Population(node.name, driven.terms, driven.bias, offset, leak_v, leak_u, threshold)


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
    if node.primitive in WEIGHTED and network.arrives(node.name) is Signal.REAL:
        text = "folded into the weights before it (the product of the two is taken in float64)"
        return [Note("folded", node.name, text)]
    if node.primitive in CONVOLUTIONS:
        return [
            Note("unrolled", node.name, f"{node.primitive} written as one synapse for each use of a weight")
        ]
    if node.primitive in POOLS:
        return [Note("folded", node.name, f"{node.primitive} folded into the weights behind it")]
    if node.primitive in {"Scale", "Flatten"}:
        return [Note("folded", node.name, f"{node.primitive} folded into the weights behind it")]
    return []


def _rounded(values: Reals) -> Reals:
    """A parameter as the simulator uses it: computed in float64, rounded to float32."""
    return values.astype(np.float32).astype(np.float64)
