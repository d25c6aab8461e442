"""Counting a NIR graph: the reference simulator runs it, and a meter at each node reads what arrives."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import refuse_empty, refuse_foreign, refuse_too_many
from nsc_deploy.energy.counting.operations import Integers, Kind, PartCount
from nsc_deploy.energy.nir_tally import Batch, Tally
from nsc_deploy.energy.nir_traffic import reads_from, writes_result
from nsc_deploy.energy.presence import Amount, present, weighed
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


def _batches(network: Network, recording: Recording, at_most: int) -> Iterator[Batch]:
    widest = max(max(prod(node.input_shape), prod(node.output_shape)) for node in network.nodes)
    size = max(1, min(at_most, _ARRAY_BYTES // (4 * widest * recording.steps)))
    for start in range(0, recording.samples, size):
        yield Batch(recording.steps, slice(start, min(start + size, recording.samples)))


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
