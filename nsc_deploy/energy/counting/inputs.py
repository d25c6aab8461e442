"""Recorded inputs and batches of outputs: what is refused, how many values are nonzero, and their fan-out.

Refused before anything is counted: recordings without values, values that the input cannot carry, and
counts too large to be added up exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Integers
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.kernels import count_nonzero, weigh_nonzero

_LARGEST = 2**63 - 1
_NARROW = 2**31 - 1


def refuse_empty(recording: Recording) -> None:
    """Refuse a recording without steps, samples or channels.

    Raises:
        DataError: with its shape.
    """
    if recording.values.ndim < 2 or 0 in recording.values.shape:
        raise DataError(f"holds no values: its shape is {recording.values.shape}")


def require_batch(batch: int) -> None:
    """Refuse a batch of no samples.

    Raises:
        ConfigError: with the number.
    """
    if batch < 1:
        raise ConfigError(
            f"is {batch} where 1 or more is wanted", where="batch", hint="Name a number of samples."
        )


def refuse_foreign(values: NDArray[Any], carried: Signal, entry: str) -> None:
    """Refuse values that the input cannot carry: events are charged as what they are said to be.

    Args:
        values: of any shape.
        carried: what the input takes in.
        entry: its name.

    Raises:
        DataError: NaN or infinity, events other than 0 and 1, or graded values that are no whole numbers.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("holds NaN or infinity", where=f"input '{entry}'")
    if carried is Signal.EVENTS and not _binary(values):
        raise DataError(
            "holds values other than 0 and 1 where the graph takes in events",
            where=f"input '{entry}'",
            hint='Record events, or state "graded" or "real" as the signal of the input.',
        )
    if carried is Signal.GRADED and values.dtype.kind == "f" and not (values == np.rint(values)).all():
        raise DataError(
            "holds values that are no whole numbers where the graph takes in graded events",
            where=f"input '{entry}'",
            hint='Record whole numbers, or state "real" as the signal of the input.',
        )


def _binary(values: NDArray[Any]) -> bool:
    if values.dtype.kind in "bu":
        return bool(values.max(initial=0) <= 1)
    return bool(((values == 0) | (values == 1)).all())


def refuse_too_many(at_most: Mapping[str, int], samples: int) -> None:
    """Refuse counts whose sum over all nodes might not fit 64 bits.

    Args:
        at_most: a bound of what one sample costs, by node.
        samples: their number.

    Raises:
        DataError: with the node that costs most.
    """
    if sum(at_most.values()) * samples > _LARGEST:
        raise DataError(
            "may cost more operations than 64 bits can count",
            where=f"node '{max(at_most, key=lambda name: at_most[name])}'",
            hint="Count fewer samples: --samples N.",
        )


def nonzero(values: NDArray[Any]) -> Integers:
    """How many values of each step and sample are not zero, [T, N, *shape] -> [T, N]."""
    rows, numbers = _rows(values)
    count_nonzero(rows, numbers)
    return numbers.reshape(values.shape[:2])


def nonzero_and_fan_out(values: NDArray[Any], fan_out: Integers) -> tuple[Integers, Integers]:
    """Values that are not zero, and the sum of their fan-outs, in one pass.

    Args:
        values: [T, N, *shape].
        fan_out: synapses of each input, [*shape], none negative.

    Returns:
        Both [T, N].
    """
    rows, numbers = _rows(values)
    sums = np.empty_like(numbers)
    # Narrow integers are summed up twice as fast, where the sum of all fan-outs fits them.
    narrow = max(fan_out.size, int(fan_out.sum())) <= _NARROW
    weigh_nonzero(rows, fan_out.reshape(-1).astype(np.int32 if narrow else np.int64), numbers, sums)
    return numbers.reshape(values.shape[:2]), sums.reshape(values.shape[:2])


def _rows(values: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
    steps, samples = values.shape[:2]
    rows = np.ascontiguousarray(values).reshape(steps * samples, -1)
    return rows, np.empty(steps * samples, dtype=np.int64)


@dataclass(frozen=True)
class Amount:
    """A number of operations or accesses in a batch.

    Attributes:
        each: of each step and sample, [T, N].
    """

    each: Integers

    @cached_property
    def samples(self) -> Integers:
        """Over all steps, [N]."""
        samples: Integers = self.each.sum(axis=0)
        return samples

    @cached_property
    def steps(self) -> Integers:
        """Over all samples, [T]."""
        steps: Integers = self.each.sum(axis=1)
        return steps

    @classmethod
    def everywhere(cls, number: int, steps: int, samples: int) -> "Amount":
        """The same number in each step of each sample."""
        return cls(np.broadcast_to(np.int64(number), (steps, samples)))

    def times(self, factor: int) -> "Amount":
        """So many operations for each."""
        return Amount(self.each * factor)
