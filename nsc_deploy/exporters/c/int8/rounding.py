"""Factors in integers that round as single precision does, for every sum.

A graph in integers scales a sum a by a factor f of single precision, cuts it off and rounds half to even:

    y(a) = rint(min(max(a * f, 0), L))         one rounding of the product, one to a whole number

y is monotone in a, so it is known by its steps: the least sums T(k) with y >= k + 1, k = 0..L - 1. In C it is

    y'(a) = min(max((a m + 2^(s - 1)) >> s, 0), L)

which has the same steps if and only if T(k) m >= (2 k + 1) 2^(s - 1) > (T(k) - 1) m for every k. A multiplier
m of 31 bits within all these limits is exact, which is a proof over every sum and no sample of them. Where
none is, as where halves go to even, C rounds the product to single precision itself, in integers.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_SUM = 2**31 - 1


@dataclass(frozen=True)
class Factor:
    """A factor in integers.

    Attributes:
        multiplier: m, 2^30 or more and below 2^31.
        shift: s, 1..62.
    """

    multiplier: int
    shift: int


def exact_factor(factor: float, largest: int, reach: int = MOST_SUM) -> Factor | None:
    """The multiplier and shift whose steps are those of a factor of single precision.

    Args:
        factor: f, above 0.
        largest: L.
        reach: the largest sum that there can be.

    Returns:
        The factor; None where none is exact.
    """
    near = nearest_factor(factor)
    if near is None:
        return None
    nearest, shift = near.multiplier, near.shift
    steps = steps_of(factor, largest, reach)
    half = 1 << (shift - 1)
    least, most = 1 << 30, MOST_SUM
    for place, step in enumerate(steps):
        middle = (2 * place + 1) * half
        if step <= reach:
            least = max(least, -(-middle // step))
        if step > 1:
            most = min(most, (middle - 1) // (step - 1))
    return Factor(min(max(nearest, least), most), shift) if least <= most else None


def nearest_factor(factor: float) -> Factor | None:
    """A number of single precision as m 2^-s, without rounding; None where no shift reaches it."""
    fraction, exponent = np.frexp(np.float64(np.float32(factor)))
    shift = int(31 - exponent)
    return Factor(int(fraction * 2.0**31), shift) if 1 <= shift <= 62 else None


def steps_of(factor: float, largest: int, reach: int) -> list[int]:
    """T(k) of k = 0..largest - 1, found by halving; `reach` + 1 where no sum reaches it."""
    wanted = np.arange(1, largest + 1)
    below, there = np.zeros(largest, np.int64), np.full(largest, reach + 1, np.int64)
    while (there - below > 1).any():
        middle = (below + there) // 2
        found = in_single_precision(middle, factor, largest) >= wanted
        below, there = np.where(found, below, middle), np.where(found, middle, there)
    steps: list[int] = there.tolist()
    return steps


def in_single_precision(sums: NDArray[np.int64], factor: float, largest: int) -> NDArray[np.int64]:
    """What sums come to, as the graph computes it."""
    scaled = sums.astype(np.float32) * np.float32(factor)
    found: NDArray[np.int64] = np.rint(np.clip(scaled, 0, largest)).astype(np.int64)
    return found
