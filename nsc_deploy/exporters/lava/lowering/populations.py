"""Pass: from NIR nodes to populations. Weights, pools, Scale, Flatten, Delay and sums disappear into drives.

Requires: one Input of events, one Output fed by spikes alone, only nodes it knows, a neuron in every cycle.
Promises: drives and parameters of matching sizes, all numbers finite.
Exact, except that products of several weight matrices in a row are taken in float64 beforehand.

A graph as populations of spiking neurons and what drives each: no wires, only neurons and synapses.

What arrives at a node as a weighted sum of events, and what each wire makes of it.

Pass: drop populations whose spikes never reach the output, and synapses of weight zero between layers.

Requires: a valid population graph.
Promises: every population left is read by another one or by the output. Exact.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.lava.lowering.synapses import (
    CONVOLUTIONS,
    LARGEST_MATRIX,
    POOLS,
    Matrix,
    convolution_weights,
    dense_weights,
    most_synapses,
    pooling_weights,
)
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.operators.linear import delay_steps
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Lowered, Note

NEURONS = frozenset({"LIF", "IF", "CubaLIF", "Threshold"})
WIRES = frozenset({"Linear", "Affine", "Scale", "Flatten", "Delay", "Output"}) | CONVOLUTIONS | POOLS
WEIGHTED = frozenset({"Linear", "Affine"}) | CONVOLUTIONS
KNOWN = NEURONS | WIRES | {"Input"}


@dataclass(frozen=True, order=True)
class Tap:
    """The events of a source, a whole number of steps late.

    Attributes:
        source: name of the input or of a population.
        delay: steps.
    """

    source: str
    delay: int = 0

    def later(self, steps: int) -> "Tap":
        """The same events, further steps late."""
        return Tap(self.source, self.delay + steps)


Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Spiking neurons of one graph node, flattened.

    With x[t] = sum over the taps of `drive` and `recurrent` of weights @ events(tap)[t]:

        u[t] = (1 - leak_u) u[t-1] + x[t]         only with a synaptic current, else u = x
        v[t] = (1 - leak_v) v[t-1] + u[t] + bias + offset
        s[t] = v[t] > threshold, and v[t] = 0 where s[t]

    Attributes:
        name: of the graph node.
        drive: [size, size of the source] for each tap, gains folded in.
        recurrent: the same from populations of the same cycle; each tap is at least one step late.
        late: steps by which this population was moved back, together with everything that it reads.
        bias: [size], of the weights, added to v; 0 with a synaptic current.
        offset: [size], of the neurons themselves (v_leak), added to v.
        leak_v: [size] in 0..1; 1 means no memory.
        leak_u: [size], or None without a synaptic current.
        threshold: [size].
    """

    name: str
    drive: Mapping[Tap, Matrix]
    bias: Reals
    offset: Reals
    leak_v: Reals
    leak_u: Reals | None
    threshold: Reals
    recurrent: Mapping[Tap, Matrix] = field(default_factory=dict)
    late: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.threshold.size)


@dataclass(frozen=True)
class PopulationGraph:
    """A graph of populations.

    Attributes:
        input: name of the input.
        input_size: its number of event lines.
        populations: each after all sources of its `drive`.
        output: the tap that leaves the graph.
        dt: length of a step in seconds.
        cycles: names of the populations that drive each other (or themselves), once they are sorted out.
    """

    input: str
    input_size: int
    populations: tuple[Population, ...]
    output: Tap
    dt: float
    cycles: tuple[frozenset[str], ...] = ()

    def size(self, source: str) -> int:
        """Number of event lines of the input or of a population."""
        if source == self.input:
            return self.input_size
        return next(population.size for population in self.populations if population.name == source)


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

    def ensures(self, graph: object, /) -> str | None:
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
            hint="Put a spiking neuron into it, or run it on the host.",
        ) from error
    return [network.node(name) for name in order]


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
        """The signal without its bias, with every element late by its number of steps."""
        terms: dict[Tap, Matrix] = {}
        for tap, term in self.terms.items():
            for late in np.unique(steps):
                rows = term.at(steps == late)
                if rows.synapses:
                    _add(terms, tap.later(int(late)), rows)
        return Drive(terms, self.bias)


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
                hint="Move the bias into v_leak, or use LIF neurons.",
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
        hint="End the graph with a spiking neuron; a weighted sum of spikes belongs to the host.",
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


def used_lines(graph: PopulationGraph) -> dict[Tap, NDArray[Any]]:
    """For every tap in use, the indices of the source's lines that anything reads."""
    used: dict[Tap, NDArray[Any]] = {graph.output: np.ones(graph.size(graph.output.source), bool)}
    for population in graph.populations:
        for tap, weight in (*population.drive.items(), *population.recurrent.items()):
            read = weight.read_sources()
            used[tap] = used.get(tap, np.zeros_like(read)) | read
    return {tap: np.flatnonzero(lines) for tap, lines in used.items() if lines.any()}


SMALLER = "Use a smaller image, fewer channels or a stride, or put neurons between the two."


def events_of(node: Node) -> Drive:
    """The events that a node emits, as a signal."""
    size = int(np.prod(node.output_shape))
    return Drive({Tap(node.name): Matrix.identity(size)}, np.zeros(size))


def summed(drives: Sequence[Drive]) -> Drive:
    """The sum of signals."""
    terms: dict[Tap, Matrix] = {}
    for drive in drives:
        for tap, term in drive.terms.items():
            _add(terms, tap, term)
    return Drive(terms, np.sum([drive.bias for drive in drives], axis=0))


def through(node: Node, arriving: Drive, dt: float | None) -> Drive:
    """The signal behind a node that is no neuron.

    Raises:
        ExportError: it would have too many synapses, or a bias would start late.
    """
    if node.primitive in _WEIGHTS:
        return _weighted(node, arriving)
    if node.primitive == "Scale":
        return arriving.scaled(flat(node.parameters.scale))
    if node.primitive == "Delay":
        return late(node, arriving, delay_steps(node, dt).reshape(-1))
    return arriving


def late(node: Node, arriving: Drive, steps: NDArray[np.int64]) -> Drive:
    """The signal some steps later, for each element.

    Raises:
        ExportError: a bias in it would start late.
    """
    if arriving.bias.any() and steps.any():
        raise ExportError(
            "delays a signal that holds a bias",
            where=f"node '{node.name}'",
            hint="Put the delay in front of the node with the bias.",
        )
    return arriving.delayed(steps)


def _weighted(node: Node, arriving: Drive) -> Drive:
    _refuse_too_many(node, most_synapses(node))
    matrix = _WEIGHTS[node.primitive](node)
    for term in arriving.terms.values():
        _refuse_too_many(node, int(np.diff(term.stored.indptr).astype(np.int64)[matrix.source].sum()))
    bias = getattr(node.parameters, "bias", None)
    if bias is None:
        return arriving.through(matrix)
    channels = flat(bias)
    return arriving.through(matrix, np.repeat(channels, matrix.shape[0] // len(channels)))


def _refuse_too_many(node: Node, synapses: int) -> None:
    if synapses > LARGEST_MATRIX:
        raise ExportError(
            f"becomes up to {synapses:,} synapses, more than the {LARGEST_MATRIX:,} of one connection",
            where=f"node '{node.name}'",
            hint=SMALLER,
        )


def _add(terms: dict[Tap, Matrix], tap: Tap, matrix: Matrix) -> None:
    terms[tap] = terms[tap].plus(matrix) if tap in terms else matrix


def flat(values: Any) -> Reals:
    """An array of parameters as one row in float64."""
    return np.asarray(values, dtype=np.float64).reshape(-1)


_WEIGHTS: Mapping[str, Callable[[Node], Matrix]] = {
    "Linear": dense_weights,
    "Affine": dense_weights,
    "Conv1d": convolution_weights,
    "Conv2d": convolution_weights,
    "SumPool2d": pooling_weights,
    "AvgPool2d": pooling_weights,
}


class RemoveDead:
    """The pass."""

    name = "remove-dead"

    def requires(self, graph: PopulationGraph, /) -> None:
        """Nothing beyond the type."""

    def apply(self, graph: PopulationGraph, /) -> Lowered[PopulationGraph]:
        """Walk backwards from the output."""
        alive = _alive(graph)
        kept = tuple(
            replace(one, drive={tap: weight for tap, weight in one.drive.items() if weight.synapses})
            for one in graph.populations
            if one.name in alive
        )
        notes = tuple(
            Note(
                "removed",
                one.name,
                f"{counted(one.size, 'neuron')} removed: no spike of it reaches the output",
            )
            for one in graph.populations
            if one.name not in alive
        )
        return Lowered(replace(graph, populations=kept), notes)

    def ensures(self, graph: object, /) -> str | None:
        """A population that nothing reads."""
        if not isinstance(graph, PopulationGraph):
            return "no population graph"
        read = {tap.source for tap in used_lines(graph)}
        unread = [one.name for one in graph.populations if one.name not in read]
        return f"'{unread[0]}' is read by nothing" if unread else None


def _alive(graph: PopulationGraph) -> set[str]:
    """The output's source and every source it depends on; cycles make no difference."""
    sources = {
        one.name: {tap.source for tap, weight in one.drive.items() if weight.synapses}
        for one in graph.populations
    }
    alive: set[str] = set()
    open_names = [graph.output.source]
    while open_names:
        name = open_names.pop()
        if name not in alive:
            alive.add(name)
            open_names.extend(sources.get(name, ()))
    return alive
