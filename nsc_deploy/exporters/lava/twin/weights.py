"""What Lava does to the weights of a connection before the first step: sign mode, clipping, truncation."""

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int32]

WEIGHT_BITS = 8


class SignMode(StrEnum):
    """Which signs the weights of a connection may have; the names are Lava's."""

    NULL = "null"
    MIXED = "mixed"
    EXCITATORY = "excitatory"
    INHIBITORY = "inhibitory"


def sign_mode_of(weights: NDArray[Any]) -> SignMode:
    """The mode Lava finds when none is given; weights that are all zero count as excitatory."""
    if weights.min() >= 0:
        return SignMode.EXCITATORY
    return SignMode.INHIBITORY if weights.max() <= 0 else SignMode.MIXED


def scaled_weights(weights: Integers, sign_mode: SignMode | None, bits: int) -> Integers:
    """The weights a connection computes with.

    With `w` of the sign that the mode allows (inhibitory weights are negated for the while):

        w = clip(w, -256, 255) if mixed else clip(w, 0, 255)
        s = 8 - bits + (1 if mixed else 0);  w = (w >> s) << s

    so mixed weights are rounded down, inhibitory ones toward zero, and 8-bit mixed weights are even.

    Args:
        weights: whole numbers.
        sign_mode: the mode, or None to find it.
        bits: `num_weight_bits`, 1..8.
    """
    mode = sign_mode_of(weights) if sign_mode is None else sign_mode
    mixed = mode is SignMode.MIXED
    sign = -1 if mode is SignMode.INHIBITORY else 1
    clipped = np.clip(sign * weights.astype(np.int32), -256 if mixed else 0, 255)
    shift = WEIGHT_BITS - bits + (1 if mixed else 0)
    truncated: Integers = sign * ((clipped >> shift) << shift)
    return truncated
