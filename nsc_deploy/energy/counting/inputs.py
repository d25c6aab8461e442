"""What is refused before anything is counted: recordings without values, values that are not what they are
said to be, and numbers too large to be added up exactly.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Signal

LARGEST = 2**63 - 1


def refuse_empty(recording: Recording) -> None:
    """Refuse a recording without steps, samples or channels.

    Raises:
        DataError: with its shape.
    """
    if recording.values.ndim < 2 or 0 in recording.values.shape:
        raise DataError(f"holds no values: its shape is {recording.values.shape}")


def refuse_foreign(values: NDArray[Any], carried: Signal, entry: str) -> None:
    """Refuse values that the input cannot carry: events are charged as what they are said to be.

    Args:
        values: of any shape.
        carried: what the input takes in.
        entry: its name.

    Raises:
        DataError: NaN or infinity, or events other than 0 and 1.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("holds NaN or infinity", where=f"input '{entry}'")
    if carried is Signal.EVENTS and not _binary(values):
        raise DataError(
            "holds values other than 0 and 1 where the graph takes in events",
            where=f"input '{entry}'",
            remedy='Record events, or state "graded" or "real" as the signal of the input.',
        )


def _binary(values: NDArray[Any]) -> bool:
    if values.dtype.kind in "bu":
        return bool(values.max(initial=0) <= 1)
    return bool(((values == 0) | (values == 1)).all())


def refuse_too_many(at_most: Mapping[str, int], samples: int) -> None:
    """Refuse counts whose sum over all nodes might not fit 64 bits.

    Args:
        at_most: a bound of what one sample costs, by node.
        samples: their number.

    Raises:
        DataError: with the node that costs most.
    """
    if sum(at_most.values()) * samples > LARGEST:
        raise DataError(
            "may cost more operations than 64 bits can count",
            where=f"node '{max(at_most, key=lambda name: at_most[name])}'",
            remedy="Count fewer samples: --samples N.",
        )
