"""Weights on dyadic grids, multiples of 2^-k, on which sums over binary events are exact in any order.

A float32 holds every whole number up to 2^24. Weights that are whole multiples of 2^-k, with the
absolute values of each neuron's weights adding up to at most 2^24 steps of the grid, therefore have
partial sums that are exact whatever the order of summation: every framework, matrix library and number
of threads gives the same current to the last bit (`snap`).

For weights of few bits (`on_row_grids`) each neuron has a step of its own on that grid, of which its weights
are at most 2^(bits-1) - 1 multiples. It is the one of a few candidates at which the squares of the rounding
errors add up to least, as an export chooses it where nothing was recorded.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nsc_deploy.errors import GraphError

EXACT_STEPS = 2**24
CUTS = (1.0, 1.15, 1.3, 1.6, 2.0, 2.5)
"""Steps worth a try: that at which the largest weight just fits, over each of these; above 1 it is cut."""
FINEST_BITS = 24
"""No step is finer than 2^-24: an export looks for steps down to there."""
_MARGIN = 2
"""Rounding may make a neuron's sum of weights larger, though never four times."""
_FINEST = 60
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Snapped:
    """Weights on a grid.

    Attributes:
        weight: multiples of 2^-bits, in the shape they were given.
        bias: multiples of 2^-bits [out], or None.
        bits: k; the step of the grid is 2^-k. May be negative for very large weights.
    """

    weight: Float32
    bias: Float32 | None
    bits: int


def snap(weight: ArrayLike, bias: ArrayLike | None = None, *, max_input: int = 1) -> Snapped:
    """Round weights to the finest grid on which every sum over integer inputs is exact in float32.

    Args:
        weight: [out, ...], everything behind the first dimension feeds one output.
        bias: [out], or None.
        max_input: largest absolute value of an input: 1 for events, more for graded ones.

    Returns:
        Weights no further than half a step of the grid from the given ones; snapping them again changes
        nothing.

    Raises:
        GraphError: a weight is NaN or infinite, or an input range below 1.
    """
    rows = np.asarray(weight, dtype=np.float64)
    offsets = None if bias is None else np.asarray(bias, dtype=np.float64)
    if (
        max_input < 1
        or not np.isfinite(rows).all()
        or (offsets is not None and not np.isfinite(offsets).all())
    ):
        raise GraphError("weights that are not finite, or inputs without a range, lie on no grid")
    largest = steps_needed(rows, offsets, max_input)
    bits = _FINEST if largest == 0 else min(_FINEST, int(np.floor(np.log2(EXACT_STEPS / largest))))
    while (
        steps_needed(_on_grid(rows, bits), _bias_on_grid(offsets, bits), max_input) * 2.0**bits > EXACT_STEPS
    ):
        bits -= 1
    snapped_bias = _bias_on_grid(offsets, bits)
    return Snapped(
        _on_grid(rows, bits).astype(np.float32),
        None if snapped_bias is None else snapped_bias.astype(np.float32),
        bits,
    )


def steps_needed(weight: NDArray[Any], bias: NDArray[Any] | None, max_input: int = 1) -> float:
    """Largest absolute sum that any neuron's inputs can reach on the way, in the unit of the weights."""
    totals = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * max_input
    if bias is not None:
        totals = totals + np.abs(bias)
    return float(totals.max(initial=0.0))


def _on_grid(values: NDArray[np.float64], bits: int) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(values * 2.0**bits) * 2.0**-bits
    return rounded


def _bias_on_grid(values: NDArray[np.float64] | None, bits: int) -> NDArray[np.float64] | None:
    return None if values is None else _on_grid(values, bits)


def most_steps(bits: int) -> int:
    """The largest whole number that a weight of so many bits, its sign included, can be (both signs)."""
    return int(2 ** (bits - 1) - 1)


def on_row_grids(weight: ArrayLike, bits: int, bias: ArrayLike | None = None) -> Float32:
    """Round weights to whole multiples of a step for each row.

    Args:
        weight: [out, in] of the neurons' weights, finite.
        bits: of a weight, its sign included, 2 or more.
        bias: [out] of the same neurons; it shares the grid on which sums stay exact.

    Raises:
        GraphError: a weight is NaN or infinite.
    """
    rows, limit = np.asarray(weight, np.float64), most_steps(bits)
    unit = 2.0 ** -min(snap(rows, bias).bits - _MARGIN, FINEST_BITS)
    widest = np.abs(rows).max(axis=1, initial=0.0) / limit
    best, least = np.zeros_like(rows), np.full(len(rows), np.inf)
    for cut in CUTS:
        step = np.maximum(np.floor(widest / cut / unit), 1.0)[:, None] * unit
        tried = np.clip(np.rint(rows / step), -limit, limit) * step
        error = ((tried - rows) ** 2).sum(axis=1)
        better = error < least
        best[better], least[better] = tried[better], error[better]
    return best.astype(np.float32)
