"""Counts of the values a batch of outputs carries, and of what they meet."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers
from nsc_deploy.kernels.presence import count_present, weigh_present

_NARROW = 2**31 - 1


def present(values: NDArray[Any]) -> Integers:
    """How many values of each step and sample are not zero, [T, N, *shape] -> [T, N]."""
    rows, found = _rows(values)
    count_present(rows, found)
    return found.reshape(values.shape[:2])


def weighed(values: NDArray[Any], weights: Integers) -> tuple[Integers, Integers]:
    """Values that are not zero, and their weights added up.

    Args:
        values: [T, N, *shape].
        weights: [*shape], none negative.

    Returns:
        Numbers and sums of weights, both [T, N].
    """
    rows, found = _rows(values)
    sums = np.empty_like(found)
    # Narrow integers are summed up twice as fast, where the sum of all weights fits them.
    narrow = max(weights.size, int(weights.sum())) <= _NARROW
    weigh_present(rows, weights.reshape(-1).astype(np.int32 if narrow else np.int64), found, sums)
    return found.reshape(values.shape[:2]), sums.reshape(values.shape[:2])


def _rows(values: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    steps, samples = values.shape[:2]
    rows = np.ascontiguousarray(values).reshape(steps * samples, -1)
    return rows, np.empty(steps * samples, dtype=np.int64)


@dataclass(frozen=True)
class Amount:
    """A number of operations in one batch.

    Attributes:
        samples: over all steps, [N].
        steps: over all samples, [T].
    """

    samples: Integers
    steps: Integers

    @classmethod
    def of(cls, numbers: Integers) -> "Amount":
        """From the numbers of each step and sample, [T, N]."""
        return cls(numbers.sum(axis=0), numbers.sum(axis=1))

    @classmethod
    def everywhere(cls, number: int, steps: int, samples: int) -> "Amount":
        """The same number in each step of each sample."""
        return cls(
            np.full(samples, number * steps, dtype=np.int64), np.full(steps, number * samples, dtype=np.int64)
        )

    def times(self, factor: int) -> "Amount":
        """So many operations for each."""
        return Amount(self.samples * factor, self.steps * factor)
