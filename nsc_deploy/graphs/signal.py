"""What travels on an edge of a graph: binary events, graded events or real values."""

from collections.abc import Sequence
from enum import StrEnum


class Signal(StrEnum):
    """What a node can emit, a property of the graph and never of the values that happened to come by.

    `EVENTS` are 0 or 1. `GRADED` are integers carried by events (for example a sum pool over
    events). `REAL` is everything else. A synapse fed with `EVENTS` costs an accumulate (AC), any
    other a multiply-accumulate (MAC).
    """

    EVENTS = "events"
    GRADED = "graded"
    REAL = "real"


def joined(signals: Sequence[Signal]) -> Signal:
    """What the sum of several outputs carries: events that meet on a wire are no longer 0 or 1."""
    if len(signals) == 1:
        return signals[0]
    return Signal.REAL if Signal.REAL in signals else Signal.GRADED
