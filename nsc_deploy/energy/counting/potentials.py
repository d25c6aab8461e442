"""The ways in which the sum that a converter forms of spikes and potentials can come about, counted apart.

A decoder of snn-sc or s-jscc ends in integrators whose potentials m[t] leave its chip; a host then forms

    sum over t of p[t] S[t] + q[t] m[t],   S[t] = 1 where m[t] > V, else 0.

With m[t] = m[t-1] - V S[t-1] + I[t], and Q[t] the sum of q from t on, that is

    sum over t of Q[t] I[t] + (p[t] - V Q[t+1]) S[t],   I[t] = weights * s[t] + bias,

where s are the binary events in front of the last weights. So a neuron can keep a running sum where I is, or
a host can form it of s and S, which are events: nothing graded has to leave the chip. `Way` names them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from nsc_deploy.energy.counting.inputs import nonzero, nonzero_and_fan_out
from nsc_deploy.energy.counting.nir_rules import constant_costs, input_cost
from nsc_deploy.energy.counting.operations import (
    Footprint,
    Integers,
    Kind,
    LayerCount,
    Operations,
    PartCount,
    Traffic,
)
from nsc_deploy.graphs.formats.onnx import read_onnx
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.operators.neurons import coefficients

Weights = NDArray[np.float64]


class Way(StrEnum):
    """How a converter's sum comes about.

    - `POTENTIALS`: every potential leaves the chip; the host compares and weighs them, as its graph has it.
    - `RUNNING_SUM`: each neuron adds its weighted current, and a constant where it fires, to a sum of its
      own, which leaves the chip once.
    - `BY_EVENTS`: s and S leave the chip; the host runs the last weights once more, event by event, with
      weights of each step of their own (Q[t] times the weights), so that it only accumulates.
    - `AT_ONCE`: s and S leave the chip; the host adds up s weighted by Q[t], and runs the last weights once.
    """

    POTENTIALS = "potentials"
    RUNNING_SUM = "running-sum"
    BY_EVENTS = "by-events"
    AT_ONCE = "at-once"


@dataclass(frozen=True)
class WayCount:
    """One way, with what it takes beside the decoder's own layers.

    The converter's bias and its sigmoid come after all of them alike, and are in none.

    Attributes:
        way: which.
        chip: what the decoder's neurons do more.
        host: what the host does for the sum.
        values: graded values that leave the chip, [samples].
        events: binary events that leave it, [samples].
    """

    way: Way
    chip: tuple[LayerCount, ...]
    host: tuple[LayerCount, ...]
    values: Integers
    events: Integers


@dataclass(frozen=True)
class Converter:
    """The converter at the front of a host's graph.

    Attributes:
        of_spikes: p [T].
        of_potentials: q [T].
        threshold: V.
        operators: names of the operators that form the sum.
    """

    of_spikes: Weights
    of_potentials: Weights
    threshold: float
    operators: frozenset[str]

    @cached_property
    def of_currents(self) -> Weights:
        """Q [T]: what the current of a step weighs in the sum."""
        return np.cumsum(self.of_potentials[::-1])[::-1]

    @cached_property
    def of_spikes_beside(self) -> Weights:
        """The factors p[t] - V Q[t+1], [T]: what a spike weighs beside the currents."""
        return self.of_spikes - self.threshold * np.append(self.of_currents[1:], 0.0)


@dataclass(frozen=True)
class Decoder:
    """The end of a graph whose integrators subtract what they fire, and hand on what they had before.

    Attributes:
        events: name of the node whose events enter the last weights.
        weights: of the last layer.
        spikes: name of the node that fires.
        threshold: V.
    """

    events: str
    weights: Node
    spikes: str
    threshold: float


def watch_potentials(network: Network, recording: Recording, behind: Path) -> "PotentialWatch | None":
    """What reads the events of a decoder as it runs; None where no converter takes in its potentials.

    Args:
        network: the decoder.
        recording: what enters it.
        behind: the ONNX graph that takes in what it gives.
    """
    decoder = find_decoder(network)
    converter = None if decoder is None else find_converter(read_onnx(behind))
    if decoder is None or converter is None or converter.threshold != decoder.threshold:
        return None
    if len(converter.of_potentials) != recording.steps:
        return None
    return PotentialWatch(network, decoder, converter, recording)


def find_decoder(network: Network) -> Decoder | None:
    """The end of a decoder: weights into integrators, a threshold, and a loop that takes it off again."""
    given = [network.node(name) for name in network.output_node.inputs]
    if len(given) != 1 or given[0].primitive != "I":
        return None
    (neurons,) = given
    entering = [network.node(name) for name in neurons.inputs]
    weights = [one for one in entering if one.synaptic and len(one.inputs) == 1]
    resets = [one for one in entering if one.primitive == "Scale" and len(one.inputs) == 1]
    if len(entering) != 2 or len(weights) != 1 or len(resets) != 1:
        return None
    fires, behaves = network.node(resets[0].inputs[0]), coefficients(neurons, network)
    if fires.primitive != "Threshold" or fires.inputs != (neurons.name,):
        return None
    threshold = np.unique(np.asarray(fires.parameters.threshold, np.float32))
    alike = (
        len(threshold) == 1
        and bool((np.asarray(resets[0].parameters.scale) == -threshold[0]).all())
        and (resets[0].name, neurons.name) in network.back_edges
        and bool((behaves.gain == 1).all() and (behaves.decay == 1).all() and not behaves.offset.any())
        and network.arrives(weights[0].name) is Signal.EVENTS
    )
    return Decoder(weights[0].inputs[0], weights[0], fires.name, float(threshold[0])) if alike else None


def find_converter(model: onnx.ModelProto) -> Converter | None:
    """The converter that the graph of a server begins with; None where it begins otherwise.

    Its form is that of `nsc_deploy.models.features.graphs.OnServer`: values with the steps last, compared
    with V, and one product of a column of weights with the result and one with the values, added up.
    """
    graph = model.graph
    entering = [node for node in graph.node for one in graph.input if one.name in node.input]
    if [node.op_type for node in entering] != ["Transpose"]:
        return None
    (turns,) = entering
    order, values = list(turns.attribute[0].ints) if turns.attribute else [], turns.output[0]
    compares, weighs = _reader(graph, "Greater", values), _reader(graph, "MatMul", values)
    casts = compares and _reader(graph, "Cast", compares.output[0])
    counts = casts and _reader(graph, "MatMul", casts.output[0])
    joins = counts and _reader(graph, "Add", counts.output[0])
    if not (compares and weighs and counts and joins) or order != [*range(1, len(order)), 0]:
        return None
    threshold, p, q = (_constant(graph, one.input[1]) for one in (compares, counts, weighs))
    if (
        threshold is None
        or p is None
        or q is None
        or set(joins.input) != {counts.output[0], weighs.output[0]}
    ):
        return None
    if threshold.size != 1 or p.shape != (p.size, 1) or q.shape != p.shape:
        return None
    return Converter(
        of_spikes=p.astype(np.float64).reshape(-1),
        of_potentials=q.astype(np.float64).reshape(-1),
        threshold=float(threshold.reshape(-1)[0]),
        operators=frozenset(one.name for one in (compares, counts, weighs, joins)),
    )


def _constant(graph: onnx.GraphProto, name: str) -> NDArray[Any] | None:
    """What is written down under a name; None where a value is worked out."""
    written = [one for one in graph.initializer if one.name == name]
    written += [
        attribute.t
        for node in graph.node
        if node.op_type == "Constant" and name in node.output
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    return numpy_helper.to_array(written[0]) if written else None


def _reader(graph: onnx.GraphProto, operator: str, value: str) -> onnx.NodeProto | None:
    """The one operator of a kind whose first input is a value."""
    found = [node for node in graph.node if node.op_type == operator and node.input[0] == value]
    return found[0] if len(found) == 1 else None


class PotentialWatch:
    """Counts the events that the ways are made of while a decoder is counted.

    Args:
        network: of the decoder.
        decoder: its end.
        converter: behind it.
        recording: what enters it.
    """

    def __init__(
        self, network: Network, decoder: Decoder, converter: Converter, recording: Recording
    ) -> None:
        self._decoder, self._converter = decoder, converter
        cost = input_cost(network, decoder.weights)
        if cost is None:
            raise TypeError(f"{decoder.weights.name} costs nothing")
        self._fan_out, self._synapses = cost.fan_out, cost.synapses
        shape = recording.steps, recording.samples
        self._events, self._met, self._spikes = (np.zeros(shape, np.int64) for _ in range(3))

    def __call__(self, samples: slice, name: str, output: NDArray[Any]) -> None:
        """Take in the output [T, N, *shape] of a node for some samples."""
        if name == self._decoder.events:
            found = nonzero_and_fan_out(output, self._fan_out)
            self._events[:, samples], self._met[:, samples] = found
        elif name == self._decoder.spikes:
            self._spikes[:, samples] = nonzero(output)

    def ways(self, host: PartCount) -> tuple[WayCount, ...]:
        """Every way, that of the graphs first.

        Args:
            host: the counts of the graph behind the decoder.
        """
        form, weights = self._converter, self._decoder.weights
        outputs, inputs = prod(weights.output_shape), prod(weights.input_shape)
        currents, spikes = form.of_currents != 0, form.of_spikes_beside != 0
        # A step whose weight is zero has no synapse.
        events, met = (one[currents].sum(axis=0) for one in (self._events, self._met))
        fired = self._spikes[spikes].sum(axis=0)
        each = np.ones_like(fired)
        steps, bias = int(currents.sum()), constant_costs(weights).get(Kind.ADDITION, 0)
        kernel = int(np.count_nonzero(weights.parameters.weight))
        biases = int(np.count_nonzero(getattr(weights.parameters, "bias", 0)))
        whole = len(currents) * outputs

        def layer(name: str, **numbers: Any) -> LayerCount:
            return _layer(name, steps=len(currents), samples=len(fired), **numbers)

        def of_spikes(reads: Integers) -> LayerCount:
            return layer(
                "spikes", arrives=Signal.EVENTS, dense=whole, acs=fired, weight_reads=fired,
                state_reads=fired, state_writes=fired, activation_reads=reads,
                footprint=Footprint(int(spikes.sum()), outputs, outputs),
            )  # fmt: skip

        sums = outputs * steps * each
        running = layer(
            "running sum", arrives=Signal.REAL, dense=whole, macs=sums, weight_reads=sums, state_reads=sums,
            state_writes=sums, activation_writes=outputs * each, footprint=Footprint(steps, outputs, outputs),
        )  # fmt: skip
        fetched = layer(
            "sums", arrives=Signal.REAL, activation_reads=outputs * each, footprint=Footprint(0, 0, outputs)
        )
        again = layer(
            f"{weights.name}, by events", arrives=Signal.EVENTS, dense=self._synapses * len(currents),
            acs=met, additions=bias * each, weight_reads=met + bias, state_reads=met, state_writes=met,
            activation_reads=events, activation_writes=outputs * each,
            footprint=Footprint(kernel * steps + biases, outputs, inputs),
        )  # fmt: skip
        weighted = layer(
            "events over time", arrives=Signal.EVENTS, dense=inputs * len(currents), acs=events,
            weight_reads=events, state_reads=events, state_writes=events, activation_reads=events,
            activation_writes=inputs * each, footprint=Footprint(steps, inputs, inputs),
        )  # fmt: skip
        once = layer(
            f"{weights.name}, once", arrives=Signal.REAL, dense=self._synapses, macs=self._synapses * each,
            additions=bias * each, weight_reads=(self._synapses + bias) * each,
            activation_reads=inputs * each, activation_writes=outputs * each,
            footprint=Footprint(kernel + biases, 0, inputs),
        )  # fmt: skip
        now = tuple(one for one in host.layers if one.name in form.operators)
        leaves, none = events + fired, 0 * each
        return (
            WayCount(Way.POTENTIALS, (), now, whole * each, none),
            WayCount(Way.RUNNING_SUM, (running, of_spikes(none)), (fetched,), outputs * each, none),
            WayCount(Way.BY_EVENTS, (), (again, of_spikes(fired)), none, leaves),
            WayCount(Way.AT_ONCE, (), (weighted, once, of_spikes(fired)), none, leaves),
        )


def _layer(
    name: str,
    *,
    arrives: Signal,
    steps: int,
    samples: int,
    footprint: Footprint,
    dense: int = 0,
    **numbers: Integers,
) -> LayerCount:
    """A line of a way, of operations and accesses by the names of their fields."""
    return LayerCount(
        name=name,
        primitive="converter",
        arrives=arrives,
        neurons=0,
        synapses=0,
        dense=dense,
        per_sample=replace(Operations.zeros(samples), **_of(Operations, numbers)),
        traffic=replace(Traffic.zeros(samples), **_of(Traffic, numbers)),
        footprint=footprint,
        steps=steps,
    )


def _of(kind: type[Operations] | type[Traffic], numbers: Mapping[str, Integers]) -> dict[str, Integers]:
    return {one.name: numbers[one.name] for one in fields(kind) if one.name in numbers}
