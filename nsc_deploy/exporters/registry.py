"""The targets a graph can be checked against and exported to.

A target is one object with a name, a `check` and an `export`. Those of this package are listed here; any
other package adds one with an entry point in the group `nsc_deploy.targets`.
"""

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import Verdict
from nsc_deploy.exporters.sharing import Sharing
from nsc_deploy.graphs.network import Network

GROUP = "nsc_deploy.targets"
BUILT_IN = {
    "lava": "nsc_deploy.exporters.lava.target:TARGET",
    "nir": "nsc_deploy.exporters.nir:TARGET",
    "onnx": "nsc_deploy.exporters.onnx.target:TARGET",
    "snntorch": "nsc_deploy.exporters.torch_module.target:SNNTORCH",
    "norse": "nsc_deploy.exporters.torch_module.target:NORSE",
    "loihi1": "nsc_deploy.exporters.chips.target:LOIHI1",
    "loihi2": "nsc_deploy.exporters.chips.target:LOIHI2",
    "xylo-audio2": "nsc_deploy.exporters.chips.target:XYLO_AUDIO2",
    "speck": "nsc_deploy.exporters.chips.target:SPECK",
}


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
        sharing: whose scales must be alike.
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
    sharing: Sharing = Sharing.NEURON
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


def target_names() -> tuple[str, ...]:
    """Names of all targets, this package's first."""
    return tuple(dict.fromkeys((*BUILT_IN, *(point.name for point in _entry_points()))))


def load_target(name: str) -> Target:
    """The target called `name`, or the chip described in a TOML file (anything that ends in .toml).

    Raises:
        ConfigError: there is none, or the package that offers it is broken.
    """
    if name.endswith(".toml"):
        from nsc_deploy.exporters.chips.target import ChipTarget

        return ChipTarget(name, Path(name))
    if name in BUILT_IN:
        module, attribute = BUILT_IN[name].split(":")
        found = getattr(importlib.import_module(module), attribute)
    else:
        points = [point for point in _entry_points() if point.name == name]
        if not points:
            raise ConfigError(
                f"unknown target '{name}'",
                where="--target",
                remedy=f"Known targets: {', '.join(target_names())}.",
            )
        found = _load(points[0])
    if not isinstance(found, Target):
        raise ConfigError(
            f"target '{name}' has no name, summary, check and export", where=f"entry point {name}"
        )
    return found


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=GROUP))


def _load(point: importlib.metadata.EntryPoint) -> object:
    try:
        return point.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"target '{point.name}' cannot be loaded ({error})",
            where=f"entry point {point.value}",
            remedy="Repair or remove the package that offers it.",
        ) from error
