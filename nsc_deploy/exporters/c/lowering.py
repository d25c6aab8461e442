"""From a graph to a program: Lava's integers without Lava's relays, layers and late rows; else `direct`.

A chain of integer layers hands events on by relays and moves cycles back, because a chip needs it. C needs
none of that: every relay is traced back to the neurons that it repeats, and its steps become the delay of
the connections that read it. Convolutions, which the chip holds unrolled, are found again. Nothing rounds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError, ExportError
from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.c.comparators import find_front_end
from nsc_deploy.exporters.c.direct import INTEGRATORS, extract, lowered
from nsc_deploy.exporters.c.program import (
    UNITY,
    Connection,
    Kernel,
    Output,
    Population,
    Program,
    unrolled,
    validate,
)
from nsc_deploy.exporters.lava.integers import (
    FIXED_POINT_BITS,
    WEIGHT_STEP,
    Group,
    IntegerLayer,
    IntegerNetwork,
    Role,
)
from nsc_deploy.exporters.lava.lowering.levelise import LateError
from nsc_deploy.exporters.lava.lowering.pipeline import lower
from nsc_deploy.exporters.lava.lowering.soft_resets import soft_resets
from nsc_deploy.exporters.lava.lowering.synapses import CONVOLUTIONS, POOLS, Matrix
from nsc_deploy.exporters.lava.rules import verdicts as lava_verdicts
from nsc_deploy.graphs.connectivity import kernel_axes, pairs
from nsc_deploy.graphs.network import SPIKING, Network, Node, Reset
from nsc_deploy.passes.base import Note
from nsc_deploy.passes.verdict import Status


@dataclass(frozen=True)
class Lowered:
    """A graph as a program, and how it got there.

    Attributes:
        program: the integers.
        notes: what each pass did, with the name of the pass.
    """

    program: Program
    notes: tuple[tuple[str, Note], ...]


def lower_to_program(
    network: Network,
    *,
    bits: int = 8,
    inputs: NDArray[np.uint8] | None = None,
    granularity: ScaleGranularity = ScaleGranularity.NEURON,
) -> Lowered:
    """Lower a graph that the rules of this target accepted.

    Args:
        network: the graph.
        bits: bits of a weight, 2..8.
        inputs: recorded events [steps, samples, *shape] to choose scales on, those behind comparators where
            samples come in; or None.
        granularity: whose scales must be alike; the places of a convolution always share one.

    Raises:
        ExportError: a limit that shows on the populations alone, or a range that cannot be proven; it names
            the node and a way out.
    """
    found = _lowered(network, bits, inputs, granularity)
    try:
        validate(found.program)
    except DataError as error:
        raise ExportError(
            error.problem, where=error.where, hint="Train with smaller weights and biases, or shorter delays."
        ) from error
    return found


def _lowered(
    network: Network, bits: int, inputs: NDArray[np.uint8] | None, granularity: ScaleGranularity
) -> Lowered:
    front_end = find_front_end(network)
    if front_end is not None:
        behind = _lowered(front_end.behind, bits, inputs, granularity)
        comparators = front_end.comparators
        note = Note(
            "comparators",
            comparators.name,
            f"events of {comparators.samples} samples of 16 bits, {comparators.fraction_bits} of them behind "
            "the point",
            exact=False,
            error=2.0 ** -(comparators.fraction_bits + 1),
        )
        program = replace(behind.program, front_end=comparators)
        return Lowered(program, (("front-end", note), *behind.notes))
    alike = behind_convolutions(network)
    subtracts = network.reset is Reset.SUBTRACT or bool(soft_resets(network))
    if subtracts or any(one.status is Status.REFUSED for one in lava_verdicts(network)):
        return _lower_directly(network, bits, inputs, granularity, alike)
    try:
        lowering = lower(network, bits=bits, inputs=inputs, granularity=granularity, alike=alike)
    except LateError:
        return _lower_directly(network, bits, inputs, granularity, alike)
    folded = next((step.graph for step in reversed(lowering.steps) if step.graph is not None), network)
    notes = tuple((step, note) for step, note in lowering.notes if note.kind not in _OF_CHIPS)
    return Lowered(program_of(lowering.network, folded), notes)


def _lower_directly(
    network: Network,
    bits: int,
    inputs: NDArray[np.uint8] | None,
    granularity: ScaleGranularity,
    alike: frozenset[str],
) -> Lowered:
    """What Lava refuses, or holds in neurons that subtract."""
    direct = extract(network)
    rounded, notes = lowered(direct, network, bits=bits, inputs=inputs, granularity=granularity, alike=alike)
    populations = [_with_kernels(one, direct.folded) for one in rounded]
    program = Program(
        input=direct.graph.input,
        inputs=direct.graph.input_size,
        populations=_in_order(populations),
        output=Output(direct.graph.output.source, direct.graph.output.delay, direct.graph.graded),
        dt=network.dt,
    )
    made = tuple((step, note) for step, note in direct.notes if note.kind not in _OF_CHIPS)
    return Lowered(program, (*made, *(("quantise", note) for note in notes if note.kind not in _OF_CHIPS)))


def _with_kernels(population: Population, network: Network) -> Population:
    """A population whose convolutions are found."""
    loops = {loop.threshold: name for name, loop in soft_resets(network).items()}
    node = network.node(loops.get(population.name, population.name))
    connections = (
        replace(one, kernel=found_kernel(one.weight, node, network.node(one.source), network))
        for one in population.connections
    )
    return replace(population, connections=tuple(connections))


_OF_CHIPS = frozenset({"relay", "delay-line", "late", "unrolled", "recurrent", "memoryless"})
"""Notes on what a chip needs and C does not."""


def behind_convolutions(network: Network) -> frozenset[str]:
    """Spiking nodes that a convolution or a pooling feeds: their places use the same weights."""
    shared, loops = CONVOLUTIONS | POOLS, soft_resets(network)
    return frozenset(
        loops[node.name].threshold if node.name in loops else node.name
        for node in network.nodes
        if node.primitive in SPIKING | INTEGRATORS
        and any(one.primitive in shared for name in node.inputs for one in _wires_before(name, network))
    )


def program_of(integers: IntegerNetwork, network: Network) -> Program:
    """The program of a chain of integer layers.

    Args:
        integers: valid (see `integers.validate`).
        network: the graph they were made from, its poolings and Scales folded; names the convolutions.
    """
    entrance = network.input_node
    before: Sequence[_Line] = [_Line(entrance.name, line, 0) for line in range(integers.inputs)]
    populations: list[Population] = []
    for layer in integers.layers:
        lines = _resolved(layer, before)
        populations += [
            _population(group, layer, before, lines, network)
            for group in layer.groups
            if group.role is Role.NEURON
        ]
        before = lines
    leaving, last = before[0], integers.layers[-1].groups[0]
    return Program(
        input=entrance.name,
        inputs=integers.inputs,
        populations=_in_order(populations),
        output=Output(leaving.signal, leaving.late - last.late),
        dt=network.dt,
    )


@dataclass(frozen=True)
class _Line:
    """What a row of a layer carries: a line of a signal, and how late in the time of the layers."""

    signal: str
    line: int
    late: int


def _resolved(layer: IntegerLayer, before: Sequence[_Line]) -> list[_Line]:
    """What each row of a layer carries."""
    found: list[_Line | None] = [None] * layer.neurons
    for group in layer.groups:
        if group.role is Role.NEURON:
            found[group.rows] = [_Line(group.node, line, group.late) for line in range(group.size)]
    for group in layer.groups:
        if group.role is not Role.NEURON:
            for row in range(group.start, group.start + group.size):
                found[row] = _repeated(row, layer, before, found)
    return [line for line in found if line is not None]


def _repeated(row: int, layer: IntegerLayer, before: Sequence[_Line], own: Sequence[_Line | None]) -> _Line:
    """What a relay repeats: it has one synapse, from the layer before or, a step later, from its own."""
    steps = int(layer.delay[row])
    forward = layer.weight.stored[[row]].indices
    if len(forward):
        one = before[int(forward[0])]
        return _Line(one.signal, one.line, one.late + steps)
    assert layer.recurrent is not None, "a relay has a source"
    source = own[int(layer.recurrent.stored[[row]].indices[0])]
    assert source is not None, "relays of a layer repeat its neurons"
    return _Line(source.signal, source.line, source.late + steps + 1)


def _population(
    group: Group, layer: IntegerLayer, before: Sequence[_Line], own: Sequence[_Line], network: Network
) -> Population:
    parts = [(layer.weight.of_targets(group.rows), before, 0)]
    if layer.recurrent is not None:
        parts.append((layer.recurrent.of_targets(group.rows), own, 1))
    keep_u = UNITY - 1 - layer.du[group.rows]
    scale = np.broadcast_to(np.asarray(group.scale, np.float64), group.size)
    return Population(
        name=group.node,
        connections=_connections(group, parts, network),
        shift=layer.weight_exp + FIXED_POINT_BITS + 1,
        keep_v=(UNITY - layer.dv[group.rows]).astype(np.int32),
        keep_u=keep_u.astype(np.int32) if keep_u.any() else None,
        bias=(layer.bias[group.rows] << layer.bias_exp[group.rows]).astype(np.int32),
        threshold=(layer.vth[group.rows] << FIXED_POINT_BITS).astype(np.int32),
        floor=np.zeros(group.size, np.int32),
        scale=scale * 2.0 ** (layer.weight_exp + FIXED_POINT_BITS),
    )


def _connections(
    group: Group, parts: Iterable[tuple[Matrix, Sequence[_Line], int]], network: Network
) -> tuple[Connection, ...]:
    """The synapses of a group, by what they read and how late."""
    entries: dict[tuple[str, int], list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]] = {}
    for weight, lines, step in parts:
        signal = np.array([one.signal for one in lines])[weight.source] if weight.synapses else np.array([])
        line = np.array([one.line for one in lines], np.int64)[weight.source]
        delay = np.array([one.late + step - group.late for one in lines], np.int64)[weight.source]
        for key in sorted(set(zip(signal.tolist(), delay.tolist(), strict=True))):
            here = (signal == key[0]) & (delay == key[1])
            values = weight.values[here] // WEIGHT_STEP
            entries.setdefault(key, []).append((weight.target[here], line[here], values))
    connections = []
    for (source, delay), found in sorted(entries.items()):
        target, line, values = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        shape = (group.size, int(np.prod(network.node(source).output_shape)))
        weights = Matrix.from_entries(shape, target, line, values.astype(np.int32))
        kernel = found_kernel(weights, network.node(group.node), network.node(source), network)
        connections.append(Connection(source, delay, weights, kernel))
    return tuple(connections)


def found_kernel(weights: Matrix, node: Node, source: Node, network: Network) -> Kernel | None:
    """The convolution that a connection is, where it is one with whole numbers for weights.

    Args:
        weights: [targets, sources] int32.
        node: whose neurons they drive.
        source: whose events they meet.
        network: where a convolution may stand between the two.
    """
    for name in node.inputs:
        for wire in _wires_before(name, network):
            if wire.primitive in CONVOLUTIONS and any(
                one.name == source.name for one in _ends_before(wire, network)
            ):
                kernel = _kernel(weights, wire)
                if kernel is not None:
                    return kernel
    return None


def _kernel(weights: Matrix, wire: Node) -> Kernel | None:
    """The weights in the form of a convolution, or None where no such kernel makes them."""
    parameters = wire.parameters
    axes = kernel_axes(parameters, wire.input_shape[1:])
    channels, per_group, *taps = parameters.weight.shape
    place, tap, position = pairs(axes)
    places, pixels = (int(np.prod([getattr(axis, of) for axis in axes])) for of in ("outputs", "inputs"))
    if weights.shape != (channels * places, per_group * parameters.groups * pixels):
        return None
    # The first pair of each tap shows its weight; whether all others agree shows when it is unrolled.
    used, first = np.unique(tap, return_index=True)
    channel = np.arange(channels)[:, None, None]
    line = np.arange(per_group)[None, :, None] + channel // (channels // parameters.groups) * per_group
    target, read = np.broadcast_arrays(channel * places + place[first], line * pixels + position[first])
    values = np.zeros((channels, per_group, int(np.prod(taps))), np.int32)
    values[:, :, used] = np.asarray(weights.stored[target.reshape(-1), read.reshape(-1)]).reshape(
        target.shape
    )
    kernel = Kernel(values.reshape(parameters.weight.shape), axes, parameters.groups)
    return kernel if unrolled(kernel, weights.shape[1]).equals(weights) else None


def _wires_before(name: str, network: Network) -> list[Node]:
    """A node and the nodes before it, through what only reshapes."""
    found, waiting = [], [name]
    while waiting:
        node = network.node(waiting.pop())
        found.append(node)
        if node.primitive in {"Flatten", "Scale", "Delay"}:
            waiting += node.inputs
    return found


def _ends_before(wire: Node, network: Network) -> list[Node]:
    return [one for name in wire.inputs for one in _wires_before(name, network)]


def _in_order(populations: Sequence[Population]) -> tuple[Population, ...]:
    """Each after those whose events it meets in the same step."""
    named = {one.name: one for one in populations}
    reads = {
        one.name: [
            connection.source
            for connection in one.connections
            if connection.delay == 0 and connection.source in named
        ]
        for one in populations
    }
    return tuple(named[name] for name in TopologicalSorter(reads).static_order())
