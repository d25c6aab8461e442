"""Samples in memory, cut into batches by index: no copying sample by sample, no worker processes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nsc_deploy.data import EventSet
from nsc_deploy.training.randomness import stream, stream_seed

EVALUATION_BATCH = 256
"""Samples a batch in validation and test; fixed, because the channel noise of a batch depends on it."""

Batch = tuple[Tensor, Tensor]


class Samples(Dataset[Batch]):
    """Events uint8 [N, T, C] and labels int64 [N] that are read a whole batch at a time."""

    def __init__(self, events: Tensor, labels: Tensor) -> None:
        self.events, self.labels = events, labels

    @classmethod
    def of(cls, part: EventSet) -> "Samples":
        """The samples of a part of a data set, without a copy where the memory allows it."""
        return cls(torch.from_numpy(np.ascontiguousarray(part.events)), torch.from_numpy(part.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: list[int] | Tensor) -> Batch:
        return self.events[index], self.labels[index]

    def at(self, index: NDArray[np.int64]) -> "Samples":
        """The samples of some indices."""
        events, labels = self[torch.from_numpy(index)]
        return Samples(events, labels)

    def in_order(self, size: int = EVALUATION_BATCH) -> Iterator[Batch]:
        """Every sample once, in batches of `size` and a smaller last one."""
        for start in range(0, len(self), size):
            yield self.events[start : start + size], self.labels[start : start + size]


class ShuffledBatches(Sampler[Tensor]):
    """The indices of one process's share of every batch, in an order drawn from (seed, epoch).

    Each batch of `size` samples is dealt out to `world` processes in turn, so that together they
    see the batches one process would see. Samples that do not fill a last batch wait for the next
    epoch's order: every step then has the same number of samples and weighs the same.
    """

    def __init__(self, samples: int, size: int, seed: int, *, rank: int = 0, world: int = 1) -> None:
        self.samples, self.size, self.seed = samples, min(size, samples - samples % world), seed
        self.rank, self.world, self.epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        """Take the order of this epoch from the next iteration on (Lightning calls it)."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.samples // self.size

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(self.samples, generator=stream(self.seed, "order", self.epoch))
        for batch in order.split(self.size)[: len(self)]:
            yield batch[self.rank :: self.world]


def shuffled_loader(samples: Samples, batches: ShuffledBatches) -> DataLoader[Batch]:
    """A loader of whole batches, in the process itself."""
    return DataLoader(samples, sampler=batches, batch_size=None, num_workers=0)


def ordered_loader(samples: Samples) -> DataLoader[Batch]:
    """A loader of every sample once, in order, in batches of `EVALUATION_BATCH`."""
    index = torch.arange(len(samples)).split(EVALUATION_BATCH)
    return DataLoader(samples, sampler=index, batch_size=None, num_workers=0)


@dataclass(frozen=True)
class Split:
    """Indices of the training part and of the validation part, each sorted."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def stratified_split(labels: NDArray[np.int64], fraction: float, seed: int) -> Split:
    """Cut `fraction` of each class off as the validation part.

    A class gives round(fraction * n) of its n samples, at least one and never its last one; with
    `fraction` 0 the validation part is empty.
    """
    chance = np.random.default_rng(stream_seed(seed, "validation part"))
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(members))), len(members) - 1) if fraction else 0
        chosen[chance.permutation(members)[:count]] = True
    return Split(np.flatnonzero(~chosen), np.flatnonzero(chosen))


def to_signal(events: Tensor) -> Tensor:
    """Stored events uint8 [B, T, C] as the float32 input [T, B, C] of a system."""
    return events.transpose(0, 1).contiguous().to(torch.float32)
