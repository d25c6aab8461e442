"""Samples in memory, cut into batches by index: no copying sample by sample, no worker processes."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nsc_deploy.data import EventSet
from nsc_deploy.training.randomness import stream

EVALUATION_BATCH = 256
"""Samples a batch in validation and test."""

Batch = tuple[Tensor, Tensor]


class Samples(Dataset[Batch]):
    """Events uint8 [N, T, C] and labels int64 [N] as tensors that are read a whole batch at a time."""

    def __init__(self, part: EventSet) -> None:
        self.events = torch.from_numpy(np.ascontiguousarray(part.events))
        self.labels = torch.from_numpy(np.ascontiguousarray(part.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: list[int] | Tensor) -> Batch:
        return self.events[index], self.labels[index]

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
        for batch in torch.split(order, self.size)[: len(self)]:
            yield batch[self.rank :: self.world]


def shuffled_loader(samples: Samples, batches: ShuffledBatches) -> DataLoader[Batch]:
    """A loader of whole batches, in the process itself."""
    return DataLoader(samples, sampler=batches, batch_size=None, num_workers=0)


def ordered_loader(samples: Samples) -> DataLoader[Batch]:
    """A loader of every sample once, in order, in batches of `EVALUATION_BATCH`."""
    index = torch.split(torch.arange(len(samples)), EVALUATION_BATCH)
    return DataLoader(samples, sampler=index, batch_size=None, num_workers=0)


def to_signal(events: Tensor) -> Tensor:
    """Stored events uint8 [B, T, C] as the float32 input [T, B, C] of a system."""
    return events.transpose(0, 1).contiguous().to(torch.float32)
