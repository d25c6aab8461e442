"""Counting a NIR graph: the reference simulator runs it, and each node counts what arrives at it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import (
    Amount,
    nonzero,
    nonzero_and_fan_out,
    refuse_empty,
    refuse_foreign,
    refuse_too_many,
    require_batch,
)
from nsc_deploy.energy.counting.nir_rules import (
    constant_costs,
    dense_synapses,
    drives,
    footprint,
    input_cost,
    reads_from,
    single_pass,
    state_variables,
    weighted,
    writes_result,
)
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Operations, PartCount, Traffic
from nsc_deploy.graphs.formats.recording import Recording, require_step
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.simulate import require_shape, simulate

Progress = Callable[[int], None]
Outputs = NDArray[np.floating[Any]]
Run = Callable[[NDArray[Any], Callable[[str, Outputs], None]], None]
OutputObserver = Callable[[slice, str, Outputs], None]
_Array = TypeVar("_Array", Outputs, Integers)
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
    observe: OutputObserver | None = None,
) -> PartCount:
    """Count every operation of a NIR graph over a recording.

    Memory is bounded by the batch, which is made smaller for a large graph: of each batch only the
    number of operations of each sample and of each step is kept.

    Args:
        network: the graph.
        recording: what enters at its Input node.
        name: of the part.
        batch: samples that are simulated together, at most.
        progress: called with the number of samples done.
        run: what runs the network in place of the reference simulator: it takes values [T, N, *shape] and
            hands on the output [T, N, *shape] of every node, in the order of the nodes.
        observe: called with the samples of the batch, the name and the output [T, N, *shape] of each node.

    Raises:
        ConfigError: the steps of the recording are not those of the graph, or a batch of no samples.
        DataError: the recording is empty, does not fit the input or holds other values than the input
            can carry, or the counts might not fit 64 bits.
    """
    require_batch(batch)
    refuse_empty(recording)
    require_step(recording, network.dt, f"the recording of {name}")
    require_shape(network.input_node, recording.values.shape)
    counters = {node.name: _NodeCounter(network, node, recording) for node in network.nodes}
    refuse_too_many({name: one.at_most for name, one in counters.items()}, recording.samples)
    entry = network.input_node
    for part in _batches(network, recording, batch):
        values = recording.values[:, part.samples]
        refuse_foreign(values, entry.emits, entry.name)
        observer = _Observer(network, counters, part, observe)
        if run is None:
            simulate(network, values, observe=observer)
        else:
            run(values, observer)
        if progress is not None:
            progress(part.samples.stop)
    layers = [one.layer() for one in counters.values()]
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
class _Batch:
    """A batch of samples: where it stands in the recording."""

    steps: int
    samples: slice

    def everywhere(self, number: int) -> Amount:
        """The same number in each step of each sample."""
        return Amount.everywhere(number, self.steps, self.samples.stop - self.samples.start)


def _batches(network: Network, recording: Recording, at_most: int) -> Iterator[_Batch]:
    widest = max(max(prod(node.input_shape), prod(node.output_shape)) for node in network.nodes)
    size = max(1, min(at_most, _ARRAY_BYTES // (4 * widest * recording.steps)))
    for start in range(0, recording.samples, size):
        yield _Batch(recording.steps, slice(start, min(start + size, recording.samples)))


@dataclass(frozen=True)
class _Total:
    """What was added so far, over all steps [N] and over all samples [T]."""

    samples: Integers
    steps: Integers


class _NodeCounter:
    """Adds up the operations and memory accesses of one node, batch after batch.

    Args:
        network: the graph.
        node: of it.
        recording: what is counted.
    """

    def __init__(self, network: Network, node: Node, recording: Recording) -> None:
        self.inputs = input_cost(network, node)
        self._network = network
        self._node = node
        self._steps, self._samples = recording.steps, recording.samples
        self._constant = constant_costs(node)
        self._totals: dict[str, _Total] = {}
        self._synops: Integers | None = None

    @property
    def at_most(self) -> int:
        """More than any one sample can cost, of operations and accesses of all kinds together."""
        arriving = 0 if self.inputs is None else self.inputs.synapses
        values = (1 + len(self._node.inputs)) * (prod(self._node.input_shape) + prod(self._node.output_shape))
        return 4 * self._steps * (sum(self._constant.values()) + arriving + values)

    def start(self, batch: _Batch) -> None:
        """Begin a batch with what the node costs whatever arrives."""
        for kind, number in self._constant.items():
            self.add(kind, batch.everywhere(number), batch)

    def add(self, what: str, amount: Amount, batch: _Batch) -> None:
        """Add operations (a `Kind`) or memory accesses (a field of `Traffic`)."""
        if what not in self._totals:
            self._totals[what] = _Total(np.zeros(self._samples, np.int64), np.zeros(self._steps, np.int64))
        total = self._totals[what]
        total.samples[batch.samples] += amount.samples
        total.steps[:] += amount.steps

    def add_inputs(self, amount: Amount, batch: _Batch) -> None:
        """Add operations on what arrives."""
        if self.inputs is None:
            return
        self.add(self.inputs.kind, amount, batch)
        if self._node.synaptic and not self.inputs.dense:
            if self._synops is None:
                self._synops = np.zeros((self._steps, self._samples), np.int64)
            self._synops[:, batch.samples] += amount.each

    def layer(self) -> LayerCount:
        """The sums over all batches."""
        inputs, node = self.inputs, self._node
        samples = {what: total.samples for what, total in self._totals.items()}
        steps = {what: total.steps for what, total in self._totals.items()}
        per_sample, traffic = self._along(samples, self._samples, times=self._steps)
        per_step, traffic_per_step = self._along(steps, self._steps, times=self._samples)
        return LayerCount(
            name=node.name,
            primitive=node.primitive,
            arrives=self._network.arrives(node.name),
            neurons=self._constant.get(Kind.NEURON_UPDATE, 0),
            synapses=inputs.synapses if inputs is not None and node.synaptic else 0,
            dense=dense_synapses(node) * self._steps,
            per_sample=per_sample,
            traffic=traffic,
            footprint=footprint(self._network, node),
            steps=self._steps,
            once=single_pass(node, inputs, self._constant),
            drives=drives(self._network, node) if node.synaptic else (),
            per_step=per_step,
            traffic_per_step=traffic_per_step,
            synops=self._of_each_step(),
        )

    def _of_each_step(self) -> Integers:
        """Synaptic operations of each step and sample, [T, N]; those of real values are always the same."""
        if self._synops is not None:
            return self._synops
        inputs = self.inputs
        number = inputs.synapses if inputs is not None and self._node.synaptic and inputs.dense else 0
        return np.broadcast_to(np.int64(number), (self._steps, self._samples))

    def _along(self, totals: dict[str, Integers], length: int, times: int) -> tuple[Operations, Traffic]:
        """Operations and accesses along the samples or the steps.

        Args:
            totals: what was added, along the same.
            length: of the axis.
            times: steps in a sample, or samples in a step.
        """
        none = np.zeros(length, dtype=np.int64)
        operations = Operations(**{kind.value: totals.get(kind, none) for kind in Kind})
        weights = states = none
        if self._node.synaptic:
            # All additions of a synaptic node but those of joined inputs are biases; a bias is constant.
            weights = operations.synaptic + times * self._constant.get(Kind.ADDITION, 0)
            real = self._network.arrives(self._node.name) is Signal.REAL
            states = none if real else operations.synaptic
        elif self._node.primitive == "Scale":
            weights = operations.products
        states = states + state_variables(self._node) * operations.neuron_updates
        return operations, Traffic(
            weight_reads=weights,
            state_reads=states + totals.get("state_reads", none),
            state_writes=states + totals.get("state_writes", none),
            activation_reads=totals.get("activation_reads", none),
            activation_writes=totals.get("activation_writes", none),
        )


class _Observer:
    """Charges the outputs of the nodes, in one batch, to the nodes that read them."""

    def __init__(
        self,
        network: Network,
        counters: dict[str, _NodeCounter],
        batch: _Batch,
        observe: OutputObserver | None,
    ) -> None:
        self._network = network
        self._observe = observe
        self._counters = counters
        self._batch = batch
        self._sums: dict[str, Outputs] = {}
        self._there: dict[str, NDArray[np.bool_]] = {}
        self._begun: set[str] = set()
        self._missing = {node.name: len(node.inputs) for node in network.nodes}
        for counter in counters.values():
            counter.start(batch)

    def __call__(self, name: str, output: Outputs) -> None:
        node = self._network.node(name)
        if self._observe is not None:
            self._observe(self._batch.samples, name, output)
        if node.primitive == "Output":
            return
        counter = self._counters[name]
        if node.emits is Signal.REAL:
            numbers = operations = None
            carried = self._batch.everywhere(prod(node.output_shape))
        else:
            numbers, operations = self._count(node, output)
            carried = Amount(numbers)
        if node.spiking:
            counter.add(Kind.SPIKE, carried, self._batch)
        if writes_result(self._network, node):
            counter.add("activation_writes", carried, self._batch)
        if node.primitive == "Delay":
            counter.add("state_reads", carried, self._batch)
        for target in self._network.successors(name):
            late = (name, target.name) in self._network.back_edges
            # A step of delay leaves out what the last step would hand on after the end.
            amount = Amount(_one_step_later(numbers)) if late and numbers is not None else carried
            for _ in range(target.inputs.count(name)):
                self._charge_reads(node, target, amount)
                if operations is not None and self._is_sole_input(target, name):
                    self._counters[target.name].add_inputs(operations, self._batch)
                    continue
                arriving = _one_step_later(output) if late else output
                self._charge_join(node, target, amount, arriving)
                self._charge_inputs(target, arriving)

    def _count(self, node: Node, output: Outputs) -> tuple[Integers, Amount | None]:
        """Values that are not zero [T, N], and their operations where one node alone reads them."""
        readers = [one for one in self._network.successors(node.name) if self._is_sole_input(one, node.name)]
        cost = self._counters[readers[0].name].inputs if len(readers) == 1 else None
        if cost is None or cost.dense:
            return nonzero(output), None
        if cost.windows is not None:
            return nonzero(output), Amount(cost.operations(output))
        if cost.uniform is not None:
            numbers = nonzero(output)
            return numbers, Amount(numbers).times(cost.uniform)
        numbers, operations = nonzero_and_fan_out(output, cost.fan_out)
        return numbers, Amount(operations)

    def _is_sole_input(self, target: Node, source: str) -> bool:
        """Whether a node that charges for its inputs has one alone, which arrives in the same step."""
        charged = self._counters[target.name].inputs is not None
        return (
            charged and target.inputs == (source,) and (source, target.name) not in self._network.back_edges
        )

    def _charge_reads(self, source: Node, target: Node, carried: Amount) -> None:
        """Charge what is read, whatever its fan-out."""
        counter = self._counters[target.name]
        if target.primitive == "Delay":
            counter.add("state_writes", carried, self._batch)
        elif reads_from(self._network, target, source.name):
            counter.add("activation_reads", carried, self._batch)

    def _charge_join(self, source: Node, target: Node, carried: Amount, values: Outputs) -> None:
        """Charge the additions of values that arrive without weights: k of them at a place take k - 1.

        Weighted values are added up in the accumulator that their synapses already pay for; where there are
        some, each value without weights is added to it.
        """
        if len(target.inputs) < 2 or weighted(self._network, source):
            return
        counter, sources = self._counters[target.name], [self._network.node(name) for name in target.inputs]
        if not any(weighted(self._network, one) for one in sources):
            if all(one.emits is not Signal.REAL for one in sources):
                arrived = values != 0
                before = self._there.get(target.name, np.zeros_like(arrived))
                self._there[target.name] = arrived | before
                carried = Amount(nonzero(arrived & before))
            elif source.emits is Signal.REAL and target.name not in self._begun:
                # Real values are there in every place: the sum begins with them.
                self._begun.add(target.name)
                return
        counter.add(Kind.ADDITION, carried, self._batch)

    def _charge_inputs(self, target: Node, values: Outputs) -> None:
        """Charge the operations on the sum of all inputs, once it is complete."""
        counter = self._counters[target.name]
        cost = counter.inputs
        if cost is None:
            return
        self._missing[target.name] -= 1
        if cost.dense:
            if not self._missing[target.name]:
                counter.add_inputs(self._batch.everywhere(cost.synapses), self._batch)
            return
        if len(target.inputs) > 1:
            so_far = self._sums.pop(target.name, None)
            values = values.copy() if so_far is None else so_far + values
        if self._missing[target.name]:
            self._sums[target.name] = values
        else:
            counter.add_inputs(Amount(cost.operations(values)), self._batch)


def _one_step_later(values: _Array) -> _Array:
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])
