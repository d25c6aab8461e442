"""Samples in memory, cut into batches by index, augmented whole batches at a time.

Every random stream is a function of the seed and of its place. No random state is carried from step to
step, so none has to be saved: a run that was killed and resumed draws, at every step, the numbers that the
uninterrupted run draws there.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from nsc_deploy.config.speech import TrainingConfig
from nsc_deploy.data import EventSet

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


@dataclass(frozen=True)
class Share:
    """Which samples of a batch one process has: every `world`-th, from `rank` on."""

    rank: int = 0
    world: int = 1

    def of(self, whole: Tensor, dim: int = 0) -> Tensor:
        """This share of what is there for a whole batch, whose samples lie along `dim`."""
        return whole.index_select(dim, torch.arange(self.rank, whole.shape[dim], self.world))


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


def stream_seed(seed: int, purpose: str, *place: int) -> int:
    """A 63-bit seed for one purpose at one place, such as (epoch, step, rank).

    Streams of different purposes, places or seeds are independent: the seed is a hash of all three.
    """
    text = "/".join([str(seed), purpose, *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, purpose: str, *place: int) -> torch.Generator:
    """A generator of torch for one purpose at one place (see `stream_seed`)."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *place))


def augment(events: Tensor, config: TrainingConfig, chance: Generator, share: Share = Share()) -> Tensor:
    """Apply the augmentations that `config` asks for, in the order shift, channels, events.

    Each process draws for the whole batch and takes its share, so that a sample is changed in the same way
    whatever the number of processes.

    Args:
        events: [T, B, C], 0 or 1.
        config: time_shift, channel_dropout and event_dropout.
        chance: the only source of randomness, the same in every process.
        share: which samples of the batch `events` are.

    Returns:
        [T, B, C], 0 or 1; the same tensor if nothing is asked for.
    """
    if config.time_shift:
        events = shift_in_time(events, config.time_shift, chance, share)
    if config.channel_dropout:
        events = silence_channels(events, config.channel_dropout, chance, share)
    if config.event_dropout:
        events = lose_events(events, config.event_dropout, chance, share)
    return events


def shift_in_time(events: Tensor, largest: int, chance: Generator, share: Share = Share()) -> Tensor:
    """Move each sample by d steps, d uniform in -largest..largest; silence enters at the free end."""
    steps, samples, channels = events.shape
    shift = share.of(torch.randint(-largest, largest + 1, (samples * share.world,), generator=chance))
    source = torch.arange(steps).unsqueeze(1) - shift
    inside = ((source >= 0) & (source < steps)).unsqueeze(2)
    index = source.clamp(0, steps - 1).unsqueeze(2).expand(steps, samples, channels)
    return events.gather(0, index) * inside


def silence_channels(events: Tensor, probability: float, chance: Generator, share: Share = Share()) -> Tensor:
    """Silence each channel of each sample, for all steps, with a probability."""
    _, samples, channels = events.shape
    drawn = torch.rand(samples * share.world, channels, generator=chance)
    return events * (share.of(drawn) >= probability)


def lose_events(events: Tensor, probability: float, chance: Generator, share: Share = Share()) -> Tensor:
    """Lose each event with a probability."""
    steps, samples, channels = events.shape
    drawn = torch.rand(steps, samples * share.world, channels, generator=chance)
    return events * (share.of(drawn, 1) >= probability)
