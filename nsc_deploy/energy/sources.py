"""What is to be counted: run folders, deployment folders and graphs, and which recordings belong to them."""

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import FILE_NAME, Deployment, Part, Side, read_deployment, without_graphs
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.exporters.base import DeployedPart
from nsc_deploy.exporters.base import Deployment as Exported
from nsc_deploy.graphs.formats.recording import (
    Recording,
)
from nsc_deploy.io.files import sha256

MANIFEST = "manifest.json"
GRAPH, INPUTS = Path("graph"), Path("inputs")
"""What a graph and inputs in memory are called, which have no file."""
Given: TypeAlias = Path | nir.NIRGraph
Inputs: TypeAlias = Path | NDArray[Any] | Recording


@dataclass(frozen=True)
class Work:
    """One graph to be counted: its file, its recorded inputs, and its place in a system.

    Attributes:
        graph: its file, or a name for one in memory.
        recording: its file, or a name for inputs in memory.
        part: of a run; None for a bare graph.
        decides: whether the system decides by its outputs.
        graph_given: the graph where it is in memory.
        inputs_given: inputs in memory, [steps, samples, *shape].
        coding: the end whose separate coding is counted, which has no graph: `graph` and `recording` are then
            deployment.json, which says what is coded.
    """

    graph: Path
    recording: Path
    part: Part | None
    decides: bool = True
    graph_given: nir.NIRGraph | None = field(default=None, compare=False)
    inputs_given: NDArray[Any] | Recording | None = field(default=None, compare=False)
    coding: Side | None = None

    @classmethod
    def of(cls, graph: Given, inputs: Inputs, part: Part | None = None, *, decides: bool = True) -> "Work":
        """Of a graph and inputs that are files or in memory."""
        graph_file = graph if isinstance(graph, Path) else None
        inputs_file = inputs if isinstance(inputs, Path) else None
        return cls(
            graph_file or GRAPH,
            inputs_file or INPUTS,
            part,
            decides,
            graph if not isinstance(graph, Path) else None,
            inputs if not isinstance(inputs, Path) else None,
        )


@dataclass(frozen=True)
class Source:
    """A system on disk, not yet read.

    Attributes:
        label: unique among the systems of a report.
        path: the run folder, the graph file, or the deployment folder.
        deployment: of a run; None for a bare graph.
        work: its graphs; of a deployment folder the files that run.
        exported: a deployment folder, opened; its parts are counted, integers as integers.
    """

    label: str
    path: Path
    deployment: Deployment | None
    work: tuple[Work, ...]
    exported: Exported | None = None


def find_sources(given: Sequence[Given], recordings: Sequence[Inputs] = ()) -> tuple[Source, ...]:
    """Resolve run folders and graphs.

    Args:
        given: run folders (with a deployment.json), deployment folders (with a manifest.json), .nir and
            .onnx files, or NIR graphs in memory.
        recordings: inputs of all but the runs, in their order; one alone serves them all. Deployment folders
            have some of their own.

    Raises:
        ConfigError: a graph without inputs, or a file of another kind.
        DataError: a path that is missing, or a damaged run.
    """
    wants_inputs = [not (isinstance(one, Path) and (one / FILE_NAME).is_file()) for one in given]
    graphs = sum(wants_inputs)
    if recordings and not graphs:
        raise ConfigError(
            "is for graphs and deployment folders, and only runs are named, which hold their own recordings",
            where="--inputs",
            hint="Leave it out, or name a graph file: RUN/receiver.nir for example.",
        )
    if recordings and len(recordings) not in {1, graphs}:
        raise ConfigError(
            f"{len(recordings)} recordings are given for {graphs} graph files or deployment folders",
            where="--inputs",
            hint="Give one for all of them, or one for each in the same order.",
        )
    inputs = iter(recordings if len(recordings) == graphs else [*recordings] * graphs)
    sources = [
        _source(one, next(inputs, None) if wants else None)
        for one, wants in zip(given, wants_inputs, strict=True)
    ]
    if not sources:
        raise ConfigError("names nothing to count", hint="Give run folders or graph files.")
    return _with_unique_labels(sources)


def _source(given: Given, recording: Inputs | None) -> Source:
    if not isinstance(given, Path):
        return _graph(given, GRAPH, recording)
    if is_exported(given):
        return _exported(given, recording)
    if not given.is_dir():
        _refuse_no_graph(given)
        return _graph(given, given, recording)
    if not (given / FILE_NAME).is_file():
        raise without_graphs(given) or DataError(
            f"holds neither a finished run ({FILE_NAME}) nor a deployment ({MANIFEST})",
            where=given,
            hint="Name a folder that `nsc-deploy train` or `nsc-deploy export` wrote, or a graph file.",
        )
    return _run(given)


def refuse_without_onnx(sources: Sequence[Source], layout: str | None, *, skip_zeros: bool) -> None:
    """Refuse options that only ONNX graphs have a use for, where there are none.

    Raises:
        ConfigError: there is such an option; the layout is for files that are named by themselves alone.
    """
    files = [work.graph for source in sources for work in source.work if source.deployment is None]
    if layout is not None and not any(file.suffix == ".onnx" for file in files):
        raise ConfigError(
            "says what enters an .onnx file, and none is named",
            where="--layout",
            hint="Leave it out: all others take steps first.",
        )
    if skip_zeros and not any(map(_has_onnx, sources)):
        raise ConfigError(
            "is for products in ONNX graphs, and there are none",
            where="--skip-zeros",
            hint="Leave it out: what events drive costs nothing without them.",
        )


def refuse_without_nir(sources: Sequence[Source], reset: str | None) -> None:
    """Refuse to say how neurons reset where no NIR graph is read that could leave it open.

    Raises:
        ConfigError: there is none; a deployment folder says it.
    """
    read = [work for source in sources if source.exported is None for work in source.work]
    if reset is not None and not any(
        work.graph_given is not None or work.graph.suffix == ".nir" for work in read
    ):
        raise ConfigError(
            "says how the neurons of a NIR graph reset, and there is none",
            where="--reset",
            hint="Leave it out: ONNX files and deployment folders say themselves what they compute.",
        )


def _has_onnx(source: Source) -> bool:
    if source.exported is not None:
        return source.exported.network.conventional
    return any(work.graph.suffix == ".onnx" for work in source.work)


def is_exported(path: Path) -> bool:
    """Whether a path is a deployment folder, and no run."""
    return (path / MANIFEST).is_file() and not (path / FILE_NAME).is_file()


def _exported(folder: Path, recording: Inputs | None) -> Source:
    # Reports of runs and graphs load nothing of it.
    from nsc_deploy.exporters.manifest import target_of
    from nsc_deploy.exporters.registry import load_opener

    opened = load_opener(target_of(folder), folder)(folder)
    inputs = opened.recording_file if recording is None else recording
    if inputs is None:
        raise ConfigError("holds no recorded inputs", where=folder, hint="Name them: --inputs recording.npz")
    if not opened.parts:
        opened = replace(opened, parts=(DeployedPart(folder.name, None, folder / MANIFEST, opened.network),))
    work = tuple(Work.of(part.file, inputs, decides=part is opened.parts[-1]) for part in opened.parts)
    return Source(f"{folder.name} ({opened.target})", folder, None, work, opened)


def _run(path: Path) -> Source:
    deployment = read_deployment(path)
    if not deployment.parts:
        raise DataError("lists no parts", where=path / FILE_NAME)
    work = [
        Work(_inside(path, one.graph), _inside(path, one.recording), one, one is deployment.parts[-1])
        for one in deployment.parts
    ]
    if deployment.coding is not None:
        first = next(
            (index for index, one in enumerate(deployment.parts) if one.side is Side.RECEIVER), len(work)
        )
        stated = path / FILE_NAME
        # Of DEFLATE nothing is counted, so a transmitter that compresses with it has no line.
        sides = Side if deployment.coding.source == "jpeg" else (Side.RECEIVER,)
        work[first:first] = [Work(stated, stated, None, decides=False, coding=side) for side in sides]
    kind = f" ({deployment.receiver})" if deployment.receiver else ""
    return Source(deployment.system + kind, path, deployment, tuple(work))


def _inside(run: Path, name: str) -> Path:
    path = run / name
    if not path.resolve().is_relative_to(run.resolve()):
        raise DataError(f"names the file {name}, which lies outside of the run", where=run / FILE_NAME)
    if not path.is_file():
        raise DataError(
            f"names the file {name}, which is missing",
            where=run / FILE_NAME,
            hint=f"Restore {name}, or delete metrics.json and write it anew: nsc-deploy train --resume",
        )
    return path


def _refuse_no_graph(path: Path) -> None:
    if not path.exists():
        raise DataError("does not exist", where=path, hint="Name a run folder, a .nir or an .onnx file.")
    if path.suffix not in {".nir", ".onnx"}:
        raise ConfigError(
            "is neither a run folder nor a .nir or .onnx file",
            where=path,
            hint="Name a folder that `nsc-deploy train` wrote, or a graph file.",
        )


def _graph(graph: Given, path: Path, recording: Inputs | None) -> Source:
    if recording is None:
        raise ConfigError(
            "is a graph without recorded inputs",
            where=path,
            hint="Name them: --inputs recording.npz (docs/recordings.md tells how to make them).",
        )
    return Source(path.stem, path, None, (Work.of(graph, recording),))


def _with_unique_labels(sources: Sequence[Source]) -> tuple[Source, ...]:
    labels = [source.label for source in sources]
    twice = {label for label in labels if labels.count(label) > 1}
    unique: dict[str, Source] = {}
    numbers: Counter[str] = Counter()
    for source in sources:
        place = f" in {source.path.name or source.path}" if source.label in twice else ""
        label = source.label + place
        numbers[label] += 1
        label += f" #{numbers[label]}" if numbers[label] > 1 else ""
        unique[label] = replace(source, label=label)
    return tuple(unique.values())


def hashes(work: Work) -> tuple[str, str]:
    """SHA-256 of the graph and of the recording: of their files, or of what they hold in memory."""
    graph, inputs = work.graph_given, work.inputs_given
    return (
        sha256(work.graph) if graph is None else _hash_of_graph(graph),
        sha256(work.recording) if inputs is None else _hash_of_inputs(inputs),
    )


def _hash_of_graph(graph: nir.NIRGraph) -> str:
    content = io.BytesIO()
    nir.write(content, graph)
    return hashlib.sha256(content.getbuffer()).hexdigest()


def _hash_of_inputs(inputs: NDArray[Any] | Recording) -> str:
    values = inputs.values if isinstance(inputs, Recording) else inputs
    head = f"{values.dtype.str} {values.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(values).tobytes()).hexdigest()
