"""Real values as the 16 bits of IEEE half precision, and back."""

import torch
from torch import Tensor

from nsc_deploy.channels.straight_through import straight_through

BITS = 16
LARGEST = torch.finfo(torch.float16).max


def rounded(values: Tensor) -> Tensor:
    """Values rounded to half precision (clamped to +-65504, where it ends), in their own dtype."""
    return values.clamp(-LARGEST, LARGEST).half().to(values.dtype)


def rounded_straight_through(values: Tensor) -> Tensor:
    """`rounded`, with the identity as its gradient."""
    return straight_through(values, rounded(values.detach()))


def to_bits(values: Tensor) -> Tensor:
    """The bits of the values in half precision, sign first: [..., S] -> booleans [..., 16 S]."""
    words = values.detach().clamp(-LARGEST, LARGEST).half().view(torch.int16).int()
    return (words.unsqueeze(-1) >> _places(words) & 1).bool().flatten(-2)


def from_bits(bits: Tensor) -> Tensor:
    """Float32 values of bits, sign first: booleans [..., 16 S] -> [..., S]; NaN and infinities become 0."""
    grouped = bits.view(*bits.shape[:-1], -1, BITS).int()
    words = (grouped << _places(bits)).sum(-1).to(torch.int32)
    signed = torch.where(words >= 2**15, words - 2**16, words).to(torch.int16)
    return signed.view(torch.float16).float().nan_to_num(0.0, 0.0, 0.0)


def _places(like: Tensor) -> Tensor:
    return torch.arange(BITS - 1, -1, -1, dtype=torch.int32, device=like.device)
