"""What the nodes of a NIR graph have cost so far: collected batch after batch."""

from dataclasses import dataclass
from math import prod

import numpy as np

from nsc_deploy.energy.counting.nir_rules import Meter, constant_costs, dense_synapses, meter_of
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, Operations
from nsc_deploy.energy.nir_traffic import drives, footprint, single_pass, state_variables
from nsc_deploy.energy.presence import Amount
from nsc_deploy.energy.traffic import Traffic
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Node, Signal


@dataclass(frozen=True)
class Batch:
    """A batch of samples: where it stands in the recording."""

    steps: int
    samples: slice

    @property
    def size(self) -> int:
        """Its number of samples."""
        return int(self.samples.stop - self.samples.start)


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


def _operations(found: dict[Kind, Integers], none: Integers) -> Operations:
    return Operations(**{kind.value: found.get(kind, none) for kind in Kind})
