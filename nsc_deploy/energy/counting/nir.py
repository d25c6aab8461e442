"""Counting a NIR graph: the reference simulator runs it, and a meter at each node reads what arrives.

What the nodes of a NIR graph have cost so far: collected batch after batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import (
    Amount,
    present,
    refuse_empty,
    refuse_foreign,
    refuse_too_many,
    weighed,
)
from nsc_deploy.energy.counting.nir_rules import (
    Meter,
    constant_costs,
    dense_synapses,
    drives,
    footprint,
    meter_of,
    reads_from,
    single_pass,
    state_variables,
    writes_result,
)
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Operations, PartCount, Traffic
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.simulate import simulate

Progress = Callable[[int], None]
Outputs = NDArray[np.floating[Any]]
Run = Callable[[NDArray[Any], Callable[[str, Outputs], None]], None]
Watch = Callable[[slice, str, Outputs], None]
Held = TypeVar("Held", Outputs, Integers)
# The simulator holds about four arrays [T, N, *shape] of the largest node at a time.
_ARRAY_BYTES = 2**28


def count_network(
    network: Network,
    recording: Recording,
    *,
    name: str,
    batch: int = 64,
    progress: Progress | None = None,
    run: Run | None = None,
    watch: Watch | None = None,
) -> PartCount:
    """Count every operation of a NIR graph over a recording.

    Memory is bounded by the batch, which is made smaller for a large graph: of each batch only the
    number of operations of each sample and of each step is kept.

    Args:
        network: the graph.
        recording: what enters at its Input node.
        name: of the part.
        batch: samples that are simulated together, at most.
        progress: told the number of samples done, as they are.
        run: what runs the network in place of the reference simulator: it is given values [T, N, *shape]
            and tells the output [T, N, *shape] of every node, in the order of the nodes.
        watch: told the samples of the batch, the name and the output [T, N, *shape] of each node as it runs.

    Raises:
        DataError: the recording is empty, does not fit the input or holds other values than the input
            can carry, or the counts might not fit 64 bits.
    """
    refuse_empty(recording)
    tallies = {node.name: Tally(network, node, recording) for node in network.nodes}
    refuse_too_many({name: tally.at_most for name, tally in tallies.items()}, recording.samples)
    entry = network.input_node
    for part in _batches(network, recording, batch):
        values = recording.values[:, part.samples]
        refuse_foreign(values, entry.emits, entry.name)
        observer = _Observer(network, tallies, part, watch)
        if run is None:
            simulate(network, values, observe=observer)
        else:
            run(values, observer)
        if progress is not None:
            progress(part.samples.stop)
    layers = [tally.layer() for tally in tallies.values()]
    return PartCount(
        name=name,
        side=None,
        place=None,
        steps=recording.steps,
        samples=recording.samples,
        dt=recording.dt,
        spiking=any(node.spiking for node in network.nodes),
        layers=tuple(layer for layer in layers if layer.worth_a_line),
        free=tuple(layer.name for layer in layers if not layer.worth_a_line),
    )


@dataclass(frozen=True)
class Batch:
    """A batch of samples: where it stands in the recording."""

    steps: int
    samples: slice

    @property
    def size(self) -> int:
        """Its number of samples."""
        return int(self.samples.stop - self.samples.start)


def _batches(network: Network, recording: Recording, at_most: int) -> Iterator[Batch]:
    widest = max(max(prod(node.input_shape), prod(node.output_shape)) for node in network.nodes)
    size = max(1, min(at_most, _ARRAY_BYTES // (4 * widest * recording.steps)))
    for start in range(0, recording.samples, size):
        yield Batch(recording.steps, slice(start, min(start + size, recording.samples)))


class Tally:
    """Collects the operations of one node.

    Args:
        network: the graph.
        node: of it.
        recording: what is counted.
    """

    def __init__(self, network: Network, node: Node, recording: Recording) -> None:
        self.meter: Meter | None = meter_of(network, node)
        self._network = network
        self._node = node
        self._steps = recording.steps
        self._total = recording.samples
        self._constant = constant_costs(node)
        self._samples: dict[Kind, Integers] = {}
        self._per_step: dict[Kind, Integers] = {}
        self._moved: dict[str, Integers] = {}
        self._moved_per_step: dict[str, Integers] = {}

    @property
    def at_most(self) -> int:
        """More than any one sample can cost, of operations and accesses of all kinds together."""
        arriving = 0 if self.meter is None else self.meter.synapses
        values = (1 + len(self._node.inputs)) * (prod(self._node.input_shape) + prod(self._node.output_shape))
        return 4 * self._steps * (sum(self._constant.values()) + arriving + values)

    def start(self, batch: Batch) -> None:
        """Begin a batch with what the node costs whatever arrives."""
        for kind, number in self._constant.items():
            self.add(kind, Amount.everywhere(number, batch.steps, batch.size), batch)

    def add(self, kind: Kind, amount: Amount, batch: Batch) -> None:
        """Add operations."""
        if kind not in self._samples:
            self._samples[kind] = np.zeros(self._total, dtype=np.int64)
            self._per_step[kind] = np.zeros(self._steps, dtype=np.int64)
        self._samples[kind][batch.samples] += amount.samples
        self._per_step[kind] += amount.steps

    def meet(self, amount: Amount, batch: Batch) -> None:
        """Add operations at the meter."""
        if self.meter is not None:
            self.add(self.meter.kind, amount, batch)

    def move(self, access: str, amount: Amount, batch: Batch) -> None:
        """Add accesses to memory (a field of `Traffic`)."""
        if access not in self._moved:
            self._moved[access] = np.zeros(self._total, dtype=np.int64)
            self._moved_per_step[access] = np.zeros(self._steps, dtype=np.int64)
        self._moved[access][batch.samples] += amount.samples
        self._moved_per_step[access] += amount.steps

    def layer(self) -> LayerCount:
        """What was collected."""
        meter = self.meter
        operations = _operations(self._samples, np.zeros(self._total, dtype=np.int64))
        per_step = _operations(self._per_step, np.zeros(self._steps, dtype=np.int64))
        return LayerCount(
            name=self._node.name,
            primitive=self._node.primitive,
            arrives=self._network.arrives(self._node.name),
            neurons=self._constant.get(Kind.NEURON_UPDATE, 0),
            synapses=meter.synapses if meter is not None and self._node.synaptic else 0,
            dense=dense_synapses(self._node) * self._steps,
            per_sample=operations,
            traffic=self._traffic(operations, self._moved, self._steps),
            footprint=footprint(self._network, self._node),
            steps=self._steps,
            once=single_pass(self._node, meter, self._constant),
            drives=drives(self._network, self._node) if self._node.synaptic else (),
            per_step=per_step,
            traffic_per_step=self._traffic(per_step, self._moved_per_step, self._total),
        )

    def _traffic(self, operations: Operations, moved: dict[str, Integers], times: int) -> Traffic:
        """What was moved, and what follows from the operations themselves.

        Args:
            operations: along the samples or the steps.
            moved: along the same.
            times: steps in a sample, or samples in a step.
        """
        none = np.zeros_like(operations.acs)
        weights = states = none
        if self._node.synaptic:
            # All additions of a synaptic node but those of joined inputs are biases; a bias is constant.
            biases = times * self._constant.get(Kind.ADDITION, 0)
            weights = operations.synaptic + biases
            real = self._network.arrives(self._node.name) is Signal.REAL
            states = none if real else operations.synaptic
        elif self._node.primitive == "Scale":
            weights = operations.products
        states = states + state_variables(self._node) * operations.neuron_updates
        return Traffic(
            weight_reads=weights,
            state_reads=states + moved.get("state_reads", none),
            state_writes=states + moved.get("state_writes", none),
            activation_reads=moved.get("activation_reads", none),
            activation_writes=moved.get("activation_writes", none),
        )


class _Observer:
    """Takes the outputs of the nodes, in one batch, to the meters of the nodes that read them."""

    def __init__(
        self, network: Network, tallies: dict[str, Tally], batch: Batch, watch: Watch | None
    ) -> None:
        self._network = network
        self._watch = watch
        self._tallies = tallies
        self._batch = batch
        self._sums: dict[str, Outputs] = {}
        self._missing = {node.name: len(node.inputs) for node in network.nodes}
        for tally in tallies.values():
            tally.start(batch)

    def __call__(self, name: str, output: Outputs) -> None:
        node = self._network.node(name)
        if self._watch is not None:
            self._watch(self._batch.samples, name, output)
        if node.primitive == "Output":
            return
        tally = self._tallies[name]
        if node.emits is Signal.REAL:
            found = met = None
            carried = self._everywhere(prod(node.output_shape))
        else:
            found, met = self._look(node, output)
            carried = Amount.of(found)
        if node.spiking:
            tally.add(Kind.SPIKE, carried, self._batch)
        if writes_result(self._network, node):
            tally.move("activation_writes", carried, self._batch)
        if node.primitive == "Delay":
            tally.move("state_reads", carried, self._batch)
        for target in self._network.successors(name):
            late = (name, target.name) in self._network.back_edges
            # A step of delay leaves out what the last step would hand on after the end.
            amount = Amount.of(_one_step_later(found)) if late and found is not None else carried
            for _ in range(target.inputs.count(name)):
                self._arrive(node, target, amount)
                if met is not None and self._alone(target, name):
                    self._tallies[target.name].meet(met, self._batch)
                else:
                    self._meet(target, _one_step_later(output) if late else output)

    def _look(self, node: Node, output: Outputs) -> tuple[Integers, Amount | None]:
        """The values that are there [T, N], and what they meet where a single meter reads them alone."""
        readers = [one for one in self._network.successors(node.name) if self._alone(one, node.name)]
        meter = self._tallies[readers[0].name].meter if len(readers) == 1 else None
        if meter is None or meter.always:
            return present(output), None
        if meter.uniform is not None:
            found = present(output)
            return found, Amount.of(found).times(meter.uniform)
        found, met = weighed(output, meter.fan_out)
        return found, Amount.of(met)

    def _alone(self, target: Node, source: str) -> bool:
        """Whether a meter reads the output of one node and of no other, in the same step."""
        metered = self._tallies[target.name].meter is not None
        return (
            metered and target.inputs == (source,) and (source, target.name) not in self._network.back_edges
        )

    def _arrive(self, source: Node, target: Node, carried: Amount) -> None:
        """Charge what is read and added, whatever it meets."""
        tally = self._tallies[target.name]
        if target.primitive == "Delay":
            tally.move("state_writes", carried, self._batch)
        elif reads_from(self._network, target, source.name):
            tally.move("activation_reads", carried, self._batch)
        if len(target.inputs) > 1 and not source.synaptic:
            # Weighted values are added up in the accumulator that their synapses already pay for.
            tally.add(Kind.ADDITION, carried, self._batch)

    def _meet(self, target: Node, values: Outputs) -> None:
        """Charge what the sum of all inputs meets, once it is complete."""
        tally = self._tallies[target.name]
        if tally.meter is None:
            return
        self._missing[target.name] -= 1
        if tally.meter.always:
            if not self._missing[target.name]:
                tally.meet(self._everywhere(tally.meter.synapses), self._batch)
            return
        if len(target.inputs) > 1:
            so_far = self._sums.pop(target.name, None)
            values = values.copy() if so_far is None else so_far + values
        if self._missing[target.name]:
            self._sums[target.name] = values
        else:
            tally.meet(Amount.of(weighed(values, tally.meter.fan_out)[1]), self._batch)

    def _everywhere(self, number: int) -> Amount:
        return Amount.everywhere(number, self._batch.steps, self._batch.size)


def _one_step_later(values: Held) -> Held:
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])


def _operations(found: dict[Kind, Integers], none: Integers) -> Operations:
    return Operations(**{kind.value: found.get(kind, none) for kind in Kind})
