"""Counts as data: operations and memory accesses of each sample and step, by layer, part and system.

The model of memory accesses follows Lemaire et al. (An analytical estimation of spiking neural networks
energy efficiency, ICONIP 2022), with no value kept in a register longer than one operation can use it:

- A synaptic operation reads its weight. An addition of a bias reads the bias.
- An event that meets a synapse reads and writes the state of the target neuron, where it accumulates.
  Real values come all at once, in every step: their sums stay in a register and touch no state.
- An update of a neuron reads and writes each of its state variables once (leaky and integrate-and-fire
  neurons have one, current-based neurons two, a memoryless threshold none).
- A spike is written once, by the neuron that fires it, and read once by each node that takes it in.
  Real values are read and written one by one. What enters a graph from outside is read, not written.
- A delay writes what arrives and reads what leaves: that is state.

One access moves one value. Addresses, the indices of sparse weights, and words of a memory that are
fetched and not used are free.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place, Side
from nsc_deploy.graphs.network import Signal

Integers = NDArray[np.int64]


class Kind(StrEnum):
    """Kinds of operation that are counted apart.

    - `AC`: one binary event meets one existing synapse, an accumulate.
    - `MAC`: a graded or real value meets one existing synapse, a multiply-accumulate.
    - `PRODUCT`: an elementwise multiplication (a gate, a scale).
    - `ADDITION`: an elementwise addition (a bias, a join without weights).
    - `NEURON_UPDATE`: one update of one neuron in one step, whether it fires or not.
    - `SPIKE`: one spike fired.
    - `ACTIVATION`: one evaluation of a function without state (ReLU, sigmoid, comparison).
    """

    AC = "acs"
    MAC = "macs"
    PRODUCT = "products"
    ADDITION = "additions"
    NEURON_UPDATE = "neuron_updates"
    SPIKE = "spikes"
    ACTIVATION = "activations"


@dataclass(frozen=True)
class _Arrays:
    """Fields that are int64 arrays of one and the same length, along samples or steps."""

    @classmethod
    def zeros(cls, length: int) -> Self:
        """None of anything."""
        return cls(*(np.zeros(length, dtype=np.int64) for _ in fields(cls)))

    @classmethod
    def sum(cls, several: Iterable[Self], length: int) -> Self:
        """Element by element, over layers or parts."""
        columns = zip(cls.zeros(length).arrays(), *(one.arrays() for one in several), strict=True)
        return cls(*(np.sum(column, axis=0) for column in columns))

    @classmethod
    def concatenate(cls, several: Iterable[Self]) -> Self:
        """One after the other, along the axis."""
        columns = zip(*(one.arrays() for one in several), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def in_one_step(self) -> Self:
        """All samples together, [1]: the course over a single step."""
        return type(self)(*(values.sum(keepdims=True) for values in self.arrays()))

    def __repr__(self) -> str:
        """The sums, where there are any."""
        sums = {field.name: int(getattr(self, field.name).sum()) for field in fields(self)}
        words = [f"{name} {number}" for name, number in sums.items() if number]
        return f"<{type(self).__name__}: {', '.join(words) or 'none'}>"

    def arrays(self) -> tuple[Integers, ...]:
        """The arrays, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def means(self) -> dict[str, float]:
        """The mean of each array, by its field."""
        return {field.name: float(getattr(self, field.name).mean()) for field in fields(self)}

    @property
    def any(self) -> bool:
        """Whether a single element is not zero."""
        return any(values.any() for values in self.arrays())


@dataclass(frozen=True, repr=False)
class Operations(_Arrays):
    """Numbers of operations, a field for each `Kind`."""

    acs: Integers
    macs: Integers
    products: Integers
    additions: Integers
    neuron_updates: Integers
    spikes: Integers
    activations: Integers

    def of(self, kind: Kind) -> Integers:
        """The array of one kind."""
        values: Integers = getattr(self, kind.value)
        return values

    @property
    def synaptic(self) -> Integers:
        """ACs and MACs together."""
        return self.acs + self.macs


@dataclass(frozen=True, repr=False)
class Traffic(_Arrays):
    """Numbers of memory accesses, each of one value."""

    weight_reads: Integers
    state_reads: Integers
    state_writes: Integers
    activation_reads: Integers
    activation_writes: Integers


def of_events(
    met: Integers, read: Integers, fired: Integers, *, updates: Integers, biases: Integers, states: int
) -> tuple[Operations, Traffic]:
    """Operations and accesses of neurons that events drive; all arrays have one shape.

    Args:
        met: synapses that events met.
        read: events that were read.
        fired: spikes that were written.
        updates: of neurons.
        biases: that were added.
        states: state variables that an update reads and writes.
    """
    none = np.zeros_like(met)
    counts = {Kind.AC: met, Kind.ADDITION: biases, Kind.NEURON_UPDATE: updates, Kind.SPIKE: fired}
    kept = met + states * updates
    return (
        Operations(**{kind.value: counts.get(kind, none) for kind in Kind}),
        Traffic(
            weight_reads=met + biases,
            state_reads=kept,
            state_writes=kept,
            activation_reads=read,
            activation_writes=fired,
        ),
    )


class Store(StrEnum):
    """What a memory holds. Each layer has a memory of its own for each of them."""

    WEIGHTS = "weights"
    STATES = "states"
    ACTIVATIONS = "activation_values"


@dataclass(frozen=True)
class Footprint:
    """Values a layer has to keep, which decides how large its memories are.

    Attributes:
        weights: non-zero weights and biases; a kernel once, wherever it is used.
        states: state variables; for weights fed with events, the sums they accumulate in; for a delay,
            the values on their way.
        activations: values that can arrive in one step.
    """

    weights: int = 0
    states: int = 0
    activations: int = 0

    def of(self, store: Store) -> int:
        """Values in one store."""
        return dict(zip(Store, (self.weights, self.states, self.activations), strict=True))[store]


@dataclass(frozen=True)
class Pass:
    """One pass of a layer as part of a conventional network that takes each value once.

    Attributes:
        macs: one for each existing synapse: a connection that is not there costs neither side.
        products: elementwise multiplications.
        additions: biases and sums of pools.
        activation_reads: values that are read.
        activation_writes: values that are written.
        steps: whose spikes a value counts; None for all those in which the layer runs.
    """

    macs: int = 0
    products: int = 0
    additions: int = 0
    activation_reads: int = 0
    activation_writes: int = 0
    steps: int | None = None


@dataclass(frozen=True)
class LayerCount:
    """One node of a graph.

    Attributes:
        name: of the node.
        primitive: its NIR primitive or ONNX operator.
        arrives: what its inputs carry, a property of the graph.
        neurons: neurons it holds.
        synapses: existing (non-zero) synapses, borders of a convolution taken into account.
        dense: synaptic operations of one sample if every input were non-zero and no synapse missing.
        per_sample: over all steps, [samples].
        traffic: reads and writes of memory over all steps, [samples].
        footprint: what it has to keep in memory.
        steps: in which it works on a sample; in a pipeline fewer than a sample takes until its last output.
        once: what one pass costs in a conventional network of the same sizes; None for an ONNX operator,
            which stays what it is.
        drives: neurons that its weights feed.
        decides: whether it may be the threshold of neurons that are written out in ONNX operators: their
            updates and spikes are not counted as such.
        per_step: over all samples, [steps]; None for an ONNX operator that takes several steps at once.
        traffic_per_step: likewise.
        synops: ACs and MACs of each step and sample, [steps, samples]; None as `per_step`.
    """

    name: str
    primitive: str
    arrives: Signal
    neurons: int
    synapses: int
    dense: int
    per_sample: Operations
    traffic: Traffic
    footprint: Footprint
    steps: int
    once: Pass | None = None
    drives: tuple[str, ...] = ()
    decides: bool = False
    per_step: Operations | None = None
    traffic_per_step: Traffic | None = None
    synops: Integers | None = field(default=None, repr=False)

    @property
    def worth_a_line(self) -> bool:
        """Whether it costs or holds anything at all."""
        return self.synapses > 0 or self.per_sample.any or self.traffic.any


@dataclass(frozen=True)
class PartCount:
    """One graph of a system.

    Attributes:
        steps: of a sample, until its last output.
        spiking: whether the graph holds a spiking neuron or works on binary events.
        layers: those with at least one operation, in the order of the graph.
        free: nodes that only move or rename values.
        unknown: figures that an ONNX graph does not tell: "neurons", and "spikes" and "neuron_updates" where
            it decides anything. They count as 0, and no limit on them can be shown to hold.
        late: of the steps, those that a pipeline adds, in which the next sample is on its way already.
    """

    name: str
    side: Side | None
    place: Place | None
    steps: int
    samples: int
    dt: float
    spiking: bool
    layers: tuple[LayerCount, ...]
    free: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    late: int = 0

    @property
    def seconds(self) -> float:
        """From one sample to the next."""
        return (self.steps - self.late) * self.dt

    @property
    def per_sample(self) -> Operations:
        """All layers together, [samples]."""
        return Operations.sum((layer.per_sample for layer in self.layers), self.samples)

    @property
    def synops(self) -> Integers | None:
        """ACs and MACs in each step and sample, [steps, samples]; None where a layer knows no steps."""
        courses = [layer.synops for layer in self.layers]
        known = [course for course in courses if course is not None]
        if len(known) < len(courses):
            return None
        total: Integers = np.sum([np.zeros((self.steps, self.samples), np.int64), *known], axis=0)
        return total
