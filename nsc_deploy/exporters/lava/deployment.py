"""The deployment folder: written without Lava, read back before anything runs.

manifest.json   what is in it (see `manifest`)
source.nir      the graph, as it was
network.npz     the integers
network.net     the same for lava-dl's netx (HDF5), where netx can hold it
inputs.npz      recorded inputs, where there are any
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import nsc_deploy
from nsc_deploy.exporters.inputs import calibration_inputs, fits
from nsc_deploy.exporters.lava.environment import LAVA_VERSION
from nsc_deploy.exporters.lava.integer_file import read_integers, write_integers
from nsc_deploy.exporters.lava.integers import IntegerNetwork
from nsc_deploy.exporters.lava.lowering.pipeline import Lowering, lower
from nsc_deploy.exporters.lava.manifest import (
    FILE_NAME,
    Approximation,
    Calibrated,
    GroupRecord,
    LayerRecord,
    Manifest,
    Source,
    read_manifest,
    write_manifest,
)
from nsc_deploy.exporters.lava.netx import difference, obstacle, write_netx
from nsc_deploy.exporters.lava.own_check import Checked, check_twin
from nsc_deploy.exporters.provenance import class_names, readout_of
from nsc_deploy.exporters.registry import ExportRequest
from nsc_deploy.exporters.warned import warned
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import replacing_folder, require_folder, require_unchanged, sha256

SOURCE = "source.nir"
INTEGERS = "network.npz"
NETX = "network.net"
RECORDING = "inputs.npz"


@dataclass(frozen=True)
class LavaDeployment:
    """A folder, read back and checked.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        integers: what Lava runs.
    """

    folder: Path
    manifest: Manifest
    integers: IntegerNetwork

    def graph(self) -> Network:
        """The floating-point graph it was made from.

        Raises:
            DataError: the copy in the folder is not the one that was exported.
        """
        path = self.folder / self.manifest.source.file
        require_unchanged(path, self.manifest.source.sha256)
        return warned(read_network(path), self.manifest.warnings)

    def recording(self) -> Recording | None:
        """The recorded inputs in the folder, or None."""
        name = self.manifest.source.recording
        return None if name is None else read_recording(self.folder / name)


def write_lava_deployment(request: ExportRequest) -> Path:
    """Lower a graph and write its folder.

    Raises:
        ExportError: a node cannot be represented.
        ConfigError: options or a recording that do not fit, or a folder that is no deployment.
        UserError: the folder cannot be written.
    """
    require_folder(request.out, FILE_NAME)
    _check_recording(request)
    chosen_on = calibration_inputs(request)
    request.notify(f"lowering and quantising, scales chosen on {_what(chosen_on)}")
    lowering = lower(
        request.network,
        bits=request.bits,
        inputs=None if chosen_on is None else chosen_on.values,
        sharing=request.sharing,
    )
    with replacing_folder(request.out, FILE_NAME) as folder:
        request.notify("writing")
        # Written anew, so that dt and reset named on the command line are in the copy.
        write_network(folder / SOURCE, request.network)
        write_integers(folder / INTEGERS, lowering.network)
        if obstacle(lowering.network) is None:
            write_netx(folder / NETX, lowering.network)
        if request.recording_file is not None:
            shutil.copyfile(request.recording_file, folder / RECORDING)
        request.notify("checking")
        checked = check_twin(request, lowering, folder / INTEGERS)
        write_manifest(folder, _manifest(request, lowering, chosen_on, folder, checked))
    request.notify(f"verified: {checked.record.sentence}")
    return request.out


def read_lava_deployment(folder: Path) -> LavaDeployment:
    """Read a deployment folder.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    manifest = read_manifest(folder)
    path = folder / manifest.integers
    require_unchanged(path, manifest.integers_sha256)
    if manifest.netx is not None and manifest.netx_sha256 is not None:
        # Nothing here reads it, but what is checked here goes to the chip through it.
        require_unchanged(folder / manifest.netx, manifest.netx_sha256)
    integers = read_integers(path, manifest.layer_groups())
    return LavaDeployment(folder, manifest, integers)


def _check_recording(request: ExportRequest) -> None:
    if request.recording_file is not None:
        fits(read_recording(request.recording_file), request.network, request.recording_file)


def _what(recording: Recording | None) -> str:
    return "the weights alone" if recording is None else f"{recording.samples} recorded samples"


def _manifest(
    request: ExportRequest,
    lowering: Lowering,
    chosen_on: Recording | None,
    folder: Path,
    checked: Checked,
) -> Manifest:
    network = lowering.network
    problem = obstacle(network)
    classes, group = readout_of(request.network)
    return Manifest(
        tool=nsc_deploy.__version__,
        lava=LAVA_VERSION,
        source=Source(
            file=SOURCE,
            sha256=sha256(folder / SOURCE),
            path=str(request.graph_file),
            part=request.part,
            recording=None if request.recording_file is None else RECORDING,
            class_names=class_names(request),
        ),
        dt=network.dt,
        weight_bits=request.bits,
        integers=INTEGERS,
        integers_sha256=sha256(folder / INTEGERS),
        netx=NETX if problem is None else None,
        netx_sha256=sha256(folder / NETX) if problem is None else None,
        netx_obstacle=problem,
        netx_difference=difference(network) if problem is None else None,
        latency=network.latency,
        classes=classes,
        group=group,
        calibration=_calibrated(request, chosen_on),
        layers=_layer_records(network),
        approximations=_approximations(lowering),
        passes=checked.passes,
        verification=checked.record,
        warnings=request.network.cautions,
    )


def _calibrated(request: ExportRequest, recording: Recording | None) -> Calibrated:
    if request.calibration is None or recording is None:
        return Calibrated(samples=0)
    file = request.calibration.told
    return Calibrated(samples=recording.samples, path=str(file), sha256=sha256(file))


def _layer_records(network: IntegerNetwork) -> tuple[LayerRecord, ...]:
    return tuple(
        LayerRecord(
            inputs=layer.inputs,
            neurons=layer.neurons,
            synapses=layer.synapses,
            recurrent=0 if layer.recurrent is None else layer.recurrent.synapses,
            max_delay=layer.max_delay,
            weight_exp=layer.weight_exp,
            latency=index + 1,
            groups=tuple(
                GroupRecord(
                    node=one.node,
                    role=one.role,
                    start=one.start,
                    size=one.size,
                    scale=one.scale,
                    late=one.late,
                )
                for one in layer.groups
            ),
        )
        for index, layer in enumerate(network.layers)
    )


def _approximations(lowering: Lowering) -> tuple[Approximation, ...]:
    return tuple(
        Approximation(
            step=step, kind=note.kind, node=note.node, text=note.text, exact=note.exact, error=note.error
        )
        for step, note in lowering.notes
    )
