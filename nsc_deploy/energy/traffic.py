"""What is moved between memory and arithmetic: reads and writes of weights, states and activations.

The model, after Lemaire et al. (An analytical estimation of spiking neural networks energy efficiency,
ICONIP 2022), with no value kept in a register longer than one operation can use it:

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
from dataclasses import dataclass, fields
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Store(StrEnum):
    """What a memory holds. Each layer has a memory of its own for each of them."""

    WEIGHTS = "weights"
    STATES = "states"
    ACTIVATIONS = "activation_values"


@dataclass(frozen=True)
class Traffic:
    """Accesses along one axis, one value each.

    Attributes:
        weight_reads: and all others: int64, of one length (samples, or one element for a single pass).
    """

    weight_reads: Integers
    state_reads: Integers
    state_writes: Integers
    activation_reads: Integers
    activation_writes: Integers

    @classmethod
    def zeros(cls, length: int) -> "Traffic":
        """No access at all."""
        return cls(*(np.zeros(length, dtype=np.int64) for _ in fields(cls)))

    @classmethod
    def concatenate(cls, several: Iterable["Traffic"]) -> "Traffic":
        """One after the other, along the axis."""
        columns = zip(*(one.arrays() for one in several), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def arrays(self) -> tuple[Integers, ...]:
        """The arrays, in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def any(self) -> bool:
        """Whether there is a single access."""
        return any(values.any() for values in self.arrays())


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
        sizes = {
            Store.WEIGHTS: self.weights,
            Store.STATES: self.states,
            Store.ACTIVATIONS: self.activations,
        }
        return sizes[store]


@dataclass(frozen=True)
class Pass:
    """One pass of a layer as part of a conventional network that takes each value once.

    Attributes:
        macs: one for each existing synapse: a connection that is not there costs neither side.
        products: elementwise multiplications.
        additions: biases and sums of pools.
        activation_reads: values that are read.
        activation_writes: values that are written.
    """

    macs: int = 0
    products: int = 0
    additions: int = 0
    activation_reads: int = 0
    activation_writes: int = 0
