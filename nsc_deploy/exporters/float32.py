"""Writes the deployment folder of a target that computes a graph as it stands, checked before it appears."""

import importlib.metadata
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import nsc_deploy
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.inputs import check_inputs
from nsc_deploy.exporters.manifest import (
    FILE_NAME,
    GRAPH,
    RECORDING,
    ExactManifest,
    StateRecord,
    recorded_files,
    write_exact_manifest,
)
from nsc_deploy.exporters.provenance import readout_of, source_of
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.exporters.self_check import check_artefact
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.io.files import replacing_folder, require_folder
from nsc_deploy.verification.runner import Runner


@dataclass(frozen=True)
class Written:
    """What a target wrote into its folder.

    Attributes:
        files: name and content in a few words of each file.
        runners: run what was written, one a file that can be run.
        notes: what was done to the graph on its way.
        states: states of a single-step model.
    """

    files: tuple[tuple[str, str], ...]
    runners: tuple[Runner, ...]
    notes: tuple[str, ...] = ()
    states: tuple[StateRecord, ...] = ()


def write_exact_deployment(
    request: ExportRequest, target: str, packages: Iterable[str], write: Callable[[Path], Written]
) -> Path:
    """Write a folder, run it beside the reference simulator, and let it appear only where it is right.

    Args:
        request: what is asked for.
        target: name of the target.
        packages: whose versions the manifest states; the first one runs the artefact.
        write: fills the folder.

    Raises:
        ExportError: the artefact computes something else than the graph.
        ConfigError: options that do not fit, or a folder that is no deployment.
    """
    _refuse_quantisation(request, target)
    require_folder(request.out, FILE_NAME)
    inputs = check_inputs(request)
    versions = {name: importlib.metadata.version(name) for name in packages}
    with replacing_folder(request.out, FILE_NAME) as folder:
        request.notify("writing")
        write_network(folder / GRAPH, request.network)
        if request.recording_file is not None:
            shutil.copyfile(request.recording_file, folder / RECORDING)
        written = write(folder)
        request.notify("checking")
        backend = " ".join(next(iter(versions.items()), ("nsc-deploy", nsc_deploy.__version__)))
        record = check_artefact(request.network, written.runners, inputs, backend)
        held = [(GRAPH, "the graph as it was"), *written.files]
        if request.recording_file is not None:
            held.append((RECORDING, "recorded inputs"))
        classes, group = readout_of(request.network)
        manifest = ExactManifest(
            target=target,
            tool=nsc_deploy.__version__,
            versions=versions,
            source=source_of(request),
            files=recorded_files(folder, held),
            dt=request.network.dt,
            reset=None if request.network.reset is None else request.network.reset.value,
            classes=classes,
            group=group,
            states=written.states,
            notes=written.notes,
            verification=record,
            warnings=request.network.cautions,
        )
        write_exact_manifest(folder, manifest)
    for note in written.notes:
        request.notify(note)
    request.notify(f"verified: {record.sentence}")
    return request.out


def _refuse_quantisation(request: ExportRequest, target: str) -> None:
    if request.calibration is not None and request.calibration.asked:
        raise ConfigError(
            f"the target {target} keeps float32 weights, there is nothing to calibrate",
            where="--calibrate",
            remedy="Leave it out.",
        )
    if request.sharing is not ExportRequest.sharing:
        raise ConfigError(
            f"the target {target} keeps float32 weights, there are no scales",
            where="--scales",
            remedy="Leave it out.",
        )
    if request.bits != ExportRequest.bits:
        raise ConfigError(
            f"the target {target} keeps float32 weights", where="--bits", remedy="Leave it out."
        )
