"""From a graph that Lava refuses to a program: what a chip cannot do and C can.

Potentials that reset by subtraction or to a value of their own, thresholds below zero, cycles with fewer
steps than connections, integrators and weights at the end. Populations are found by the passes that Lava's
lowering begins with, and rounded by its rules, each with a weight exponent of its own; there are no levels
and no relays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.base import ScaleGranularity
from nsc_deploy.exporters.c.emulator import PopulationTrace, clipped_in, emulate
from nsc_deploy.exporters.c.program import (
    STATE_LIMIT,
    UNITY,
    Connection,
    Constant,
    Output,
    Population,
    Program,
)
from nsc_deploy.exporters.lava.integers import FIXED_POINT_BITS, WEIGHT_STEP, IntegerLayer
from nsc_deploy.exporters.lava.lowering.extract import ExtractPopulations
from nsc_deploy.exporters.lava.lowering.populations import Population as Neurons
from nsc_deploy.exporters.lava.lowering.populations import PopulationGraph, RemoveDead
from nsc_deploy.exporters.lava.lowering.quantise import FINEST_WEIGHT_EXP, delayed, notes_on
from nsc_deploy.exporters.lava.lowering.scales import (
    HEADROOM,
    UNLEAKED_STEPS,
    Rounded,
    best,
    candidates,
    common_scale,
    exponent_within,
    floored,
    largest_scales,
    leaks,
    memoryless,
    potential_room,
    room_for,
    round_to,
)
from nsc_deploy.exporters.lava.lowering.soft_resets import potentials_leave, soft_resets
from nsc_deploy.exporters.lava.lowering.synapses import Matrix, side_by_side
from nsc_deploy.exporters.quantised import clipping_note
from nsc_deploy.graphs.network import RESETTING, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import normalise
from nsc_deploy.graphs.rewrite import reparametrised, settled, with_nodes
from nsc_deploy.graphs.simulate import simulate
from nsc_deploy.passes.base import Note, run_passes
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.fold_pooling import FoldPooling, PoolingToConvolution
from nsc_deploy.passes.fold_scales import FoldScales

INTEGRATORS = frozenset({"LI", "CubaLI", "I"})
PIPELINE = (
    DropDeadNodes(),
    FoldScales(exactly=False),
    FoldPooling(exactly=False),
    PoolingToConvolution(),
    ExtractPopulations(),
    RemoveDead(),
)
Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Direct:
    """What the passes made of a graph.

    Attributes:
        graph: its populations; those of `integrators` fire in it and do not in truth.
        folded: the graph they were taken from, its poolings and Scales folded.
        notes: what each pass did, with its name.
        integrators: populations that give out their potential.
    """

    graph: PopulationGraph
    folded: Network
    notes: tuple[tuple[str, Note], ...]
    integrators: frozenset[str]


def extract(network: Network) -> Direct:
    """The populations of a graph that the rules of C accepted.

    Raises:
        ExportError: the weights of several nodes in a row are too many synapses together.
    """
    plain, integrators = firing(network)
    outcome = run_passes(plain, PIPELINE)
    folded = next((step.graph for step in reversed(outcome.steps) if step.graph is not None), plain)
    return Direct(outcome.graph, folded, outcome.notes, integrators)


def firing(network: Network) -> tuple[Network, frozenset[str]]:
    """A graph in which every population fires and resets to zero, for the passes; and which do not in truth.

    Integrators become neurons with the same potential, and weights at the end get neurons without memory
    behind them.
    """
    integrators = {node.name for node in network.nodes if node.primitive in INTEGRATORS}
    integrators -= set(soft_resets(network))  # Parts of neurons that fire.
    changed = [_as_neuron(node) for node in network.nodes if node.name in integrators]
    changed += [
        reparametrised(node, v_reset=np.zeros_like(node.parameters.v_reset))
        for node in network.nodes
        if node.primitive in RESETTING
    ]
    plain = with_nodes(replace(network, reset=Reset.ZERO), changed)
    if plain.arrives(plain.output_node.name) is not Signal.EVENTS and potentials_leave(network) is None:
        plain, name = _with_sums(plain)
        integrators.add(name)
    return plain, frozenset(integrators)


def lowered(
    direct: Direct,
    network: Network,
    *,
    bits: int,
    inputs: NDArray[np.uint8] | None,
    granularity: ScaleGranularity,
    alike: frozenset[str],
) -> tuple[tuple[Population, ...], tuple[Note, ...]]:
    """The populations in integers, in no order, and what rounding did; without kernels.

    Args:
        direct: the populations.
        network: the graph as it was, for what its neurons reset to.
        bits: bits of a weight, 2..8.
        inputs: recorded inputs [steps, samples, *shape] to choose scales on, or None.
        granularity: whose scales must be alike.
        alike: populations whose neurons share one scale in any case; those whose potentials leave do, for
            they are compared.
    """
    recorded = None if inputs is None else _Recorded.of(direct, network, inputs)
    populations, notes = [], []
    for one in direct.graph.populations:
        leave = direct.graph.graded and one.name == direct.graph.output.source
        shared = one.name in alike or one.name in direct.integrators or leave
        rounding = _Rounding(
            one,
            _Rest.of(one, network, integrates=one.name in direct.integrators),
            int(2 ** (bits - 1) - 1),
            ScaleGranularity.LAYER if shared else granularity,
        )
        population, rounded, clipped = rounding.best(recorded)
        populations.append(population)
        notes += clipping_note(one.name, clipped)
        as_held = replace(rounded, bias=population.bias.astype(np.int64))
        notes += notes_on(one, as_held, _as_layer(population, rounded), rounding.limit)
        notes += _notes_on_constants(one, population)
    return tuple(populations), tuple(notes)


@dataclass(frozen=True, eq=False)
class _Rest:
    """What a population does at its threshold.

    Attributes:
        integrates: nothing, for it has none.
        floor: [size] its potential after a spike; None where the threshold is taken off.
    """

    integrates: bool
    floor: NDArray[np.float64] | None

    @classmethod
    def of(cls, one: Neurons, network: Network, *, integrates: bool) -> "_Rest":
        """Of a population of a graph."""
        if one.subtracts:
            return cls(integrates, None)
        zeros = np.zeros(one.size)
        if integrates or network.node(one.name).primitive not in RESETTING:
            return cls(integrates, zeros)
        if network.reset is Reset.SUBTRACT:
            return cls(integrates, None)
        return cls(integrates, np.asarray(network.node(one.name).parameters.v_reset, np.float64).reshape(-1))


@dataclass(frozen=True, eq=False)
class _Recorded:
    """Recorded inputs, and what each population fires on them in the reference simulator.

    Attributes:
        events: [steps, samples, lines] of the input and of every population.
    """

    events: Mapping[str, Spikes]

    @classmethod
    def of(cls, direct: Direct, network: Network, inputs: NDArray[np.uint8]) -> "_Recorded":
        """Run the graph as it is."""
        names = [one.name for one in direct.graph.populations if one.name not in direct.integrators]
        trace = simulate(network, inputs, record=names)
        events = {name: _flat(trace.outputs[name]) for name in names}
        return cls(events | {direct.graph.input: _flat(inputs)})


@dataclass(frozen=True, eq=False)
class _Rounding:
    """One population on its way to integers.

    Attributes:
        neurons: what is rounded.
        rest: what it does at its threshold.
        limit: largest weight.
        granularity: whose scales must be alike.
    """

    neurons: Neurons
    rest: _Rest
    limit: int
    granularity: ScaleGranularity

    @cached_property
    def weights(self) -> Matrix:
        """All drives side by side; a line that nothing is read of where there are none."""
        drives = list(self.neurons.drive.values())
        return side_by_side(drives) if drives else Matrix.empty(self.neurons.size, 1)

    @cached_property
    def room(self) -> NDArray[np.float64]:
        """[size], the largest scales at which everything fits."""
        one, levels = self.neurons, self.neurons.threshold
        if self.rest.integrates:
            levels = np.zeros_like(levels)
        elif self.rest.floor is not None:
            levels = np.maximum(np.abs(levels), np.abs(self.rest.floor))
        largest = largest_scales(replace(one, threshold=levels), self.weights)
        return np.minimum(largest, self._room_of_potentials(np.zeros(one.size)))

    @property
    def exponent(self) -> int:
        """The largest weight exponent, up to 4, at which the population could have one scale.

        No events make what an integrator gives out leave its 24 bits then, where an exponent can see to that.
        """
        room = np.minimum(self.room, self._room_of_potentials(self.weights.strongest_drive()))
        spare = room.min() / common_scale(self.weights, self.limit)
        return exponent_within(spare, FINEST_WEIGHT_EXP)

    def _room_of_potentials(self, drive: NDArray[np.float64]) -> NDArray[np.float64]:
        """[size], scales at which a drive in every step and all biases fit half the 24 bits of v."""
        one = self.neurons
        if not self.rest.integrates:
            return np.full(one.size, np.inf)
        leak_u = 1.0 if one.leak_u is None else one.leak_u
        pushed = (drive + one.strongest_constant) / leak_u + np.abs(one.bias + one.offset)
        settled = pushed / np.maximum(one.leak_v, 1 / UNLEAKED_STEPS)
        return room_for(settled, STATE_LIMIT / 2 ** (FIXED_POINT_BITS + 1))

    def best(self, recorded: _Recorded | None) -> tuple[Population, Rounded, NDArray[np.int64]]:
        """Under the scale whose spikes disagree least with the reference, else with the smallest error.

        With it, for each neuron, in how many (step, sample) its potential meets the end of its 24 bits: the
        weight exponent is the largest at which none does, where there is one.
        """
        exponent = self.exponent
        if recorded is None or not self.neurons.drive:
            return *self._with_headroom(exponent), np.zeros(self.neurons.size, np.int64)
        while True:
            population, rounded = self._best_at(exponent, recorded)
            clipped = self._clipped(population, rounded, recorded)
            if exponent <= 0 or not clipped.any():
                return population, rounded, clipped
            exponent -= 1

    def _with_headroom(self, most: int) -> tuple[Population, Rounded]:
        """At the exponent with the most room at which nothing is rounded, else at the largest with room.

        A smaller one than the largest with room is looked at where potentials can go beyond that room.
        """
        least = widest = most
        if not self.rest.integrates:
            least = self._exponent_in(HEADROOM, most)
            widest = least if leaks(self.neurons) else self._exponent_in(np.inf, least)
        tries = {}
        for exponent in range(widest, most + 1):
            tries[exponent] = self._best_at(exponent, None)
            if not tries[exponent][1].error.any():
                return tries[exponent]
        return tries[least]

    def _exponent_in(self, headroom: float, most: int) -> int:
        """The largest exponent up to `most` at which potentials have so much room."""
        subtracts = self.rest.floor is None
        room = potential_room(self.neurons, self.weights, subtracts=subtracts, headroom=headroom)
        spare = np.minimum(self.room, room).min() / common_scale(self.weights, self.limit)
        return exponent_within(spare, most)

    def _best_at(self, exponent: int, recorded: _Recorded | None) -> tuple[Population, Rounded]:
        room = self.room / 2.0**exponent
        scales = candidates(self.neurons, self.weights, self.limit, room, exponent, self.granularity)
        tries = [round_to(self.neurons, self.weights, scale, self.limit, exponent) for scale in scales]
        disagreement = None
        if recorded is not None and not self.rest.integrates and len(tries) > 1:
            disagreement = np.stack([self._disagreement(one, exponent, recorded) for one in tries])
        chosen = best(tries, disagreement, self.granularity)
        return self._population(chosen, exponent), chosen

    def _disagreement(self, rounded: Rounded, exponent: int, recorded: _Recorded) -> NDArray[np.int64]:
        """For each neuron, in how many (step, sample) its spike differs from the reference."""
        spikes = self._alone(self._population(rounded, exponent), rounded, recorded).spikes
        differing: NDArray[np.int64] = (spikes != recorded.events[self.neurons.name]).sum((0, 1))
        return differing

    def _clipped(self, one: Population, rounded: Rounded, recorded: _Recorded) -> NDArray[np.int64]:
        """For each neuron, in how many (step, sample) a potential that it keeps was cut."""
        return clipped_in(one, self._alone(one, rounded, recorded).charged)

    def _alone(self, one: Population, rounded: Rounded, recorded: _Recorded) -> PopulationTrace:
        """What the population does on what the reference delivers to it."""
        heard = np.concatenate(
            [delayed(recorded.events[tap.source], tap.delay) for tap in self.neurons.drive], axis=2
        )
        alone = replace(one, connections=(Connection("heard", 0, _halved(rounded.weight)),))
        program = Program("heard", heard.shape[2], (alone,), Output(one.name), None)
        return emulate(program, heard, record=True).populations[one.name]

    def _population(self, rounded: Rounded, exponent: int) -> Population:
        one, fine = self.neurons, rounded.scale * 2.0 ** (exponent + FIXED_POINT_BITS)
        bias, threshold = rounded.bias, rounded.threshold << FIXED_POINT_BITS
        if self.rest.integrates or one.constants or not memoryless(one):
            bias = np.rint((one.bias + one.offset) * fine).astype(np.int64)
            threshold = floored(one.threshold * fine).astype(np.int64)
        floor = None if self.rest.floor is None else np.rint(self.rest.floor * fine)
        keep_u = None if one.leak_u is None else UNITY - np.rint(one.leak_u * UNITY)
        return Population(
            name=one.name,
            connections=_split(one, rounded.weight),
            shift=exponent + FIXED_POINT_BITS + 1,
            keep_v=_int32(UNITY - np.rint(one.leak_v * UNITY)),
            keep_u=None if keep_u is None or not keep_u.any() else _int32(keep_u),
            bias=_int32(bias),
            threshold=None if self.rest.integrates else _int32(threshold),
            floor=None if floor is None or self.rest.integrates else _int32(floor),
            scale=fine,
            constants=tuple(
                Constant(step, values) for step, values in _constants(one, fine).items() if values.any()
            ),
        )


def _constants(one: Neurons, fine: NDArray[np.float64]) -> dict[int, NDArray[np.int32]]:
    """What arrives from a step on, in units of the potential, by that step."""
    return {step: _int32(np.rint(one.constants[step] * fine)) for step in sorted(one.constants)}


def _notes_on_constants(one: Neurons, population: Population) -> list[Note]:
    """What rounding took from biases that begin late or that a synapse filters."""
    rounded = _constants(one, population.scale)
    errors = [np.abs(rounded[step] / population.scale - one.constants[step]).max() for step in rounded]
    if not any(errors):
        return []
    text = f"biases that begin late or pass a synapse rounded by up to {max(errors):.2g} in the graph's units"
    return [Note("bias-rounding", one.name, text, exact=False, error=float(max(errors)))]


def _split(one: Neurons, weight: Matrix) -> tuple[Connection, ...]:
    """The weights of each tap apart."""
    connections, start = [], 0
    for tap, drive in one.drive.items():
        stop = start + drive.shape[1]
        part = _halved(weight.from_sources(np.arange(start, stop)))
        if part.synapses:
            connections.append(Connection(tap.source, tap.delay, part))
        start = stop
    return tuple(sorted(connections, key=lambda each: (each.source, each.delay)))


def _halved(weight: Matrix) -> Matrix:
    """Lava's weights are even; C counts in twos."""
    return weight.with_values((weight.values // WEIGHT_STEP).astype(np.int32))


def _as_layer(one: Population, rounded: Rounded) -> IntegerLayer:
    """A population as notes on rounding read it."""
    none = np.full(one.size, UNITY - 1, np.int32)
    return IntegerLayer(
        weight=rounded.weight,
        delay=none * 0,
        du=none if one.keep_u is None else UNITY - 1 - one.keep_u,
        dv=UNITY - one.keep_v,
        vth=_int32(rounded.threshold),
        bias=one.bias,
        bias_exp=none * 0,
        weight_exp=one.shift - FIXED_POINT_BITS - 1,
    )


def _as_neuron(node: Node) -> Node:
    """An integrator as the neuron that has its potential."""
    old = node.parameters
    zeros = np.zeros(node.output_shape)
    ends = {"v_threshold": zeros, "v_reset": zeros}
    if node.primitive == "LI":
        new = nir.LIF(tau=old.tau, r=old.r, v_leak=old.v_leak, **ends)
    elif node.primitive == "I":
        new = nir.IF(r=old.r, **ends)
    else:
        taus = {"tau_syn": old.tau_syn, "tau_mem": old.tau_mem, "w_in": old.w_in}
        new = nir.CubaLIF(r=old.r, v_leak=old.v_leak, **taus, **ends)
    return replace(node, primitive=type(new).__name__, parameters=normalise(new))


def _with_sums(network: Network) -> tuple[Network, str]:
    """Neurons without memory in front of the output, and their name."""
    output = network.output_node
    name = f"{output.name}.sum"
    sums = Node(
        name=name,
        primitive="Threshold",
        parameters=normalise(nir.Threshold(np.zeros(output.output_shape))),
        inputs=output.inputs,
        input_shape=output.input_shape,
        output_shape=output.output_shape,
        emits=Signal.EVENTS,
    )
    place = network.nodes.index(output)
    nodes = (*network.nodes[:place], sums, replace(output, inputs=(name,)), *network.nodes[place + 1 :])
    groups = [group for group in network.components if group != (output.name,)]
    components = (*groups, (name,), (output.name,))
    return replace(network, nodes=settled(nodes), components=components), name


def _flat(values: NDArray[Any]) -> Spikes:
    return values.reshape(*values.shape[:2], -1).astype(np.uint8)


def _int32(values: NDArray[Any]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.int32)
