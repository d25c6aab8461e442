"""Writes a deployment in parts, checked before it appears.

manifest.json   what is in it (see `manifest`)
source.nir      the whole graph, as it was
inputs.npz      recorded inputs of the whole, where there are any
front-end.nir   what runs on the host before the chip
chip/           a deployment folder of the target
read-out.nir    what runs on the host behind the chip, with read-out.npz where inputs were recorded
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.deployment import Place
from nsc_deploy.exporters.base import ExportRequest, Target
from nsc_deploy.exporters.float32 import check_artefact
from nsc_deploy.exporters.inputs import check_inputs, fits
from nsc_deploy.exporters.manifest import (
    GRAPH,
    RECORDING,
    recorded_files,
    write_manifest,
)
from nsc_deploy.exporters.partitioned.deployment import NoteRecord, PartRecord, PartsRunner, SplitManifest
from nsc_deploy.exporters.partitioned.target import PartitionedTarget
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.simulate import simulate_batches
from nsc_deploy.io.folders import replacing_folder, require_folder
from nsc_deploy.io.scratch import scratch_folder
from nsc_deploy.passes.base import Outcome
from nsc_deploy.passes.partition import READ_OUT, GraphPart, Parts
from nsc_deploy.verification.record import VerificationRecord
from nsc_deploy.verification.runner import ReferenceRunner

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
            fits(read_recording(file), request.network, file)
    with replacing_folder(request.out) as folder:
        write_network(folder / GRAPH, request.network)
        if request.recording_file is not None:
            shutil.copyfile(request.recording_file, folder / RECORDING)
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
        carried = _carrier(before, scratch)
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


def _carrier(before: tuple[GraphPart, ...], scratch: Path) -> Callable[[Path, str], Path]:
    def carried(file: Path, name: str) -> Path:
        if not before:
            return file
        write_recording(scratch / name, passed_on(read_recording(file), before))
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
        return PartRecord(name=part.name, place=part.place, folder=part.name, nodes=part.nodes)
    recording = f"{READ_OUT}.npz" if part.name == READ_OUT else RECORDING
    return PartRecord(
        name=part.name,
        place=part.place,
        graph=f"{part.name}.nir",
        recording=recording if (folder / recording).is_file() else None,
        nodes=part.nodes,
    )
