"""The counts of a system: of every part of a run, of a graph, or of what a deployment folder runs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from nsc_deploy.deployment import Place, Side, graph_files
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.on_chip import PlacedPart, activity_counter
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.base import Deployment as Exported
from nsc_deploy.exporters.base import Target
from nsc_deploy.graphs.assemble import in_file
from nsc_deploy.graphs.formats.nir import GraphOptions, assemble_network, read_network
from nsc_deploy.graphs.formats.recording import (
    Layout,
    Recording,
    make_recording,
    read_inputs,
    recording_of_array,
    refuse_samples_first,
    require_step,
)
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.graphs.readout import decide, fewest_classes, readout_of, require_classes, with_readout
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    from nsc_deploy.energy.counting.deployed import DeployedCount
    from nsc_deploy.energy.counting.potentials import PotentialWatch, WayCount
    from nsc_deploy.exporters.c.firmware import FirmwareRun

from nsc_deploy.energy.placing import firmware_run, place_conventional, place_network
from nsc_deploy.energy.sources import Source, Work

Progress = Callable[[int], None]
SystemProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How to count.

    Attributes:
        samples: at most so many of each recording, the first ones; None for all.
        batch: samples that are simulated together.
        dt: seconds, for a NIR file that does not state its time step.
        step_seconds: how long a step really takes, where the one of a graph is nominal; figures a second
            are for it. None: as the graph says.
        reset: for a NIR file that does not state how its neurons reset.
        classes: how many the outputs of a NIR file vote for, where it does not say.
        signal: what plain arrays hold, which do not say it.
        samples_first: whether plain arrays are [samples, steps, *shape], and not steps first.
        target: where NIR parts that are not for a host are placed; None for nowhere.
        layout: of what enters an ONNX file that is named by itself; those of runs are steps-first.
        skip_zeros: charge products of real values in ONNX graphs only where no factor is zero.
    """

    samples: int | None = None
    batch: int = 64
    dt: float | None = None
    step_seconds: float | None = None
    reset: Reset | None = None
    classes: int | None = None
    signal: Signal | None = None
    samples_first: bool = False
    target: Target | None = None
    layout: Layout = Layout.STEPS_FIRST
    skip_zeros: bool = False


@dataclass(frozen=True)
class CountedSystem(Source):
    """A system with its counts: a transmitter and a receiver, or a single graph.

    Attributes:
        parts: the counts, for each of `work`.
        placed: each part on the target; None for a part on a host, and for all without a target.
        target: name of the target; None without one.
        floats: where integers were counted, the counts of the graphs of all parts; else none.
        firmware: the recorded samples on the microcontroller whose code a deployment folder holds, else None.
        measured_accuracy: share of the recorded samples that the last part decides right; None where it has
            no labels, or nothing says how a decision is read from its outputs.
        labelled: classes of the recorded labels, the highest one and those below it; None without labels.
        classes: the fewest, those of the labels among them, that outputs could vote for; None if none vote.
        arrays: how plain arrays were read, in words; none of recordings, which say what their axes are.
        ways: in which a host could form what it makes of the potentials of a decoder; none of other systems.
    """

    parts: tuple[PartCount, ...] = ()
    placed: tuple[PlacedPart | None, ...] = ()
    target: str | None = None
    floats: tuple[PartCount, ...] = ()
    firmware: "FirmwareRun | None" = None
    measured_accuracy: float | None = None
    labelled: int | None = None
    classes: int | None = None
    arrays: tuple[str, ...] = ()
    ways: "tuple[WayCount, ...]" = ()

    @property
    def accuracy(self) -> float | None:
        """Of a run that of its test part, else what was measured on the recording."""
        stated = None if self.deployment is None else self.deployment.test_accuracy
        return self.measured_accuracy if stated is None else stated

    @property
    def accuracy_of(self) -> str | None:
        """What the accuracy was measured on, and of how much of a link; None without one."""
        if self.accuracy is None:
            return None
        if self.deployment is not None and self.deployment.test_accuracy is not None:
            return "the test part"
        whole = "" if self.deployment is not None else ", of its graph alone"
        return counted(self.samples, "counted sample") + whole

    @property
    def spiking(self) -> bool:
        """Whether any part holds a spiking neuron; the paper's accounting treats the whole system alike."""
        return any(part.spiking for part in self.parts)

    @property
    def samples(self) -> int:
        """Number of samples counted."""
        return self.parts[0].samples


def count_source(source: Source, options: Options, progress: SystemProgress | None = None) -> CountedSystem:
    """Count all parts of a system.

    Args:
        source: the system.
        options: how to count.
        progress: called with how many samples are done and how many there are, over all parts.

    Raises:
        DataError: damaged or empty recordings, or recordings that do not fit their graph.
        GraphError: a graph that cannot be represented or counted exactly.
    """
    if source.exported is not None:
        return _count_exported(source, source.exported, options, progress)
    parts: list[PartCount] = []
    placed: list[PlacedPart | None] = []
    arrays: dict[str, None] = {}
    accuracy = labelled = classes = watched = None
    ways: tuple[WayCount, ...] = ()
    for index, work in enumerate(source.work):
        if work.coding is not None:
            parts.append(_count_coding(source, work.coding, options))
            placed.append(None)
            continue
        with in_file(work.graph):
            recording, network = read_part(work, options)
        arrays |= dict.fromkeys(_as_read(recording, options))

        def report(done: int, index: int = index, samples: int = recording.samples) -> None:
            if progress is not None:
                progress(index * samples + done, len(source.work) * samples)

        try:
            with in_file(work.graph):
                readout = None if network is None or not work.decides else readout_of_source(source, network)
                decisions = _Decisions(network, recording, readout)
                watch = None if network is None else _watch(source, index, network, recording)
                part, place = _count(
                    work, recording, network, options, report, decisions, _readout(source, work), watch
                )
            accuracy, labelled, classes = decisions.accuracy, decisions.labelled, decisions.classes
        except DataError as error:
            where = work.recording if error.where is None else f"{work.recording}: {error.where}"
            raise DataError(error.problem, where=where, hint=error.hint) from error
        if watched is not None:
            ways = watched.ways(part)
        watched = watch
        parts.append(replace(part, dt=options.step_seconds or part.dt))
        placed.append(place)
        report(recording.samples)
    if len({part.samples for part in parts}) > 1:
        numbers = ", ".join(f"{part.name} {part.samples}" for part in parts)
        raise DataError(
            f"has parts with different numbers of recorded samples ({numbers})", where=source.path
        )
    return CountedSystem(
        **vars(source),
        parts=tuple(parts),
        placed=tuple(placed),
        target=None if options.target is None else options.target.name,
        measured_accuracy=accuracy,
        labelled=labelled,
        classes=classes,
        arrays=tuple(arrays),
        ways=ways,
    )


def _watch(source: Source, index: int, network: Network, recording: Recording) -> "PotentialWatch | None":
    """What reads how the potentials of a run's decoder could reach its host; None of all other graphs."""
    behind = source.work[index + 1 : index + 2]
    if not behind or behind[0].graph.suffix != ".onnx" or network.output_node.emits is not Signal.REAL:
        return None
    # Reports of other systems load nothing of it.
    from nsc_deploy.energy.counting.potentials import watch_potentials

    return watch_potentials(network, recording, behind[0].graph)


def _count_coding(source: Source, side: Side, options: Options) -> PartCount:
    # Reports of other systems load nothing of it.
    from nsc_deploy.energy.counting.coding import count_coding

    deployment = source.deployment
    if deployment is None or deployment.coding is None:
        raise RuntimeError("coding is counted of runs that say so")
    most = len(deployment.coding.message_bits)
    samples = most if options.samples is None else min(options.samples, most)
    return count_coding(deployment.coding, side, samples, options.step_seconds or deployment.dt)


def _count_exported(
    source: Source, exported: Exported, options: Options, progress: SystemProgress | None
) -> CountedSystem:
    """Count what a deployment folder runs."""
    from nsc_deploy.energy.counting.deployed import count_deployed

    work = source.work[0]
    recording = _read_inputs(work, options)
    _require_step(recording, exported.network.dt, options, work.recording)
    recording = replace(recording, dt=exported.network.dt or recording.dt)
    network = with_readout(exported.network, options.classes)
    decisions = _Decisions(network, recording, readout_of_source(source, network))
    try:
        found = (
            _count_conventional(exported, recording, options, progress)
            if network.conventional
            else count_deployed(
                exported.parts,
                recording,
                batch=options.batch,
                progress=progress or (lambda done, total: None),
            )
        )
    except DataError as error:
        raise DataError(error.problem, where=f"{work.recording}: {error.where}", hint=error.hint) from error
    decisions(slice(None), network.output_node.name, found.outputs)
    parts, floats = (
        tuple(replace(one, dt=options.step_seconds or one.dt) for one in counts)
        for counts in (found.parts, found.floats)
    )
    return CountedSystem(
        **vars(source),
        parts=parts,
        placed=(None,) * len(parts),
        target=exported.target,
        floats=floats,
        firmware=firmware_run(exported.firmware, recording),
        measured_accuracy=decisions.accuracy,
        labelled=decisions.labelled,
        classes=decisions.classes,
        arrays=_as_read(recording, options),
    )


def _count_conventional(
    exported: Exported, recording: Recording, options: Options, progress: SystemProgress | None
) -> "DeployedCount":
    """A conventional network in 8 bits: its products are those of the ONNX graph in its folder."""
    from nsc_deploy.energy.counting.deployed import DeployedCount
    from nsc_deploy.energy.counting.onnx.count import count_onnx
    from nsc_deploy.exporters.base import RunSettings

    part = count_onnx(
        next(file for file in graph_files(exported.path) if file.suffix == ".onnx"),
        recording,
        lambda done: None if progress is None else progress(done, recording.samples),
        dt=options.dt,
        nominal=_is_real_step(recording, options),
        layout=getattr(exported.network, "layout", Layout.STEPS_FIRST),
        skip_zeros=options.skip_zeros,
    )
    runner = next(iter(exported.runners.values()))(RunSettings(layers=False))
    return DeployedCount((part,), (), runner.run(recording.values).output)


class _Decisions:
    """Holds the decisions of a graph that is counted against the labels of its recording.

    Args:
        network: the graph; None for one that gives out no values as it is counted.
        recording: its inputs.
        readout: classes, and outputs that vote for each; None where nobody decides by them.
    """

    def __init__(
        self, network: Network | None, recording: Recording, readout: tuple[int, int] | None
    ) -> None:
        self._readout, self._labels, self._samples = readout, recording.labels, recording.samples
        if readout is not None:
            require_classes(recording.labels, readout[0])
        self._output = None if network is None else network.output_node.name
        self.classes = None if network is None else fewest_classes(network, self.labelled or 1)
        self._right = 0

    def __call__(self, samples: slice, name: str, output: NDArray[Any]) -> None:
        """Take in the output [T, N, *shape] of a node for some samples."""
        if name == self._output and self._readout is not None and self._labels is not None:
            self._right += int((decide(output, *self._readout) == self._labels[samples]).sum())

    @property
    def accuracy(self) -> float | None:
        """The share that is right; None without labels or a readout."""
        return None if self._readout is None or self._labels is None else self._right / self._samples

    @property
    def labelled(self) -> int | None:
        """Classes of the labels, the highest one and those below it; None without labels."""
        return None if self._labels is None else int(self._labels.max()) + 1


def _readout(source: Source, work: Work) -> tuple[int, int] | None:
    """Classes, and outputs that vote for each, of the part that a run decides by; None of another."""
    if source.deployment is None or work.part is None or work.part.name != source.deployment.parts[-1].name:
        return None
    return source.deployment.readout.classes, source.deployment.readout.group


def readout_of_source(source: Source, network: Network) -> tuple[int, int] | None:
    """Classes, and outputs that vote for each, from the deployment of a run or the Output node of a graph."""
    if source.deployment is not None:
        readout = source.deployment.readout
        return readout.classes, readout.group
    return readout_of(network) if len(network.output_node.output_shape) == 1 else None


def _count(
    work: Work,
    recording: Recording,
    network: Network | None,
    options: Options,
    progress: Progress,
    decisions: _Decisions,
    readout: tuple[int, int] | None,
    watch: "PotentialWatch | None",
) -> tuple[PartCount, PlacedPart | None]:
    part, placed, entering = work.part, None, recording
    if network is None:
        # Reports of NIR graphs load nothing of it.
        from nsc_deploy.energy.counting.onnx.count import count_onnx

        nominal = _is_real_step(recording, options)
        layout = options.layout if part is None else Layout.STEPS_FIRST
        count = count_onnx(
            work.graph,
            recording,
            progress,
            dt=options.dt,
            nominal=nominal,
            layout=layout,
            skip_zeros=options.skip_zeros,
        )
        if options.target is not None:
            graph = GraphOptions(dt=options.dt, signal=recording.signal, classes=options.classes)
            placed = place_conventional(work, recording, options.target, graph, readout)
    else:
        if options.target is not None and (part is None or part.place is not Place.HOST):
            placed, entering = place_network(work, network, recording, options.target)
        counter = None if placed is None else activity_counter(placed.found, network, recording)

        def observe(samples: slice, name: str, output: NDArray[Any]) -> None:
            decisions(samples, name, output)
            if counter is not None:
                counter(samples, name, output)
            if watch is not None:
                watch(samples, name, output)

        count = count_network(
            network,
            recording,
            name=work.graph.stem,
            batch=options.batch,
            progress=progress,
            observe=observe,
        )
        if placed is not None:
            activity = None if counter is None else counter.activity()
            run = firmware_run(placed.found.firmware, entering)
            placed = replace(placed, activity=activity, run=run)
    if part is not None:
        count = replace(count, name=part.name, side=part.side, place=part.place)
    return count, placed


def read_part(work: Work, options: Options) -> tuple[Recording, Network | None]:
    """The graph and as many of its recorded samples as are to be counted, with one and the same step.

    Returns:
        The recording, and the graph: None where it is an ONNX file, which is read as it is counted.

    Raises:
        DataError: the recording is missing or damaged.
        GraphError: the graph is missing or damaged, or cannot be represented exactly.
        ConfigError: no sample is asked for, or the steps of recording and graph differ.
    """
    recording = _read_inputs(work, options)
    if work.graph.suffix == ".onnx":
        return recording, None
    if work.graph_given is None:
        network = read_network(
            work.graph,
            dt=options.dt,
            reset=options.reset,
            signal=recording.signal,
            recorded_dt=recording.dt,
        )
    else:
        network = assemble_network(
            work.graph_given,
            dt=options.dt,
            reset=options.reset,
            signal=recording.signal,
            recorded_dt=recording.dt,
            where=work.graph,
        )
    _require_step(recording, network.dt, options, work.recording)
    if work.decides:
        network = with_readout(network, options.classes)
    return replace(recording, dt=network.dt or recording.dt), network


def _as_read(recording: Recording, options: Options) -> tuple[str, ...]:
    """How a plain array was read, in words; none of a recording, which says what its axes are."""
    if not recording.plain:
        return ()
    from nsc_deploy.graphs.formats.axes import words_of_axes

    first = "samples first" if options.samples_first else "steps first (else: --samples-first)"
    return (f"{first}: {words_of_axes(recording.values.shape)}",)


def _read_inputs(work: Work, options: Options) -> Recording:
    """As many recorded samples as are to be counted."""
    if options.samples is not None and options.samples < 1:
        raise ConfigError("needs at least one sample", where="--samples")
    if options.step_seconds is not None and not 0 < options.step_seconds < math.inf:
        raise ConfigError(
            f"is {options.step_seconds:g} where a positive number is wanted", where="--step-seconds"
        )
    plain_dt = options.dt or options.step_seconds
    recording = _given_inputs(work, options, plain_dt)
    if options.signal not in {None, recording.signal}:
        raise ConfigError(
            f"states that it holds {recording.signal} values, and --signal {options.signal} is given",
            where=work.recording,
            hint="Leave --signal out.",
        )
    if work.decides and recording.labels is not None and options.classes is not None:
        require_classes(recording.labels, options.classes)
    return recording if options.samples is None else recording.first(options.samples)


def _given_inputs(work: Work, options: Options, dt: float | None) -> Recording:
    """All recorded samples, from a file or from memory."""
    given, signal, samples_first = work.inputs_given, options.signal, options.samples_first
    if given is None:
        return read_inputs(work.recording, signal=signal, dt=dt, samples_first=samples_first)
    if isinstance(given, Recording):
        refuse_samples_first(work.recording, samples_first=samples_first)
        return make_recording(given.values, given.signal, given.dt, given.labels, where=work.recording)
    return recording_of_array(given, signal=signal, dt=dt, where=work.recording, samples_first=samples_first)


def _require_step(recording: Recording, step: float | None, options: Options, where: Path) -> None:
    """Refuse a recording that has neither the step of the graph nor the one that is said to be real."""
    if not _is_real_step(recording, options):
        require_step(recording, step, where)


def _is_real_step(recording: Recording, options: Options) -> bool:
    """Whether a recording has the step that is said to be the real one, and so need not have the graph's."""
    real = options.step_seconds
    return real is not None and math.isclose(recording.dt, real, rel_tol=1e-6)
