"""Encoded data sets: binary events, samples first, with their classes."""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError


@dataclass(frozen=True)
class EventSet:
    """One part of a data set.

    Attributes:
        events: [samples, steps, channels] uint8, 0 or 1.
        labels: [samples] int64, the class of each sample.
    """

    events: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.events.ndim != 3 or self.labels.shape != self.events.shape[:1]:
            raise DataError(
                f"events {self.events.shape} and labels {self.labels.shape} do not fit", where="event set"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def steps(self) -> int:
        """Time steps per sample."""
        return int(self.events.shape[1])

    @property
    def channels(self) -> int:
        """Event channels."""
        return int(self.events.shape[2])

    @property
    def rate(self) -> float:
        """Share of (step, channel) places that hold an event."""
        return float(self.events.mean()) if self.events.size else 0.0

    def take(self, indices: NDArray[np.integer]) -> "EventSet":
        """The samples at `indices`, in that order."""
        return EventSet(self.events[indices], self.labels[indices])


@dataclass(frozen=True)
class EventData:
    """A data set as events.

    Attributes:
        train: the training part.
        test: the test part, never used to choose anything.
        class_names: the name of each class, in the order of the labels.
        dt: length of a step in seconds.
    """

    train: EventSet
    test: EventSet
    class_names: tuple[str, ...]
    dt: float

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem is not None:
            raise DataError(problem, where="set of events")

    def _problem(self) -> str | None:
        parts = {"training": self.train, "test": self.test}
        for name, part in parts.items():
            if not part.events.size:
                return f"its {name} part holds nothing"
            if part.labels.min() < 0 or part.labels.max() >= self.classes:
                return f"its {name} part has labels other than 0 to {self.classes - 1}"
        if self.train.events.shape[1:] != self.test.events.shape[1:]:
            return "its two parts differ in steps or channels"
        return None if 0 < self.dt < math.inf else f"its steps last {self.dt} s"

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def sha256(self) -> str:
        """SHA-256 of events and labels, training part then test part."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            for array in (part.events, part.labels):
                digest.update(str((array.dtype.str, array.shape)).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()


def validation_split(train: EventSet, fraction: float, seed: int) -> tuple[EventSet, EventSet]:
    """Cut a validation part from the training part, with the same share of every class.

    Args:
        train: the training part.
        fraction: share to keep for validation, between 0 and 1; of each class the nearest whole number,
            at least one sample on either side.
        seed: the same seed gives the same cut.

    Returns:
        (training rest, validation part), each in the order of `train`.

    Raises:
        DataError: the fraction is not between 0 and 1, or a class has fewer than two samples.
    """
    chosen = held_out(train.labels, fraction, seed)
    return train.take(np.flatnonzero(~chosen)), train.take(np.flatnonzero(chosen))


def held_out(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which samples a validation part takes, with the same share of every class.

    Args:
        labels: [samples] int64.
        fraction: as of `validation_split`.
        seed: the same seed gives the same choice.

    Returns:
        [samples], true for the validation part.

    Raises:
        DataError: as `validation_split`.
    """
    if not 0 < fraction < 1:
        raise DataError(
            f"a validation fraction of {fraction} is not between 0 and 1", where="validation split"
        )
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {label} has {len(members)} training sample, too few to share with a validation part",
                where="validation split",
                hint="Use more samples.",
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        chosen[generator.permutation(members)[:count]] = True
    return chosen
