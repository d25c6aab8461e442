"""Augmentation of training samples: whole batches at once, from a generator of their own."""

import torch
from torch import Generator, Tensor

from nsc_deploy.config import TrainingConfig


def augment(events: Tensor, config: TrainingConfig, chance: Generator) -> Tensor:
    """Apply the augmentations that `config` asks for, in the order shift, channels, events.

    Args:
        events: [T, B, C], 0 or 1.
        config: time_shift, channel_dropout and event_dropout.
        chance: the only source of randomness.

    Returns:
        [T, B, C], 0 or 1; the same tensor if nothing is asked for.
    """
    if config.time_shift:
        events = shift_in_time(events, config.time_shift, chance)
    if config.channel_dropout:
        events = silence_channels(events, config.channel_dropout, chance)
    if config.event_dropout:
        events = lose_events(events, config.event_dropout, chance)
    return events


def shift_in_time(events: Tensor, largest: int, chance: Generator) -> Tensor:
    """Move each sample by d steps, d uniform in -largest..largest; silence enters at the free end."""
    steps, samples, channels = events.shape
    shift = torch.randint(-largest, largest + 1, (samples,), generator=chance)
    source = torch.arange(steps).unsqueeze(1) - shift
    inside = ((source >= 0) & (source < steps)).unsqueeze(2)
    index = source.clamp(0, steps - 1).unsqueeze(2).expand(steps, samples, channels)
    return events.gather(0, index) * inside


def silence_channels(events: Tensor, probability: float, chance: Generator) -> Tensor:
    """Silence each channel of each sample, for all steps, with a probability."""
    kept = torch.rand(events.shape[1:], generator=chance) >= probability
    return events * kept


def lose_events(events: Tensor, probability: float, chance: Generator) -> Tensor:
    """Lose each event with a probability."""
    return events * (torch.rand(events.shape, generator=chance) >= probability)
