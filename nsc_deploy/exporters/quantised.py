"""What every export to integers says of itself: on what scales were chosen, what was approximated or cut."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.exporters.base import ExportRequest
from nsc_deploy.exporters.inputs import calibration_inputs, fits, recording_for
from nsc_deploy.graphs.formats.recording import Recording, stated_signal
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.io.files import sha256
from nsc_deploy.io.records import Record
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note


def choose_calibration(request: ExportRequest, behind: Network | None = None) -> Recording | None:
    """Check the recording of a request, read the one that scales are chosen on, and say so.

    Args:
        request: what is asked for.
        behind: of a graph that begins with comparators, what lies behind them: events for it will do too.

    Returns:
        What scales are chosen on; None where it is the weights alone.

    Raises:
        ConfigError: a recording of another graph, fewer samples than asked for, or those of the check.
        DataError: a damaged recording.
    """
    if request.recording_file is not None:
        recording = recording_for(request.network, request.recording_file)
        fits(recording, request.network, request.recording_file)
    source = request.calibration
    events = source is not None and stated_signal(source.file) is Signal.EVENTS
    found = calibration_inputs(replace(request, network=behind) if behind is not None and events else request)
    on = "the weights alone" if found is None else f"{found.samples} recorded samples"
    request.notify(f"lowering and quantising, scales chosen on {on}")
    return found


class Calibrated(Record):
    """Recorded samples on which scales were chosen, others than those in the folder; labels were not used."""

    samples: int = Field(ge=0, description="the first so many of the recording")
    path: str | None = Field(
        default=None,
        description="where the recording was read from; of the whole graph in a deployment in parts, where "
        "scales are chosen on what the front-end makes of it",
    )
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @classmethod
    def of(cls, request: ExportRequest, recording: Recording | None) -> Self:
        """What `choose_calibration` found."""
        if request.calibration is None or recording is None:
            return cls(samples=0)
        file = request.calibration.told
        return cls(samples=recording.samples, path=str(file), sha256=sha256(file))


class Approximation(Record):
    """One thing that was done to the graph on its way."""

    step: str = Field(description="the pass")
    kind: str
    node: str | None
    text: str
    exact: bool = Field(description="whether the spikes stay the same")
    error: float = Field(ge=0, description="relative to what it falsifies")


def approximations(notes: Iterable[tuple[str, Note]]) -> tuple[Approximation, ...]:
    """Notes of passes, each with the name of its pass."""
    return tuple(Approximation(step=step, **vars(note)) for step, note in notes)


_LOST = {"saturation": "cut at the limit", "underflow": "became 0"}
_WHY = frozenset({"narrowed", "clipped-potential"})
_SEEN_THRESHOLD = 0.01
"""By so much a threshold is off before a summary speaks of it."""


def losses(told: Sequence[Approximation], bits: int) -> list[str]:
    """Which weights were cut or lost, and what of a neuron's scale, threshold or potential, a line each."""
    lost = [
        f"{words}: " + ", ".join(f"{one.error:.2%} of '{one.node}'" for one in found)
        for kind, words in _LOST.items()
        if (found := [one for one in told if one.kind == kind])
    ]
    lines = [f"weights of {bits} bits: {'; '.join(lost)}"] if lost else []
    return lines + [
        f"'{one.node}': {one.text}"
        for one in told
        if one.kind in _WHY or (one.kind == "threshold-rounding" and one.error >= _SEEN_THRESHOLD)
    ]


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
    """On integers that are exact, and spikes that differ all the same: for what, nothing has shown."""
    text = (
        "nothing is rounded in the integers, and spikes differ all the same, as they do where sums of the "
        "reference are rounded to float32"
    )
    return Note("reference-rounding", None, text, exact=False, error=share)
