"""What a target is: three verbs, what they are asked and what they answer.

    check(network)    does the platform take the graph?      CheckResult
    export(request)   write a deployment folder              its path
    open(folder)      read such a folder back, to run it     Deployment

Nothing outside a target's folder asks which target it has before it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nsc_deploy.deployment import Place
from nsc_deploy.errors import ExportError, GraphError
from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.verdict import Status, Verdict, raise_first_refusal

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.events import EventCode
    from nsc_deploy.exporters.c.firmware import Firmware
    from nsc_deploy.exporters.chips.chip import Chip
    from nsc_deploy.exporters.chips.placement import Breach, Core, Placement, Usage
    from nsc_deploy.exporters.lava.integers import IntegerNetwork
    from nsc_deploy.verification.runner import Runner

__all__ = [
    "CalibrationSource",
    "CheckResult",
    "DeployedPart",
    "Deployment",
    "ExportRequest",
    "RunSettings",
    "ScaleGranularity",
    "Status",
    "Target",
    "Verdict",
    "naming",
    "raise_first_refusal",
]


@runtime_checkable
class Target(Protocol):
    """A platform that graphs can be taken to."""

    @property
    def name(self) -> str:
        """As given to `--target`."""

    @property
    def summary(self) -> str:
        """One line for the list of targets."""

    def check(self, network: Network, weight_bits: int | None = None, /) -> "CheckResult":
        """What the platform says of a graph; one that it does not take is no error.

        Args:
            network: the graph.
            weight_bits: of a weight, its sign included; a target whose exports choose them leaves
                `CheckResult.weight_bits` empty.
        """

    def export(self, request: "ExportRequest", /) -> Path:
        """Write a deployment folder and return its path.

        Raises:
            ExportError: the graph cannot be represented.
        """

    def open(self, folder: Path, /) -> "Deployment":
        """Read a folder that `export` wrote; nothing of it is executed before a runner is opened.

        Raises:
            DataError: no deployment, damaged, or changed since it was written.
        """


@dataclass(frozen=True)
class CheckResult:
    """What a target says of a graph: of each node, and of the whole.

    Attributes:
        verdicts: on each node, in the order of the graph.
        count_pools: counts what the graph takes there.
        breaches: rules of the whole that do not hold.
        notes: what was not checked or is disputed.
        placement: where the neurons lie; None where the target has no cores, or not all found a place.
        partial: the cores of those neurons that found a place, where not all of them did; else none.
        weight_bits: bits of a weight that was reckoned with; None where an export chooses them.
        keeps_weights: whether an export leaves weights in float32, so that there is nothing to quantise.
        pipeline_steps: what the target adds to the steps of the graph; None where only an export tells.
        chip: what is published about the chip; None where the target is none. Chips are checked only.
        build_firmware: makes the graph into code of a microcontroller; None where the target is none.
    """

    verdicts: tuple[Verdict, ...]
    count_pools: "Callable[[], tuple[Usage, ...]]" = field(default=tuple, compare=False)
    breaches: "tuple[Breach, ...]" = ()
    notes: tuple[str, ...] = ()
    placement: "Placement | None" = None
    partial: "tuple[Core, ...]" = ()
    weight_bits: int | None = None
    keeps_weights: bool = False
    pipeline_steps: int | None = None
    chip: "Chip | None" = None
    build_firmware: "Callable[[], Firmware] | None" = field(default=None, compare=False)

    @property
    def refused(self) -> tuple[Verdict, ...]:
        """The verdicts on nodes that the target does not take."""
        return tuple(one for one in self.verdicts if one.status is Status.REFUSED)

    @property
    def not_published(self) -> tuple[Verdict, ...]:
        """The verdicts on nodes of which nothing says whether the target takes them."""
        return tuple(one for one in self.verdicts if one.status is Status.NOT_PUBLISHED)

    @property
    def fits(self) -> bool:
        """Whether nothing is refused and no rule breaks, as far as is published."""
        return not self.refused and not self.breaches

    def refusing(self, error: ExportError) -> "CheckResult":
        """The same with a refusal that shows on the populations alone, at the node that it names."""
        named = (one for one in self.verdicts if error.where == f"node '{one.node}'")
        at = next(named, self.verdicts[-1])
        refused = Verdict(at.node, at.primitive, Status.REFUSED, error.problem, error.hint or "")
        verdicts = tuple(refused if one is at else one for one in self.verdicts)
        return replace(self, verdicts=verdicts, count_pools=tuple, build_firmware=None)

    @cached_property
    def pools(self) -> "tuple[Usage, ...]":
        """What the graph takes of the whole target; counted at the first look, since it can take long.

        Raises:
            ExportError: an obstacle that no verdict told of.
        """
        return self.count_pools()

    @cached_property
    def firmware(self) -> "Firmware | None":
        """The graph as code of a microcontroller, made at the first look; None where the target is none.

        Raises:
            ExportError: as `pools`.
        """
        return None if self.build_firmware is None else self.build_firmware()


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
        describe: called with lines that say what was written: a line, and whether it is only for those who
            want everything explained.
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
    describe: Callable[[str, bool], None] = lambda _line, _detail: None


@dataclass(frozen=True)
class RunSettings:
    """How a deployment is run.

    Attributes:
        layers: whether each layer is shown, which takes time and memory, or the outputs alone.
        silence_s: seconds without a sign of life after which a process of its own is given up.
        advance: called with the number of samples finished since the last call, by runners that are slow.
        run_code: whether code in the folder may be executed: it may be somebody else's.
        cpu: the core that C code is compiled for, for backends that have several; None for their own choice.
        closing: what runners have started and written ends when this is closed.
    """

    layers: bool = True
    silence_s: float = 120.0
    advance: Callable[[int], None] = lambda _samples: None
    run_code: bool = False
    cpu: str | None = None
    closing: ExitStack = field(default_factory=ExitStack)


@dataclass(frozen=True)
class DeployedPart:
    """One part of what a deployment folder runs.

    Attributes:
        name: of the part.
        place: chip or host; None where nothing says.
        file: of the folder, what runs.
        network: the floating-point graph it was made from.
        integers: what an integer target runs in its place; None where it computes in floating point.
        code: the same of C code.
    """

    name: str
    place: Place | None
    file: Path
    network: Network
    integers: "IntegerNetwork | None" = None
    code: "EventCode | None" = None


@dataclass(frozen=True)
class Deployment:
    """A deployment folder, opened; or a NIR file, which only the reference simulator runs.

    Attributes:
        path: the folder or file.
        target: what the folder was exported to; None for a file.
        network: the graph it was made from.
        runners: what runs the artefact, by the name of the backend: the quickest first, the platform itself
            last.
        recording_file: recorded inputs, or None.
        class_names: names of the classes, or empty.
        leaving: the node whose spikes leave the chip for a host; None where the whole graph is on one side.
        parts: what runs, one after the other, for those who count it; empty: the graph as it is.
        firmware: the code of a microcontroller; None for other targets.
        reference: makes what runs the graph in floating point, and shows the nodes named (None: each layer);
            None where that is the reference simulator.
    """

    path: Path
    target: str | None
    network: Network
    runners: "Mapping[str, Callable[[RunSettings], Runner]]"
    recording_file: Path | None = None
    class_names: tuple[str, ...] = ()
    leaving: str | None = None
    parts: tuple[DeployedPart, ...] = ()
    firmware: "Firmware | None" = None
    reference: "Callable[[Sequence[str] | None], Runner] | None" = None


@contextmanager
def naming(file: object) -> Iterator[None]:
    """What is wrong with a graph or a node of it is told with the graph's file in front."""
    try:
        yield
    except (GraphError, ExportError) as error:
        if error.where is not None and not error.where.startswith(("node '", "population '")):
            raise
        where = f"{file}" if error.where is None else f"{file}: {error.where}"
        raise type(error)(error.problem, where=where, hint=error.hint) from error
