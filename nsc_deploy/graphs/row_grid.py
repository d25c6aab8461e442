"""Weights as few-bit whole numbers of a step: the form in which integers take them over without rounding.

A neuron's weights are whole multiples, at most 2^(bits-1) - 1 of them, of a step of its own. The step is the
one of a few candidates at which the squares of the rounding errors add up to least, as an export chooses it
where nothing was recorded. It lies on the dyadic grid of its layer, so that sums over events stay exact in
float32 (see `dyadic`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nsc_deploy.graphs.dyadic import Float32, snap

CUTS = (1.0, 1.15, 1.3, 1.6, 2.0, 2.5)
"""Steps worth a try: that at which the largest weight just fits, over each of these; above 1 it is cut."""
FINEST_BITS = 24
"""No step is finer than 2^-24: an export looks for steps down to there."""
_MARGIN = 2
"""Rounding may make a neuron's sum of weights larger, though never four times."""

Reals = NDArray[np.float64]


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
