"""Counting an integer network: what Lava's processes do for a recording, its relays included.

Time is Lava's: a connection between layers takes a step, so that layer i meets a sample i + 1 steps late. It
is reset then and updates its neurons for the T steps of the sample, and for those by which the last layer is
late in itself; before and after it works on other samples. A spike meets the synapses of its line where it
arrives, a delayed one too.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import nonzero, nonzero_and_fan_out, refuse_empty, refuse_foreign
from nsc_deploy.energy.counting.operations import (
    Footprint,
    Integers,
    LayerCount,
    Operations,
    PartCount,
    Pass,
    Traffic,
    of_events,
)
from nsc_deploy.exporters.lava.arithmetic import processes
from nsc_deploy.exporters.lava.emulator.simulate import all_spikes
from nsc_deploy.exporters.lava.integers import Group, IntegerLayer, IntegerNetwork, Role
from nsc_deploy.exporters.lava.lowering.pipeline import flat_events
from nsc_deploy.exporters.lava.lowering.synapses import Matrix
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal

Outputs = Callable[[slice, NDArray[np.uint8]], None]
# Spikes of all layers of a batch.
_BATCH_BYTES = 2**28
# Lava's neurons have a current and a potential.
_STATES = 2


def count_integers(
    network: IntegerNetwork,
    recording: Recording,
    *,
    name: str,
    batch: int = 64,
    progress: Callable[[int], None] = lambda samples: None,
    observe: Outputs = lambda samples, outputs: None,
) -> PartCount:
    """Count every operation of an integer network over a recording.

    Args:
        network: what Lava runs.
        recording: events that enter it.
        name: of the part.
        batch: samples that are run together, at most.
        progress: told the number of samples done, as they are.
        observe: called with samples and their output spikes [T, N, outputs], at the steps of the graph.

    Raises:
        DataError: the recording is empty, or holds other values than 0 and 1.
    """
    refuse_empty(recording)
    late = network.layers[-1].late
    own, steps = recording.steps + late, recording.steps + network.latency
    layers = [
        [
            _GroupCounter(layer, group, slice(i, i + own), (steps, recording.samples), recording.steps)
            for group in layer.groups
        ]
        for i, layer in enumerate(network.layers, start=1)
    ]
    run = processes(network)
    for samples in _batches(network, own, recording.samples, batch):
        refuse_foreign(recording.values[:, samples], Signal.EVENTS, "input")
        events = flat_events(recording.values[:, samples])
        arriving = np.pad(events, ((0, late), (0, 0), (0, 0)))
        for counters, fired in zip(layers, all_spikes(run, arriving, lag=0), strict=True):
            for counter in counters:
                counter.add(samples, arriving, fired)
            arriving = fired
        observe(samples, arriving[late:])
        progress(samples.stop)
    counted = (
        counter.layer(f"{counter.group.node}{_role(counter.group, index)}")
        for index, counters in enumerate(layers)
        for counter in counters
    )
    return PartCount(
        name=name,
        side=None,
        place=None,
        steps=steps,
        samples=recording.samples,
        dt=recording.dt,
        spiking=True,
        layers=tuple(counted),
        late=network.latency,
    )


def _batches(network: IntegerNetwork, steps: int, samples: int, at_most: int) -> Iterator[slice]:
    neurons = sum(layer.neurons for layer in network.layers) + network.inputs
    size = max(1, min(at_most, _BATCH_BYTES // (steps * neurons)))
    for start in range(0, samples, size):
        yield slice(start, min(start + size, samples))


def _role(group: Group, layer: int) -> str:
    """What sets the neurons of a node apart from those that only hand on its spikes."""
    return "" if group.role is Role.NEURON else f" ({group.role.value} in layer {layer})"


@dataclass(frozen=True)
class Entering:
    """Where spikes of one source enter neurons: synapses of each line, and whether it has any."""

    fan_out: Integers
    reaches: Integers

    @classmethod
    def of(cls, weight: Matrix, rows: slice) -> "Entering":
        """Of some rows of a matrix [neurons, lines]."""
        lines = np.bincount(weight.stored[rows].indices, minlength=weight.shape[1]).astype(np.int64)
        return cls(lines, (lines > 0).astype(np.int64))

    def count(self, spikes: NDArray[Any]) -> tuple[Integers, Integers]:
        """Synapses met, and spikes read, in each step and sample [T, N]."""
        met, read = (nonzero_and_fan_out(spikes, lines)[1] for lines in (self.fan_out, self.reaches))
        return met, read


class _GroupCounter:
    """Adds up what the neurons of one group and their synapses do, batch after batch.

    Args:
        layer: that they are in.
        group: of it.
        at: the steps in which it works on a sample.
        shape: steps until the answer, and samples.
        recorded: steps of a sample.
    """

    def __init__(
        self, layer: IntegerLayer, group: Group, at: slice, shape: tuple[int, int], recorded: int
    ) -> None:
        self.group = group
        self._recorded = recorded
        self._at = at
        self._layer = layer
        self._forward = Entering.of(layer.weight, group.rows)
        self._back = None if layer.recurrent is None else Entering.of(layer.recurrent, group.rows)
        self._met, self._read, self._fired = (np.zeros(shape, np.int64) for _ in range(3))

    def add(self, samples: slice, arriving: NDArray[Any], fired: NDArray[Any]) -> None:
        """Take in the spikes that enter the layer and those of its own neurons, [T, N, lines]."""
        self._met[self._at, samples], self._read[self._at, samples] = self._forward.count(arriving)
        if self._back is not None:
            # Its own spikes arrive a step later.
            later = slice(self._at.start + 1, self._at.stop)
            met, read = self._back.count(fired[:-1])
            self._met[later, samples] += met
            self._read[later, samples] += read
        self._fired[self._at, samples] = nonzero(fired[..., self.group.rows])

    def layer(self, name: str) -> LayerCount:
        """The sums over all batches."""
        layer, group = self._layer, self.group
        biases = int(np.count_nonzero(layer.bias[group.rows]))
        synapses = int(self._forward.fan_out.sum())
        synapses += 0 if self._back is None else int(self._back.fan_out.sum())
        lines = int(self._forward.reaches.sum()) + (
            0 if self._back is None else int(self._back.reaches.sum())
        )
        waiting = int(layer.delay[group.rows].sum())
        steps, samples = self._met.shape
        active = np.zeros((steps, samples), np.int64)
        active[self._at] = 1
        per_sample, traffic = self._along(0, active, biases)
        per_step, traffic_per_step = self._along(1, active, biases)
        once = Pass(
            macs=synapses,
            additions=biases,
            activation_reads=layer.weight.shape[1]
            + (0 if layer.recurrent is None else layer.recurrent.shape[1]),
            activation_writes=group.size,
            steps=self._recorded,
        )
        return LayerCount(
            name=name,
            primitive="CubaLIF",
            arrives=Signal.EVENTS,
            neurons=group.size,
            synapses=synapses,
            dense=synapses * (self._at.stop - self._at.start),
            per_sample=per_sample,
            traffic=traffic,
            footprint=Footprint(synapses + biases, _STATES * group.size + waiting, lines),
            steps=self._at.stop - self._at.start,
            # A conventional network has no relays.
            once=once if group.role is Role.NEURON else Pass(),
            per_step=per_step,
            traffic_per_step=traffic_per_step,
            synops=self._met,
        )

    def _along(self, axis: int, active: Integers, biases: int) -> tuple[Operations, Traffic]:
        """Operations and accesses with one axis added up; `active` is 1 in the steps of the sample."""
        met, read, fired, steps = (one.sum(axis=axis) for one in (self._met, self._read, self._fired, active))
        updates = self.group.size * steps
        return of_events(met, read, fired, updates=updates, biases=biases * steps, states=_STATES)
