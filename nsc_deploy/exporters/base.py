"""What a target is, and what it is asked to write."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.verdict import Status, Verdict, raise_first_refusal

__all__ = [
    "CalibrationSource",
    "CheckOnly",
    "ExportRequest",
    "ScaleGranularity",
    "Status",
    "Target",
    "Verdict",
    "raise_first_refusal",
]


class ScaleGranularity(StrEnum):
    """Each neuron has a scale of its own, or all of a node share one, so that equal thresholds stay equal."""

    NEURON = "neuron"
    LAYER = "layer"


@dataclass(frozen=True)
class CalibrationSource:
    """Recorded inputs to choose scales on: never those that an artefact is judged by.

    Attributes:
        file: the recording.
        samples: the first so many of it; None for all.
        asked: whether the user named them, and not only the run they lie in.
        origin: the recording that `file` was computed from, where it was made on the way.
    """

    file: Path
    samples: int | None = None
    asked: bool = False
    origin: Path | None = None

    @property
    def told(self) -> Path:
        """The file that the user knows."""
        return self.file if self.origin is None else self.origin


@dataclass(frozen=True)
class ExportRequest:
    """What a target is asked to write.

    Attributes:
        network: the graph, already found acceptable by `check`.
        graph_file: the file it was read from.
        out: the folder to write.
        recording_file: recorded inputs, or None.
        bits: bits of a weight, its sign included.
        calibration: other recorded inputs to choose scales on, or None.
        granularity: whose scales must be alike.
        run: the training run the graph is a part of, or None.
        part: name of the part in that run, or None.
        notify: called with one line for every step taken.
    """

    network: Network
    graph_file: Path
    out: Path
    recording_file: Path | None = None
    bits: int = 8
    calibration: CalibrationSource | None = None
    granularity: ScaleGranularity = ScaleGranularity.NEURON
    run: Path | None = None
    part: str | None = None
    notify: Callable[[str], None] = lambda _message: None


@runtime_checkable
class Target(Protocol):
    """A platform that graphs can be taken to."""

    @property
    def name(self) -> str:
        """As given to `--target`."""

    @property
    def summary(self) -> str:
        """One line for the list of targets."""

    def check(self, network: Network) -> tuple[Verdict, ...]:
        """A verdict on each node of a graph, in the order of its nodes."""

    def export(self, request: ExportRequest) -> Path:
        """Write a deployment folder and return its path.

        Raises:
            ExportError: the graph cannot be represented.
        """


@runtime_checkable
class CheckOnly(Protocol):
    """A target that says whether a graph fits, and writes nothing."""

    @property
    def way_out(self) -> str:
        """What to do instead of an export."""
