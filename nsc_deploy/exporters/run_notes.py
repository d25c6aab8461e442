"""What integers lose that shows on a run alone: potentials that are cut, and rounding that is not theirs."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note


def clipping_note(name: str, clipped: NDArray[np.int64], inputs: str = "recorded inputs") -> list[Note]:
    """What is lost where potentials of a population meet the end of their 24 bits.

    Args:
        name: of the population.
        clipped: [size], in how many (step, sample) a potential was cut.
        inputs: on which.
    """
    if not clipped.any():
        return []
    text = f"potentials of {counted(int((clipped > 0).sum()), 'neuron')} are cut at 24 bits on {inputs}"
    return [Note("clipped-potential", name, text, exact=False, error=float((clipped > 0).mean()))]


def clipped_at_check(told: Iterable[Note], clipped: Mapping[str, NDArray[np.int64]]) -> list[Note]:
    """What is cut on the inputs of the check, where scales were chosen on others or on none.

    Args:
        told: what has been said already, of the inputs that scales were chosen on.
        clipped: for each node, in how many (step, sample) the potential of each neuron was cut.
    """
    known = {note.node for note in told if note.kind == "clipped-potential"}
    return [
        note
        for name, counts in clipped.items()
        if name not in known
        for note in clipping_note(name, counts, "the inputs of the check")
    ]


def rounded_in_reference(share: float) -> Note:
    """On integers that are exact, and spikes that differ all the same."""
    text = (
        "the integers are exact; the sums of the reference are rounded to float32, and spikes differ by that"
    )
    return Note("reference-rounding", None, text, exact=False, error=share)
