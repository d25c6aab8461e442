"""Arrays that do not say what their axes are: how they were read, and whether that is likely.

Time leaves traces that samples do not. What entered a channel in one step is like what enters it in the next
one, or keeps from firing again at once; neighbouring samples are alike only as far as all samples are.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.graphs.network import Signal

_MOST_SLICES, _MOST_CHANNELS, _FEWEST_SLICES = 64, 2048, 4
_ALIKE, _TIMES, _ERRORS = 0.05, 2.0, 4.0
"""Correlation from which on neighbours are alike; times that of the other axis; and errors above it."""
_REPELS, _FEWEST_EVENTS = 0.5, 50.0
"""Share of the coincidences of chance below which neighbours exclude each other; fewest by chance."""


def words_of_axes(shape: tuple[int, ...]) -> str:
    """How values [steps, samples, *shape] were read."""
    channels = " x ".join(str(size) for size in shape[2:])
    return f"{shape[0]:,} steps of {shape[1]:,} samples, {channels} channels"


def doubts(
    values: NDArray[Any], signal: Signal, labels: NDArray[Any] | None, where: object, *, turned: bool = False
) -> list[Diagnostic]:
    """What speaks against what somebody said of an array.

    Args:
        values: [steps, samples, *shape], as they were said to be.
        signal: what they were said to hold.
        labels: [samples], or None.
        where: the file.
        turned: whether they were said to come samples first.
    """
    found = []
    told_by_labels = labels is not None and values.shape[0] != values.shape[1]
    if not told_by_labels and (evidence := evidence_of_swapped_axes(values)):
        say = "leave --samples-first out" if turned else "say --samples-first (energy commands, record)"
        read, other = words_of_axes(values.shape), f"{values.shape[1]:,} steps of {values.shape[0]:,} samples"
        found.append(
            Diagnostic(
                "swapped-axes",
                f"steps and samples may be swapped: it was read as {read}",
                evidence,
                f"Where it holds {other}, {say}. Where it was read right, nothing is wrong.",
                str(where),
            )
        )
    if signal is not Signal.EVENTS and values.any() and ((values == 0) | (values == 1)).all():
        found.append(
            Diagnostic(
                "only-zeros-and-ones",
                f"values that are said to be {signal.value} are all 0 or 1: each counts as a product (MAC), "
                "and an event would as an accumulation (AC)",
                f"{prod(values.shape):,} values, and no other number among them.",
                "Where they are spikes, say --signal events.",
                str(where),
            )
        )
    return found


@dataclass(frozen=True)
class _Neighbours:
    """How values are like those beside them along one axis.

    Attributes:
        correlation: of neighbours, means of the channels taken off.
        error: its standard error.
        repels: whether events exclude each other: far fewer coincide than by chance.
    """

    correlation: float
    error: float
    repels: bool


def evidence_of_swapped_axes(values: NDArray[Any]) -> str:
    """What makes time seem to run along the second axis and not along the first; empty where nothing does.

    Args:
        values: [steps, samples, *shape], as they are taken.
    """
    some = values[:_MOST_SLICES, :_MOST_SLICES].reshape(*values[:_MOST_SLICES, :_MOST_SLICES].shape[:2], -1)
    if min(some.shape[:2]) < _FEWEST_SLICES:
        return ""
    some = some[:, :, :: max(1, -(-some.shape[2] // _MOST_CHANNELS))].astype(np.float64)
    first, second = _neighbours(some), _neighbours(some.swapaxes(0, 1))
    if first.repels:
        return ""
    if second.repels:
        return "a channel that fires hardly ever fires again beside it along the second axis, as in time."
    like, unlike = second.correlation, max(first.correlation, 0.0)
    if like < _ALIKE or like - _TIMES * unlike < _ERRORS * (second.error + first.error):
        return ""
    return (
        f"neighbours along the second axis are alike (correlation {like:.2f}), as steps of a sample are, and "
        f"those along the first are not ({first.correlation:.2f})."
    )


def _neighbours(values: NDArray[np.float64]) -> _Neighbours:
    """Of values [along, across, channels]."""
    mean = values.mean(axis=(0, 1))
    rest = values - mean
    power = float((rest**2).mean())
    if not power:
        return _Neighbours(0.0, 0.0, repels=False)
    products = (rest[1:] * rest[:-1]).mean(axis=(1, 2)) / power
    events = values.min() >= 0
    chance = float((mean**2).mean())
    pairs = (len(values) - 1) * values.shape[1] * values.shape[2]
    together = float((values[1:] * values[:-1]).mean())
    repels = events and chance * pairs >= _FEWEST_EVENTS and together < _REPELS * chance
    return _Neighbours(float(products.mean()), float(products.std() / np.sqrt(len(products))), bool(repels))
