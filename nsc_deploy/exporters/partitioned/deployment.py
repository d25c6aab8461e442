"""A deployment in parts: written, checked before it appears, and read back as one backend among others.

manifest.json   what is in it
source.nir      the whole graph, as it was
inputs.npz      recorded inputs of the whole, where there are any
front-end.nir   what runs on the host before the chip
chip/           a deployment folder of the target
read-out.nir    what runs on the host behind the chip, with read-out.npz where inputs were recorded
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.deployment import FileName, Place
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.base import DeployedPart, Deployment, ExportRequest, RunSettings, Target
from nsc_deploy.exporters.float32 import check_artefact
from nsc_deploy.exporters.inputs import check_inputs, copy_recording, fits, recording_for
from nsc_deploy.exporters.manifest import (
    FILE_NAME,
    GRAPH,
    RECORDING,
    FileRecord,
    Manifest,
    VerificationRecord,
    exported_graph,
    read_manifest,
    recorded_files,
    write_manifest,
)
from nsc_deploy.exporters.partitioned.target import PartitionedTarget
from nsc_deploy.exporters.registry import load_opener
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.simulate import simulate_batches
from nsc_deploy.io.files import sha256
from nsc_deploy.io.folders import replacing_folder, require_folder
from nsc_deploy.io.records import Record
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.passes.base import Outcome
from nsc_deploy.passes.partition import CHIP, FRONT_END, READ_OUT, GraphPart, Parts
from nsc_deploy.verification.runner import LayerTrace, ReferenceRunner, Runner, RunTrace


class PartRecord(Record):
    """One part; what leaves one is what enters the next."""

    name: str = Field(description="front-end, chip or read-out")
    place: Place
    graph: FileName | None = Field(default=None, description="graph of a part on the host, .nir")
    folder: FileName | None = Field(
        default=None, description="deployment folder of the chip, which can be run by itself"
    )
    manifest_sha256: str | None = Field(
        default=None,
        pattern=r"^[0-9a-f]{64}$",
        description="of the manifest of that folder, which has the hashes of its files",
    )
    recording: FileName | None = Field(
        default=None, description="recorded inputs of a part on the host, .npz"
    )
    nodes: tuple[str, ...] = Field(description="of the graph, in order")


class NoteRecord(Record):
    """One thing that a pass did on the way."""

    step: str = Field(description="the pass")
    node: str | None
    text: str


class SplitManifest(Manifest):
    """Everything about a deployment in parts but its numbers."""

    target: Literal["split"] = "split"
    chip: str = Field(description="target of the part on the chip")
    files: tuple[FileRecord, ...]
    parts: tuple[PartRecord, ...] = Field(min_length=2, max_length=3)
    notes: tuple[NoteRecord, ...]
    verification: VerificationRecord = Field(
        description="each part in the reference simulator, beside the whole; how the artefact of the chip "
        "compares with its part, its own folder says"
    )

    def hashes(self) -> Iterable[tuple[str, str]]:
        """Names and hashes of the files that must be as they were written."""
        yield from ((one.name, one.sha256) for one in self.files)
        for part in self.parts:
            if part.folder is not None and part.manifest_sha256 is not None:
                yield f"{part.folder}/{FILE_NAME}", part.manifest_sha256


def open_in_parts(folder: Path) -> Deployment:
    """Read a deployment in parts: what runs the chip's folder runs the whole, with the reference at its ends.

    Raises:
        DataError: damaged, changed since it was written, or of a target that is not there.
    """
    manifest = read_manifest(SplitManifest, folder)
    parts = {part.name: part for part in manifest.parts}
    held = parts.get(CHIP)
    if held is None or held.folder is None:
        raise DataError("names no folder for its chip", where=folder, hint="Export it again.")
    chip = load_opener(manifest.chip, folder)(folder / held.folder)
    front_end, read_out = (_host(folder, parts.get(name)) for name in (FRONT_END, READ_OUT))
    leaving = chip.network.output_node.inputs[0]
    recording = folder / RECORDING

    def through(open_chip: Callable[[RunSettings], Runner]) -> Callable[[RunSettings], Runner]:
        def runner(settings: RunSettings) -> Runner:
            nodes = None if settings.layers else ()
            before, behind = (
                [] if host is None else [ReferenceRunner(host, nodes=nodes)] for host in (front_end, read_out)
            )
            on_chip = Leaving(open_chip(settings), leaving)
            return PartsRunner(on_chip.name, [*before, on_chip, *behind])

        return runner

    return Deployment(
        path=folder,
        target=manifest.target,
        network=exported_graph(folder / GRAPH, manifest),
        runners={name: through(open_chip) for name, open_chip in chip.runners.items()},
        recording_file=recording if recording.is_file() else None,
        class_names=manifest.source.class_names,
        leaving=None if read_out is None else leaving,
        parts=tuple(
            one
            for part in manifest.parts
            for one in _held(folder, part, {FRONT_END: front_end, READ_OUT: read_out}, chip)
        ),
    )


def _held(
    folder: Path, part: PartRecord, hosts: Mapping[str, Network | None], chip: Deployment
) -> tuple[DeployedPart, ...]:
    """What runs of a part: its graph on the host, or what the folder of the chip says."""
    if part.name == CHIP:
        return tuple(replace(one, name=CHIP, place=Place.CHIP) for one in chip.parts)
    network = hosts.get(part.name)
    if network is None or part.graph is None:
        return ()
    return (DeployedPart(part.name, Place.HOST, folder / part.graph, network),)


def _host(folder: Path, part: PartRecord | None) -> Network | None:
    if part is None:
        return None
    if part.place is not Place.HOST or part.graph is None:
        raise DataError(f"names no graph for its {part.name}", where=folder, hint="Export it again.")
    return read_network(folder / part.graph)


class PartsRunner:
    """Feeds what leaves each part into the next.

    Args:
        name: of the backend, as shown.
        runners: one a part, in order.
    """

    def __init__(self, name: str, runners: Sequence[Runner]) -> None:
        self.name = name
        self._runners = tuple(runners)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest; the layers are those of all parts."""
        layers: dict[str, LayerTrace] = {}
        for runner in self._runners:
            trace = runner.run(values)
            layers |= trace.layers
            values = trace.output
        return RunTrace(values, layers)


class Leaving:
    """A part whose output is shown as the spikes of a node, where the part does not show that node itself.

    Args:
        runner: runs the part.
        node: the node.
    """

    def __init__(self, runner: Runner, node: str) -> None:
        self.name = runner.name
        self._runner = runner
        self._node = node

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        trace = self._runner.run(values)
        return RunTrace(trace.output, {self._node: LayerTrace(trace.output), **trace.layers})


BACKEND = "the reference simulator, part by part"


def export_in_parts(target: PartitionedTarget, request: ExportRequest) -> Path:
    """Write the folder; a graph that the chip's target takes whole is exported as ever.

    Raises:
        ExportError: there is no middle that the target takes.
        ConfigError: options or a recording that do not fit, or a folder that is no deployment.
        UserError: the folder cannot be written.
    """
    made = target.cut(request.network)
    if not made.graph.host:
        request.notify(f"nothing to split: {target.chip.name} takes the whole graph")
        return target.chip.export(request)
    require_folder(request.out)
    named = (request.recording_file, None if request.calibration is None else request.calibration.file)
    for file in named:
        if file is not None:
            fits(recording_for(request.network, file), request.network, file)
    with replacing_folder(request.out) as folder:
        write_network(folder / GRAPH, request.network)
        if request.recording_file is not None:
            copy_recording(request.network, request.recording_file, folder / RECORDING)
        for part in made.graph.parts:
            request.notify(f"writing the {part.name}: {', '.join(part.nodes)}")
            if part.place is Place.HOST:
                write_network(folder / f"{part.name}.nir", part.network)
        _describe(request, made)
        _export_chip(target.chip, request, made.graph, folder)
        record = _verified(request, made.graph, folder)
        write_manifest(folder, _manifest(target.chip, request, made, folder, record))
    request.notify(f"verified: {record.sentence}")
    return request.out


def _describe(request: ExportRequest, made: Outcome[Parts]) -> None:
    """Which part runs where, and why; what is said of the chip's part follows."""
    for part in made.graph.parts:
        request.describe(f"{part.name}, on the {part.place.value}: {', '.join(part.nodes)}", False)
    for step, note in made.notes:
        request.describe(f"= {step}: {note.node or 'graph'}: {note.text}", True)


def _export_chip(target: Target, request: ExportRequest, parts: Parts, folder: Path) -> None:
    """The chip's folder, with the events that the front-end makes of whatever was recorded."""
    before = parts.parts[: parts.parts.index(parts.chip)]
    with scratch_folder("parts") as scratch:
        carried = _carrier(request.network, before, scratch)
        recording = None if request.recording_file is None else carried(request.recording_file, RECORDING)
        calibration = request.calibration
        if calibration is not None:
            file = carried(calibration.file, "calibration.npz")
            calibration = replace(calibration, file=file, origin=calibration.told)
        asked = replace(
            request,
            network=parts.chip.network,
            out=folder / parts.chip.name,
            recording_file=recording,
            calibration=calibration,
        )
        target.export(asked)
    if recording is not None and parts.parts[-1].name == READ_OUT:
        whole = read_recording(folder / RECORDING)
        write_recording(folder / f"{READ_OUT}.npz", passed_on(whole, parts.parts[:-1]))


def _carrier(network: Network, before: tuple[GraphPart, ...], scratch: Path) -> Callable[[Path, str], Path]:
    def carried(file: Path, name: str) -> Path:
        if not before:
            return file
        write_recording(scratch / name, passed_on(recording_for(network, file), before))
        return scratch / name

    return carried


def passed_on(recording: Recording, parts: tuple[GraphPart, ...]) -> Recording:
    """What enters behind some parts, computed by the reference simulator from what enters before them."""
    values: NDArray[Any] = recording.values
    for part in parts:
        values = simulate_batches(part.network, values)[part.network.output_node.name]
    return Recording(values.astype(np.uint8), Signal.EVENTS, recording.dt, recording.labels)


def _verified(request: ExportRequest, parts: Parts, folder: Path) -> VerificationRecord:
    """The parts as they were written, beside the whole."""
    request.notify("checking the parts against the whole")
    runners = [
        ReferenceRunner(
            read_network(folder / f"{part.name}.nir") if part.place is Place.HOST else part.network
        )
        for part in parts.parts
    ]
    return check_artefact(parts.whole, [PartsRunner("parts", runners)], check_inputs(request), BACKEND)


def _manifest(
    target: Target, request: ExportRequest, made: Outcome[Parts], folder: Path, record: VerificationRecord
) -> SplitManifest:
    held = [(GRAPH, "the graph as it was")]
    held += [
        (f"{part.name}.nir", f"the {part.name}, for the host")
        for part in made.graph.parts
        if part.place is Place.HOST
    ]
    held += [
        (name, "recorded inputs") for name in (RECORDING, f"{READ_OUT}.npz") if (folder / name).is_file()
    ]
    return SplitManifest.of(
        request,
        chip=target.name,
        files=recorded_files(folder, held),
        parts=tuple(_part_record(part, folder) for part in made.graph.parts),
        notes=tuple(NoteRecord(step=step, node=note.node, text=note.text) for step, note in made.notes),
        verification=record,
    )


def _part_record(part: GraphPart, folder: Path) -> PartRecord:
    if part.place is Place.CHIP:
        manifest = folder / part.name / FILE_NAME
        return PartRecord(
            name=part.name,
            place=part.place,
            folder=part.name,
            manifest_sha256=sha256(manifest) if manifest.is_file() else None,
            nodes=part.nodes,
        )
    recording = f"{READ_OUT}.npz" if part.name == READ_OUT else RECORDING
    return PartRecord(
        name=part.name,
        place=part.place,
        graph=f"{part.name}.nir",
        recording=recording if (folder / recording).is_file() else None,
        nodes=part.nodes,
    )
