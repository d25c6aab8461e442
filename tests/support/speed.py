"""Limits on processor time that a slow or emulated machine does not reach."""

import functools
import hashlib
import time

# Processor time that the work below took where the limits were set, and what a busy neighbour may add to it.
_REFERENCE_S = 0.012
_MARGIN = 3.0


@functools.cache
def scaled() -> float:
    """By how much to raise a limit in seconds of processor time on this machine, at least threefold."""
    return _MARGIN * max(1.0, min(_timed() for _ in range(5)) / _REFERENCE_S)


def _timed() -> float:
    started = time.process_time()
    texts = {}
    for number in range(60_000):
        texts[number % 997] = f"{number}"
    for _ in range(20):
        hashlib.sha256(bytes(200_000)).digest()
    return time.process_time() - started
