"""From runs and graph files on disk to counts, with what is known about where they come from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nsc_deploy.deployment import FILE_NAME, Deployment, Part, Place, read_deployment
from nsc_deploy.energy.counting.nir import count_network
from nsc_deploy.energy.counting.on_chip import Placed, Placing
from nsc_deploy.energy.counting.onnx.count import count_onnx
from nsc_deploy.energy.counting.operations import PartCount, SystemCount
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.base import Target
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Reset
from nsc_deploy.io.files import sha256

Progress = Callable[[int], None]
SystemProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How to count.

    Attributes:
        samples: at most so many of each recording, the first ones; None for all.
        batch: samples that are simulated together.
        dt: seconds, for a NIR file that does not state its time step.
        reset: for a NIR file that does not state how its neurons reset.
        target: where NIR parts that are not for a host are placed; None for nowhere.
    """

    samples: int | None = None
    batch: int = 64
    dt: float | None = None
    reset: Reset | None = None
    target: Target | None = None


@dataclass(frozen=True)
class Work:
    """One graph to be counted: its file, its recorded inputs, and its place in a system."""

    graph: Path
    recording: Path
    part: Part | None


@dataclass(frozen=True)
class CountedSystem:
    """A system with its counts.

    Attributes:
        label: unique among the systems of a report.
        path: the run folder, or the graph file.
        deployment: of a run; None for a bare graph.
        count: the numbers.
        work: file and recording of each part of `count`.
        placed: each part on the target; None for a part on a host, and for all without a target.
        target: name of the target; None without one.
    """

    label: str
    path: Path
    deployment: Deployment | None
    count: SystemCount
    work: tuple[Work, ...]
    placed: tuple[Placed | None, ...] = ()
    target: str | None = None


@dataclass(frozen=True)
class Source:
    """Something to be counted, found and named but not yet read."""

    label: str
    path: Path
    deployment: Deployment | None
    work: tuple[Work, ...]


def find_sources(paths: Sequence[Path], recordings: Sequence[Path] = ()) -> tuple[Source, ...]:
    """Resolve run folders and graph files.

    Args:
        paths: run folders (with a deployment.json) or .nir and .onnx files.
        recordings: inputs of the graph files, in their order; one alone serves them all.

    Raises:
        ConfigError: a graph file without inputs, or a file of another kind.
        DataError: a path that is missing, or a damaged run.
    """
    graphs = [path for path in paths if not path.is_dir()]
    if recordings and not graphs:
        raise ConfigError(
            "is for graph files, and only runs are named, which hold their own recordings",
            where="--inputs",
            hint="Leave it out, or name a graph file: RUN/receiver.nir for example.",
        )
    if recordings and len(recordings) not in {1, len(graphs)}:
        raise ConfigError(
            f"{len(recordings)} recordings are given for {len(graphs)} graph files",
            where="--inputs",
            hint="Give one for all of them, or one for each in the same order.",
        )
    given = {
        path: recordings[0 if len(recordings) == 1 else i] for i, path in enumerate(graphs) if recordings
    }
    found = [_run(path) if path.is_dir() else _graph(path, given.get(path)) for path in paths]
    if not found:
        raise ConfigError("names nothing to count", hint="Give run folders or graph files.")
    return _with_unique_labels(found)


def _run(path: Path) -> Source:
    deployment = read_deployment(path)
    if not deployment.parts:
        raise DataError("lists no parts", where=path / FILE_NAME)
    work = tuple(
        Work(_inside(path, part.graph), _inside(path, part.recording), part) for part in deployment.parts
    )
    kind = f" ({deployment.receiver})" if deployment.receiver else ""
    return Source(deployment.system + kind, path, deployment, work)


def _inside(run: Path, name: str) -> Path:
    path = run / name
    if not path.resolve().is_relative_to(run.resolve()):
        raise DataError(f"names the file {name}, which lies outside of the run", where=run / FILE_NAME)
    if not path.is_file():
        raise DataError(
            f"names the file {name}, which is missing",
            where=run / FILE_NAME,
            hint=f"Restore {name}, or delete metrics.json and write it anew: train --resume",
        )
    return path


def _graph(path: Path, recording: Path | None) -> Source:
    if not path.exists():
        raise DataError("does not exist", where=path, hint="Name a run folder, a .nir or an .onnx file.")
    if path.suffix not in {".nir", ".onnx"}:
        raise ConfigError(
            "is neither a run folder nor a .nir or .onnx file",
            where=path,
            hint="Name a folder that `nsc-deploy train` wrote, or a graph file.",
        )
    if recording is None:
        raise ConfigError(
            "is a graph without recorded inputs",
            where=path,
            hint="Name them: --inputs recording.npz (docs/recordings.md tells how to make them).",
        )
    return Source(path.stem, path, None, (Work(path, recording, None),))


def _with_unique_labels(sources: Sequence[Source]) -> tuple[Source, ...]:
    labels = [source.label for source in sources]
    twice = {label for label in labels if labels.count(label) > 1}
    named = [
        replace(source, label=f"{source.label} in {source.path.name or source.path}")
        if source.label in twice
        else source
        for source in sources
    ]
    seen: dict[str, int] = {}
    unique = []
    for source in named:
        seen[source.label] = seen.get(source.label, 0) + 1
        number = seen[source.label]
        unique.append(source if number == 1 else replace(source, label=f"{source.label} #{number}"))
    return tuple(unique)


def count_source(source: Source, options: Options, progress: SystemProgress | None = None) -> CountedSystem:
    """Count all parts of a system.

    Args:
        source: what `find_sources` found.
        options: how to count.
        progress: told how many samples are done and how many there are, over all parts.

    Raises:
        DataError: damaged or empty recordings, or recordings that do not fit their graph.
        GraphError: a graph that cannot be represented or counted exactly.
    """
    parts: list[PartCount] = []
    placed: list[Placed | None] = []
    for index, work in enumerate(source.work):
        recording = _recording(work.recording, options)

        def report(done: int, index: int = index, samples: int = recording.samples) -> None:
            if progress is not None:
                progress(index * samples + done, len(source.work) * samples)

        part, place = _count(work, recording, options, report)
        parts.append(part)
        placed.append(place)
        report(recording.samples)
    if len({part.samples for part in parts}) > 1:
        numbers = ", ".join(f"{part.name} {part.samples}" for part in parts)
        raise DataError(
            f"has parts with different numbers of recorded samples ({numbers})", where=source.path
        )
    return CountedSystem(
        source.label,
        source.path,
        source.deployment,
        SystemCount(source.label, tuple(parts)),
        source.work,
        tuple(placed),
        None if options.target is None else options.target.name,
    )


def _count(
    work: Work, recording: Recording, options: Options, progress: Progress
) -> tuple[PartCount, Placed | None]:
    name = work.graph.stem if work.part is None else work.part.name
    try:
        counted, placed = _count_graph(work, recording, name, options, progress)
    except DataError as error:
        where = work.recording if error.where is None else f"{work.recording}: {error.where}"
        raise DataError(error.problem, where=where, hint=error.hint) from error
    if work.part is None:
        return counted, placed
    return replace(counted, name=name, side=work.part.side, place=work.part.place), placed


def _count_graph(
    work: Work, recording: Recording, name: str, options: Options, progress: Progress
) -> tuple[PartCount, Placed | None]:
    if work.graph.suffix == ".onnx":
        return count_onnx(work.graph, recording, progress), None
    network = read_network(
        work.graph, dt=options.dt or recording.dt, reset=options.reset, signal=recording.signal
    )
    on_host = work.part is not None and work.part.place is Place.HOST
    placing = None if options.target is None or on_host else Placing(options.target, network, recording)
    counted = count_network(
        network,
        recording,
        name=name,
        batch=options.batch,
        progress=progress,
        watch=None if placing is None else placing.meter,
    )
    return counted, None if placing is None else placing.placed()


def _recording(path: Path, options: Options) -> Recording:
    recording = read_recording(path)
    if options.samples is None:
        return recording
    if options.samples < 1:
        raise ConfigError("needs at least one sample", where="--samples")
    return recording.first(options.samples)


def hashes(work: Work) -> tuple[str, str]:
    """SHA-256 of the graph and of the recording."""
    return sha256(work.graph), sha256(work.recording)
