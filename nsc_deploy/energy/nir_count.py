"""Counting a NIR graph: the reference simulator runs it, and a meter at each node reads what arrives."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counts import Integers, Kind, LayerCount, Operations, PartCount
from nsc_deploy.energy.nir_meters import Meter, constant_costs, dense_synapses, meter_of
from nsc_deploy.energy.nir_traffic import (
    drives,
    footprint,
    reads_from,
    single_pass,
    state_variables,
    writes_result,
)
from nsc_deploy.energy.traffic import Traffic
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.graphs.simulate import simulate

Progress = Callable[[int], None]
Outputs = NDArray[np.floating]
Held = TypeVar("Held", Outputs, Integers)
_LIMIT = 2**62


def count_network(
    network: Network, recording: Recording, *, name: str, batch: int = 64, progress: Progress | None = None
) -> PartCount:
    """Count every operation of a NIR graph over a recording.

    Memory is bounded by the batch: of each batch only the number of operations of each sample is kept.

    Args:
        network: the graph.
        recording: what enters at its Input node.
        name: of the part.
        batch: samples that are simulated together.
        progress: told the number of samples done, as they are.

    Raises:
        DataError: the recording does not fit the input, or the counts would not fit 64 bits.
    """
    tallies = {node.name: _Tally(network, node, recording.steps) for node in network.nodes}
    _refuse_overflow(tallies, recording)
    for start in range(0, recording.samples, batch):
        values = recording.values[:, start : start + batch]
        observer = _Observer(network, tallies, values.shape[1])
        simulate(network, values, observe=observer)
        for tally in tallies.values():
            tally.close()
        if progress is not None:
            progress(start + values.shape[1])
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


class _Tally:
    """Collects the operations of one node, batch after batch."""

    def __init__(self, network: Network, node: Node, steps: int) -> None:
        self.meter: Meter | None = meter_of(network, node)
        self.dense = dense_synapses(node)
        self._arrives = network.arrives(node.name)
        self._network = network
        self._node = node
        self._steps = steps
        self._constant = constant_costs(node)
        self._batch: dict[Kind, Integers] = {}
        self._samples: list[Operations] = []
        self._moved: dict[str, Integers] = {}
        self._traffic: list[Traffic] = []
        self._per_step = Operations.zeros(steps)

    def start(self, samples: int) -> None:
        """Begin a batch with what the node costs whatever arrives."""
        self._batch = {kind: np.zeros((self._steps, samples), dtype=np.int64) for kind in Kind}
        for kind, number in self._constant.items():
            self._batch[kind] += number
        self._moved = {
            name: np.zeros(samples, dtype=np.int64)
            for name in ("activation_reads", "activation_writes", "state_reads", "state_writes")
        }

    @property
    def at_most(self) -> int:
        """The most operations of one kind one sample can cost."""
        once = max(self._constant.values(), default=0)
        return self._steps * max(once, 0 if self.meter is None else self.meter.synapses)

    def add(self, kind: Kind, numbers: Integers) -> None:
        """Add operations of each step and sample, [T, N]."""
        self._batch[kind] += numbers

    def read(self, arriving: Outputs) -> None:
        """Add what the values that arrive, [T, N, *shape], cost at the meter."""
        if self.meter is not None:
            self.add(self.meter.kind, self.meter.read(arriving))

    def move(self, access: str, numbers: Integers) -> None:
        """Add accesses to memory (a field of `Traffic`) of each step and sample, [T, N]."""
        self._moved[access] += numbers.sum(axis=0)

    def _accesses(self, operations: Operations) -> Traffic:
        """Of a batch: what was moved, and what follows from the operations themselves."""
        none = np.zeros_like(operations.acs)
        weights = states = none
        if self._node.synaptic:
            # All additions of a synaptic node but those of joined inputs are biases; a bias is constant.
            biases = self._steps * self._constant.get(Kind.ADDITION, 0)
            weights = operations.synaptic + biases
            states = none if self._arrives is Signal.REAL else operations.synaptic
        elif self._node.primitive == "Scale":
            weights = operations.products
        states = states + state_variables(self._node) * operations.neuron_updates
        return Traffic(
            weight_reads=weights,
            state_reads=states + self._moved["state_reads"],
            state_writes=states + self._moved["state_writes"],
            activation_reads=self._moved["activation_reads"],
            activation_writes=self._moved["activation_writes"],
        )

    def close(self) -> None:
        """End a batch."""
        self._samples.append(Operations(**{kind: grid.sum(axis=0) for kind, grid in self._batch.items()}))
        self._traffic.append(self._accesses(self._samples[-1]))
        steps = Operations(**{kind: grid.sum(axis=1) for kind, grid in self._batch.items()})
        self._per_step = Operations.sum((self._per_step, steps), self._steps)

    def layer(self) -> LayerCount:
        """What was collected."""
        meter = self.meter
        return LayerCount(
            name=self._node.name,
            primitive=self._node.primitive,
            arrives=self._arrives,
            neurons=self._constant.get(Kind.NEURON_UPDATE, 0),
            synapses=meter.synapses if meter is not None and self._node.synaptic else 0,
            dense=self.dense * self._steps,
            per_sample=Operations.concatenate(self._samples),
            traffic=Traffic.concatenate(self._traffic),
            footprint=footprint(self._network, self._node),
            steps=self._steps,
            once=single_pass(self._node, meter, self._constant),
            drives=drives(self._network, self._node) if self._node.synaptic else (),
            per_step=self._per_step,
        )


class _Observer:
    """Takes the outputs of the nodes, in one batch, to the meters of the nodes that read them."""

    def __init__(self, network: Network, tallies: dict[str, _Tally], samples: int) -> None:
        self._network = network
        self._tallies = tallies
        self._sums: dict[str, Outputs] = {}
        self._missing = {node.name: len(node.inputs) for node in network.nodes}
        for tally in tallies.values():
            tally.start(samples)

    def __call__(self, name: str, output: Outputs) -> None:
        node = self._network.node(name)
        carried = _all(output) if node.emits is Signal.REAL else _nonzero(output)
        if node.spiking:
            self._tallies[name].add(Kind.SPIKE, carried)
        if writes_result(self._network, node):
            self._tallies[name].move("activation_writes", carried)
        if node.primitive == "Delay":
            self._tallies[name].move("state_reads", carried)
        for target in self._network.successors(name):
            late = (name, target.name) in self._network.back_edges
            values = _one_step_later(output) if late else output
            # A step of delay leaves out what the last step would hand on after the end.
            numbers = _one_step_later(carried) if late and node.emits is not Signal.REAL else carried
            for _ in range(target.inputs.count(name)):
                self._arrive(node, target, values, numbers)

    def _arrive(self, source: Node, target: Node, values: Outputs, carried: Integers) -> None:
        tally = self._tallies[target.name]
        if target.primitive == "Delay":
            tally.move("state_writes", carried)
        elif reads_from(self._network, target, source.name):
            tally.move("activation_reads", carried)
        if len(target.inputs) == 1:
            tally.read(values)
            return
        if not source.synaptic:
            # Weighted values are added up in the accumulator that their synapses already pay for.
            tally.add(Kind.ADDITION, carried)
        self._missing[target.name] -= 1
        if tally.meter is None:
            return
        so_far = self._sums.get(target.name)
        self._sums[target.name] = values.copy() if so_far is None else so_far + values
        if not self._missing[target.name]:
            tally.read(self._sums.pop(target.name))


def _one_step_later(values: Held) -> Held:
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])


def _nonzero(values: Outputs) -> Integers:
    """Values that are not zero, of each step and sample [T, N]."""
    flat = values.reshape(*values.shape[:2], -1)
    return np.asarray(np.count_nonzero(flat, axis=2), dtype=np.int64)


def _all(values: Outputs) -> Integers:
    return np.full(values.shape[:2], int(np.prod(values.shape[2:])), dtype=np.int64)


def _refuse_overflow(tallies: dict[str, _Tally], recording: Recording) -> None:
    for name, tally in tallies.items():
        if tally.at_most * recording.samples > _LIMIT:
            raise DataError(
                "would cost more operations than 64 bits can count",
                where=f"node '{name}'",
                remedy="Count fewer samples: --samples N.",
            )
