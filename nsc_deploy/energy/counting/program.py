"""Counting C code in its integers: what each step of it does for a recording.

Time is that of the graph: an output belongs to the events of the same step. An event meets the synapses of
its line in the step in which it arrives, a delayed one too. Comparators at the front look at samples and
limits; they multiply nothing and add nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.inputs import nonzero, refuse_empty
from nsc_deploy.energy.counting.integers import Entering
from nsc_deploy.energy.counting.operations import (
    Footprint,
    Integers,
    Kind,
    LayerCount,
    Operations,
    PartCount,
    Pass,
    Traffic,
    of_events,
)
from nsc_deploy.exporters.c.emulator import emulate, entering
from nsc_deploy.exporters.c.events import EventCode
from nsc_deploy.exporters.c.program import Connection, Population
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal

Outputs = Callable[[slice, NDArray[Any]], None]


def count_program(
    code: EventCode,
    recording: Recording,
    *,
    name: str,
    batch: int = 64,
    observe: Outputs = lambda samples, outputs: None,
) -> PartCount:
    """Count every operation of C code over a recording.

    Args:
        code: the integers.
        recording: what enters: events, or samples where the code begins with comparators.
        name: of the part.
        batch: samples that are run together, at most.
        observe: called with samples and their outputs [T, N, outputs], in units of the graph.

    Raises:
        DataError: the recording is empty.
    """
    refuse_empty(recording)
    program, shape = code.layout.program, (recording.steps, recording.samples)
    front = program.front_end
    lines = _Counter(shape)
    counters = [_Counter(shape, population) for population in program.populations]
    for start in range(0, recording.samples, batch):
        samples = slice(start, min(start + batch, recording.samples))
        given = entering(program, recording.values[:, samples])
        trace = emulate(program, given, record=True)
        fired = {one: trace.populations[one].spikes for one in trace.populations}
        fired[program.input] = given if front is None else front.events(given)
        lines.fired[:, samples] = nonzero(fired[program.input])
        for counter, population in zip(counters, program.populations, strict=True):
            counter.add(samples, fired, population)
        output = trace.output
        if program.gives_values:
            output = (output / program.population(program.output.source).scale).astype(np.float32)
        observe(samples, output)
    layers = [
        counter.layer(population, _primitive(code, population))
        for counter, population in zip(counters, program.populations, strict=True)
    ]
    if front is not None:
        looked = front.source.size
        layers.insert(0, lines.comparators(front.name, front.lines, looked))
    return PartCount(
        name=name,
        side=None,
        place=None,
        steps=recording.steps,
        samples=recording.samples,
        dt=recording.dt,
        spiking=True,
        layers=tuple(layers),
    )


def _primitive(code: EventCode, population: Population) -> str:
    """Of the node; weights at the end of a graph have neurons behind them that are no node of it."""
    known = {node.name: node.primitive for node in code.network.nodes}
    return known.get(population.name, "LI")


def _weights_kept(connection: Connection) -> int:
    """Weights that the code keeps: those of a convolution once, however many synapses share them."""
    if connection.kernel is not None:
        return int(np.count_nonzero(connection.kernel.weight))
    return len(connection.weight.stored.data)


def _biases_kept(values: NDArray[Any], population: Population) -> int:
    """The same of a bias of each neuron: one for a channel where a convolution has it."""
    kernels = [one.kernel for one in population.connections if one.kernel is not None]
    rows = values.reshape(kernels[0].output_shape[0] if kernels else len(values), -1)
    return int(np.count_nonzero(rows[:, 0] if (rows == rows[:, :1]).all() else rows))


@dataclass
class _Counter:
    """Adds up what neurons and their synapses do, batch after batch.

    Attributes:
        shape: steps, and samples.
        population: the neurons; None for comparators.
        met: synapses met.
        read: events read.
        fired: events given out.
    """

    shape: tuple[int, int]
    population: Population | None = None
    met: Integers = field(init=False)
    read: Integers = field(init=False)
    fired: Integers = field(init=False)

    def __post_init__(self) -> None:
        self.met, self.read, self.fired = (np.zeros(self.shape, np.int64) for _ in range(3))
        connections = () if self.population is None else self.population.connections
        self._entering = [Entering.of(one.weight, slice(None)) for one in connections]

    def add(self, samples: slice, spikes: dict[str, NDArray[Any]], population: Population) -> None:
        """Take in the spikes of everything, [T, N, size] by name."""
        for entrance, connection in zip(self._entering, population.connections, strict=True):
            late = min(connection.delay, self.shape[0])
            met, read = entrance.count(spikes[connection.source][: self.shape[0] - late])
            self.met[late:, samples] += met
            self.read[late:, samples] += read
        self.fired[:, samples] = nonzero(spikes[population.name])

    def layer(self, population: Population, primitive: str) -> LayerCount:
        """The sums over all batches."""
        synapses = sum(int(one.fan_out.sum()) for one in self._entering)
        lines = sum(int(one.reaches.sum()) for one in self._entering)
        added = np.full(self.shape, np.count_nonzero(population.bias))
        for constant in population.constants:
            added[constant.start :] += np.count_nonzero(constant.value)
        biases = (population.bias, *(one.value for one in population.constants))
        kept = sum(_weights_kept(one) for one in population.connections)
        kept += sum(_biases_kept(one, population) for one in biases)
        states = 1 + (population.keep_u is not None)
        delays = sum(one.delay * one.weight.shape[1] for one in population.connections)
        sums = [self._along(axis, population.size, added, states) for axis in (0, 1)]
        once = Pass(
            macs=synapses,
            additions=int(added[-1, 0]),
            activation_reads=sum(one.weight.shape[1] for one in population.connections),
            activation_writes=population.size,
        )
        return LayerCount(
            name=population.name,
            primitive=primitive,
            arrives=Signal.EVENTS,
            neurons=population.size,
            synapses=synapses,
            dense=synapses * self.shape[0],
            per_sample=sums[0][0],
            traffic=sums[0][1],
            footprint=Footprint(kept, states * population.size + delays, lines),
            steps=self.shape[0],
            once=once,
            per_step=sums[1][0],
            traffic_per_step=sums[1][1],
            synops=self.met,
        )

    def comparators(self, name: str, lines: int, looked: int) -> LayerCount:
        """The same of comparators: in each step each looks at a sample and at two limits."""
        sums = []
        for axis in (0, 1):
            fired = self.fired.sum(axis=axis)
            times = np.full_like(fired, self.shape[axis])
            counts = {Kind.NEURON_UPDATE: lines * times, Kind.SPIKE: fired}
            none = np.zeros_like(fired)
            operations = Operations(**{kind.value: counts.get(kind, none) for kind in Kind})
            traffic = Traffic(
                weight_reads=2 * looked * times,
                state_reads=none,
                state_writes=none,
                activation_reads=looked * times,
                activation_writes=fired,
            )
            sums.append((operations, traffic))
        return LayerCount(
            name=name,
            primitive="Threshold",
            arrives=Signal.REAL,
            neurons=lines,
            synapses=0,
            dense=0,
            per_sample=sums[0][0],
            traffic=sums[0][1],
            footprint=Footprint(2 * looked, 0, looked),
            steps=self.shape[0],
            once=Pass(activation_reads=looked, activation_writes=lines),
            per_step=sums[1][0],
            traffic_per_step=sums[1][1],
            synops=self.met,
        )

    def _along(self, axis: int, size: int, added: Integers, states: int) -> tuple[Operations, Traffic]:
        """Operations and accesses with one axis added up."""
        met, read, fired = (one.sum(axis=axis) for one in (self.met, self.read, self.fired))
        times = np.full_like(met, self.shape[axis])
        biases = added.sum(axis=axis)
        return of_events(met, read, fired, updates=size * times, biases=biases, states=states)
