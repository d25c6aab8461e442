"""The deployment folder: written without Lava, read back before anything runs.

manifest.json   what is in it (see `manifest`)
source.nir      the graph, as it was
network.npz     the integers
network.net     the same for lava-dl's netx (HDF5), where netx can hold it
subtractive_lif.py  our process, where neurons reset by subtraction
inputs.npz      recorded inputs, where there are any

An export ends with a check: the integers that were written run in the emulator beside the graph, and the
share of spikes that differ before and after each pass that is not exact is recorded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nsc_deploy.deployment import Place
from nsc_deploy.exporters.base import DeployedPart, Deployment, ExportRequest, RunSettings
from nsc_deploy.exporters.inputs import Samples, check_inputs, copy_recording
from nsc_deploy.exporters.lava.environment import LAVA_VERSION
from nsc_deploy.exporters.lava.integers import IntegerNetwork, read_integers, write_integers
from nsc_deploy.exporters.lava.lowering.pipeline import Lowering, Step, lower
from nsc_deploy.exporters.lava.manifest import (
    GroupRecord,
    LayerError,
    LayerRecord,
    Manifest,
    PassRecord,
    Source,
    explanation,
    summary,
)
from nsc_deploy.exporters.lava.netx import difference, held, obstacle, write_netx
from nsc_deploy.exporters.lava.runners import EmulatorRunner, LavaRunner
from nsc_deploy.exporters.manifest import (
    VerificationRecord,
    exported_graph,
    read_manifest,
    source_of,
    write_manifest,
)
from nsc_deploy.exporters.quantised import (
    Calibrated,
    approximations,
    choose_calibration,
    clipped_at_check,
    rounded_in_reference,
)
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import sha256, write_bytes
from nsc_deploy.io.folders import replacing_folder, require_folder, require_unchanged
from nsc_deploy.io.text import percent
from nsc_deploy.verification.compare import Comparison, compare_runs
from nsc_deploy.verification.divergence import LayerParity
from nsc_deploy.verification.runner import ReferenceRunner, Runner

SOURCE = "source.nir"
INTEGERS = "network.npz"
NETX = "network.net"
RECORDING = "inputs.npz"
OWN_PROCESS = Path(__file__).parent / "subtractive_lif.py"


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
        return exported_graph(path, self.manifest)

    def opened(self) -> Deployment:
        """The folder as every target's: the emulator and Lava run it."""
        network, name = self.graph(), self.manifest.source.recording

        def emulator(settings: RunSettings) -> Runner:
            return EmulatorRunner(self.integers, network, settings)

        def lava(settings: RunSettings) -> Runner:
            return LavaRunner(self.integers, network, settings)

        return Deployment(
            path=self.folder,
            target=self.manifest.target,
            network=network,
            runners={EmulatorRunner.name: emulator, LavaRunner.name: lava},
            recording_file=None if name is None else self.folder / name,
            class_names=self.manifest.source.class_names,
            parts=(
                DeployedPart(
                    name=self.manifest.source.part or Path(self.manifest.source.path).stem,
                    place=Place.CHIP,
                    file=self.folder / self.manifest.integers,
                    network=network,
                    integers=self.integers,
                ),
            ),
        )


def write_lava_deployment(request: ExportRequest) -> Path:
    """Lower a graph and write its folder.

    Raises:
        ExportError: a node cannot be represented.
        ConfigError: options or a recording that do not fit, or a folder that is no deployment.
        UserError: the folder cannot be written.
    """
    require_folder(request.out)
    chosen_on = choose_calibration(request)
    lowering = lower(
        request.network,
        bits=request.bits,
        inputs=None if chosen_on is None else chosen_on.values,
        granularity=request.granularity,
    )
    with replacing_folder(request.out) as folder:
        request.notify("writing")
        # Written anew, so that dt and reset named on the command line are in the copy.
        write_network(folder / SOURCE, request.network)
        write_integers(folder / INTEGERS, lowering.network)
        if _needs_ours(lowering.network):
            write_bytes(folder / OWN_PROCESS.name, OWN_PROCESS.read_bytes())
        if obstacle(lowering.network) is None:
            write_netx(folder / NETX, lowering.network)
        if request.recording_file is not None:
            copy_recording(request.network, request.recording_file, folder / RECORDING)
        request.notify("checking")
        inputs = check_inputs(request)
        record, lowering, passes = check_emulator(request, lowering, folder / INTEGERS, inputs)
        manifest = _manifest(request, lowering, chosen_on, folder, record, passes)
        manifest = manifest.model_copy(
            update={"netx_difference": _netx_difference(request, lowering, inputs)}
        )
        write_manifest(folder, manifest)
    request.notify(f"verified: {record.sentence}")
    for line in summary(manifest):
        request.describe(line, False)
    for line in explanation(manifest):
        request.describe(line, True)
    return request.out


def _needs_ours(network: IntegerNetwork) -> bool:
    """Whether a process of ours runs in it."""
    return any(layer.subtracts for layer in network.layers)


def read_lava_deployment(folder: Path) -> LavaDeployment:
    """Read a deployment folder.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    manifest = read_manifest(Manifest, folder)
    integers = read_integers(folder / manifest.integers, manifest.layer_groups())
    return LavaDeployment(folder, manifest, integers)


def _manifest(
    request: ExportRequest,
    lowering: Lowering,
    chosen_on: Recording | None,
    folder: Path,
    record: VerificationRecord,
    passes: tuple[PassRecord, ...],
) -> Manifest:
    network = lowering.network
    problem = obstacle(network)
    source = dict(source_of(request)) | {"sha256": sha256(folder / SOURCE), "file": SOURCE}
    if request.recording_file is not None:
        source |= {"recording": RECORDING, "recording_sha256": sha256(folder / RECORDING)}
    return Manifest.of(
        request,
        lava=LAVA_VERSION,
        source=Source(**source),
        dt=network.dt,
        weight_bits=request.bits,
        integers=INTEGERS,
        integers_sha256=sha256(folder / INTEGERS),
        netx=NETX if problem is None else None,
        netx_sha256=sha256(folder / NETX) if problem is None else None,
        netx_obstacle=problem,
        own_process=OWN_PROCESS.name if _needs_ours(network) else None,
        own_process_sha256=sha256(OWN_PROCESS) if _needs_ours(network) else None,
        graded=network.graded,
        latency=network.latency,
        calibration=Calibrated.of(request, chosen_on),
        layers=_layer_records(network),
        approximations=approximations(lowering.notes),
        passes=passes,
        verification=record,
    )


def _netx_difference(request: ExportRequest, lowering: Lowering, inputs: Samples) -> str | None:
    """What the network file holds less exactly, and how many spikes of the check differ for it."""
    integers = lowering.network
    told = difference(integers) if obstacle(integers) is None else None
    if told is None:
        return None
    ours, file = (EmulatorRunner(one, request.network) for one in (integers, held(integers)))
    coinciding = compare_runs(request.network, ours, file, inputs.values).output.told.coincidence
    if coinciding is None:  # Nothing fires, so nothing is known.
        return told
    share = percent(1 - coinciding, 2, apart=(0.0, 1.0))
    return f"{told}; {share}% of the output spikes differ by that on the inputs of the check"


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
            groups=tuple(GroupRecord(**vars(one)) for one in layer.groups),
            process="SubtractiveLIF" if layer.subtracts else "LIFReset",
        )
        for index, layer in enumerate(network.layers)
    )


def check_emulator(
    request: ExportRequest, lowering: Lowering, integers: Path, inputs: Samples
) -> tuple[VerificationRecord, Lowering, tuple[PassRecord, ...]]:
    """Compare the integers with the graph, on recorded inputs or, where there are none, on random ones.

    Rounded weights and decays change spikes, so nothing is refused here: the record says how many, and
    what each pass did and cost is told beside it.

    Args:
        request: what was exported.
        lowering: how it was lowered.
        integers: the file that was written.
        inputs: what enters.

    Returns:
        What was found, how it was lowered with what the check adds to it, and each pass.
    """
    network = request.network
    read = read_integers(integers, tuple(layer.groups for layer in lowering.network.layers))
    twin = EmulatorRunner(read, network)
    found = compare_runs(network, ReferenceRunner(network), twin, inputs.values, labels=inputs.labels)
    record = VerificationRecord.of(found, backend=f"the twin of lava-nc {LAVA_VERSION}", seed=inputs.seed)
    *before, last = lowering.steps
    last = replace(last, notes=(*last.notes, *clipped_at_check(last.notes, twin.clipped)))
    measured = measured_steps(network, (*before, last), read, inputs, found)
    lowering = replace(lowering, steps=tuple(step for step, _ in measured))
    return record, lowering, tuple(_pass_record(step, error) for step, error in measured)


def measured_steps(
    network: Network,
    steps: tuple[Step, ...],
    integers: IntegerNetwork,
    inputs: Samples,
    whole: Comparison,
) -> tuple[tuple[Step, Comparison | None], ...]:
    """What each pass did, and its error on the inputs that the export is checked on; None where it has none.

    An exact pass that leaves a graph is not measured: its error is 0, as tests on random graphs show. An
    inexact one is measured in the reference simulator, the rounding to integers always, in the emulator:
    integers that are exact differ where sums of the reference round. Every layer gets what the layers before
    it really fire, so its share holds their errors too.

    Args:
        network: the graph, before all passes.
        steps: what was done to it.
        integers: what was written.
        inputs: what enters.
        whole: the graph beside the integers on these inputs.
    """
    before, found = network, []
    for step in steps:
        error = None
        if step is steps[-1]:
            error = (
                whole if before is network else _compared(before, EmulatorRunner(integers, before), inputs)
            )
        elif not step.exact and step.graph is not None:
            error = _compared(before, ReferenceRunner(step.graph), inputs)
        found.append(_as_measured(step, error))
        before = before if step.graph is None else step.graph
    return tuple(found)


def _as_measured(step: Step, found: Comparison | None) -> tuple[Step, Comparison | None]:
    """A pass that rounds nothing has no error, or says whose rounding it may be."""
    if not step.exact or found is None:
        return step, found
    share = _share(tuple(map(_layer_error, found.layers)))
    if not share:
        return step, None
    return replace(step, notes=(*step.notes, rounded_in_reference(share))), found


def _compared(before: Network, after: Runner, inputs: Samples) -> Comparison:
    return compare_runs(before, ReferenceRunner(before), after, inputs.values)


def _pass_record(step: Step, found: Comparison | None) -> PassRecord:
    layers = () if found is None else tuple(_layer_error(layer) for layer in found.layers)
    return PassRecord(
        step=step.name,
        did=tuple(note.text if note.node is None else f"{note.node}: {note.text}" for note in step.notes),
        exact=step.exact,
        differing=_share(layers),
        layers=layers,
    )


def _layer_error(layer: LayerParity) -> LayerError:
    """From the counts of both sides and the share that coincides: what only one side fires."""
    first, second = layer.reference_spikes or 0, layer.other_spikes or 0
    shared = 1.0 if layer.coincidence is None else layer.coincidence
    either = round((first + second) / (1 + shared))
    return LayerError(node=layer.node, spikes=first, either=either, alone=either - round(shared * either))


def _share(layers: Sequence[LayerError]) -> float:
    either = sum(layer.either for layer in layers)
    return sum(layer.alone for layer in layers) / either if either else 0.0
