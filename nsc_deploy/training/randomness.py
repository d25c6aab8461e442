"""Where chance comes from in training: every stream is a function of the seed and of its place.

No random state is carried from step to step, so none has to be saved: a run that was killed and
resumed draws, at every step, the numbers that the uninterrupted run draws there.
"""

import hashlib

import torch


def stream_seed(seed: int, purpose: str, *place: int) -> int:
    """A 63-bit seed for one purpose at one place, such as (epoch, step, rank).

    Streams of different purposes, places or seeds are independent: the seed is a hash of all three.
    """
    text = "/".join([str(seed), purpose, *map(str, place)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def stream(seed: int, purpose: str, *place: int) -> torch.Generator:
    """A generator of torch for one purpose at one place (see `stream_seed`)."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, *place))
