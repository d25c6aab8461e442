"""A folder of C code: written, compiled where a compiler is there, and read back before anything runs.

NAME.h, NAME.c   what a firmware needs
main.c           an example
README.md        how it is used
manifest.json    what is in it (see `manifest`); its hash is a macro of NAME.h
source.nir       the graph, as it was
program.npz      the integers
inputs.npz       recorded inputs, where there are any

No code of a folder is trusted: what runs is what this tool writes from the integers, and a NAME.c that says
something else is refused, unless code of the folder may run.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.errors import BackendError, ConfigError, DataError, ExportError
from nsc_deploy.exporters.base import Deployment, ExportRequest, RunSettings
from nsc_deploy.exporters.c.comparators import FrontEnd, find_front_end
from nsc_deploy.exporters.c.controllers import find_controller
from nsc_deploy.exporters.c.emulator import entering
from nsc_deploy.exporters.c.firmware import Firmware
from nsc_deploy.exporters.c.layout import Layout, identifier, lay_out
from nsc_deploy.exporters.c.lowering import Lowered, lower_to_program
from nsc_deploy.exporters.c.manifest import CompiledRecord, Manifest, MemoryRecord, layer_records, summary
from nsc_deploy.exporters.c.memory import map_memory
from nsc_deploy.exporters.c.program import Program, read_program, write_program
from nsc_deploy.exporters.c.qemu import DEFAULT_CPU
from nsc_deploy.exporters.c.runners import HOST_OPTIONS, EmulatorRunner, HostRunner
from nsc_deploy.exporters.c.write import Origin, example_text, header_text, readme_text, source_text
from nsc_deploy.exporters.inputs import Samples, check_inputs, copy_recording
from nsc_deploy.exporters.manifest import (
    FILE_NAME,
    GRAPH,
    RECORDING,
    VerificationRecord,
    exported_graph,
    read_manifest,
    recorded_files,
    write_manifest,
)
from nsc_deploy.exporters.quantised import Calibrated, approximations, choose_calibration
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Signal
from nsc_deploy.graphs.readout import readout_of
from nsc_deploy.io.files import sha256, write_text
from nsc_deploy.io.folders import replacing_folder, require_folder
from nsc_deploy.verification.compare import compare_runs
from nsc_deploy.verification.runner import ReferenceRunner, Runner

PROGRAM = "program.npz"
EXAMPLE = "main.c"
README = "README.md"
EMULATOR = "the emulator of the C code"


def write_c_deployment(request: ExportRequest, controller: str | None = None) -> Path:
    """Lower a graph and write its folder.

    Args:
        request: what is asked for.
        controller: the microcontroller whose core the map of memory is made for; None for a Cortex-M4.

    Raises:
        ExportError: a node cannot be represented, or the compiled code computes something else.
        ConfigError: options or a recording that do not fit, or a folder that is no deployment.
        UserError: the folder cannot be written.
    """
    require_folder(request.out)
    front_end = find_front_end(request.network)
    chosen_on = choose_calibration(request, behind=None if front_end is None else front_end.behind)
    lowered = lower_to_program(
        request.network,
        bits=request.bits,
        inputs=None if chosen_on is None else _events(chosen_on, front_end),
        granularity=request.granularity,
    )
    inputs = check_inputs(request)
    with replacing_folder(request.out) as folder:
        request.notify("writing")
        write_network(folder / GRAPH, request.network)
        write_program(folder / PROGRAM, lowered.program)
        if request.recording_file is not None:
            copy_recording(request.network, request.recording_file, folder / RECORDING)
        layout, origin = _layout(request, lowered.program), _origin(folder, request)
        written = _write_code(folder, layout, origin, inputs)
        request.notify("checking")
        core = DEFAULT_CPU if controller is None else find_controller(controller).core
        memory = map_memory(layout, core)
        record = MemoryRecord.of(memory)
        manifest = _manifest(request, lowered, layout, folder, written, chosen_on, record, controller)
        manifest = _checked(manifest, request.network, layout, folder, inputs)
        write_manifest(folder, manifest)
        write_text(folder / f"{layout.name}.h", header_text(layout, origin, sha256(folder / FILE_NAME)))
    if manifest.verification is not None:
        request.notify(f"verified: {manifest.verification.sentence}")
    for line in summary(manifest):
        request.describe(line, False)
    for line in memory.lines():
        request.describe(line, True)
    for step, note in lowered.notes:
        mark = "=" if note.exact else "~"
        request.describe(f"{mark} {step}: {note.node or 'graph'}: {note.text}", True)
    return request.out


@dataclass(frozen=True)
class CDeployment:
    """A folder, read back and checked.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        network: the graph it was made from.
        layout: its integers, as they are written.
    """

    folder: Path
    manifest: Manifest
    network: Network
    layout: Layout

    def source(self, settings: RunSettings) -> str:
        """The text of NAME.c that may be compiled: this tool's own, or with leave that of the folder.

        Raises:
            ConfigError: the folder holds other code than its integers ask for, and it may not run.
        """
        origin = _read_origin(self.folder, self.manifest)
        source, header = (self.folder / f"{self.manifest.name}.{kind}" for kind in "ch")
        own = {
            source: source_text(self.layout, origin),
            header: header_text(self.layout, origin, sha256(self.folder / FILE_NAME)),
        }
        for file, text in own.items():
            if not settings.run_code and _read_text(file) != text:
                raise ConfigError(
                    "is not the code that this version of the tool writes from program.npz",
                    where=file,
                    hint="Export the folder again, or allow with --run-code that its code is compiled "
                    "and run.",
                )
        return _read_text(source)

    def opened(self) -> Deployment:
        """The folder as every target's: the emulator and the compiled code run it."""

        def emulator(settings: RunSettings) -> Runner:
            return EmulatorRunner(self.layout.program, self.network, settings)

        def host(settings: RunSettings) -> Runner:
            return HostRunner(self.layout, self.source(settings), self.network, settings)

        def qemu(settings: RunSettings) -> Runner:
            from nsc_deploy.exporters.c.qemu import QemuRunner

            return QemuRunner(self.layout, self.source(settings), self.network, settings)

        recording = self.folder / RECORDING
        return Deployment(
            path=self.folder,
            target=self.manifest.target,
            network=self.network,
            runners={EmulatorRunner.name: emulator, "qemu": qemu, HostRunner.name: host},
            recording_file=recording if recording.is_file() else None,
            class_names=self.manifest.source.class_names,
            firmware=self._firmware(),
        )

    def _firmware(self) -> Firmware:
        name = self.manifest.controller
        controller = None if name is None else find_controller(name)
        return Firmware(self.layout, self.network, self.manifest.memory.as_map(), controller)


def read_c_deployment(folder: Path) -> CDeployment:
    """Read a folder that `write_c_deployment` wrote.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    manifest = read_manifest(Manifest, folder)
    network = exported_graph(folder / GRAPH, manifest)
    program = read_program(folder / manifest.program)
    layout = lay_out(program, manifest.name, classes=manifest.classes, group=manifest.group)
    return CDeployment(folder, manifest, network, layout)


def _read_text(file: Path) -> str:
    """A text file of the folder.

    Raises:
        DataError: it is missing, or no text.
    """
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=file, hint="Export the folder again.") from error


def _events(recording: Recording, front_end: FrontEnd | None) -> NDArray[Any]:
    """What scales are chosen on: events as they were recorded, or those of recorded samples."""
    if front_end is None or recording.signal is Signal.EVENTS:
        return recording.values
    comparators = front_end.comparators
    events = comparators.events(comparators.quantised(recording.values))
    return events.reshape(*events.shape[:2], *front_end.behind.input_node.output_shape)


def _layout(request: ExportRequest, program: Program) -> Layout:
    classes, group = readout_of(request.network) or (None, None)
    name = identifier(request.part or request.graph_file.stem)
    return lay_out(program, name, classes=classes, group=group)


def _origin(folder: Path, request: ExportRequest) -> Origin:
    return Origin(request.graph_file.name, sha256(folder / PROGRAM)[:8], request.recording_file is not None)


def _read_origin(folder: Path, manifest: Manifest) -> Origin:
    ready = sha256(folder / manifest.program)[:8]
    return Origin(Path(manifest.source.path).name, ready, (folder / RECORDING).is_file())


def _write_code(folder: Path, layout: Layout, origin: Origin, inputs: Samples) -> tuple[tuple[str, str], ...]:
    """All files of text but the header; their names and what they hold."""
    first = entering(layout.program, inputs.values[:, :1])[:, 0]
    about = "random events" if inputs.seed is not None else f"recorded sample {inputs.indices[0]}"
    texts = (
        (f"{layout.name}.c", "the code", source_text(layout, origin)),
        (EXAMPLE, "an example", example_text(layout, origin, first, about)),
        (README, "how it is used", readme_text(layout, origin, about)),
    )
    for name, _, text in texts:
        write_text(folder / name, text)
    return tuple((name, holds) for name, holds, _ in texts)


def _manifest(
    request: ExportRequest,
    lowered: Lowered,
    layout: Layout,
    folder: Path,
    written: tuple[tuple[str, str], ...],
    chosen_on: Recording | None,
    memory: MemoryRecord,
    controller: str | None,
) -> Manifest:
    held = [(GRAPH, "the graph as it was"), (PROGRAM, "the integers"), *written]
    if request.recording_file is not None:
        held.append((RECORDING, "recorded inputs"))
    layers = layer_records(layout)
    return Manifest.of(
        request,
        name=layout.name,
        weight_bits=request.bits,
        files=recorded_files(folder, held),
        program=PROGRAM,
        calibration=Calibrated.of(request, chosen_on),
        layers=layers,
        state_bytes=sum(layout.state_bytes.values()),
        table_bytes=sum(one.table_bytes for one in layers),
        approximations=approximations(lowered.notes),
        compiled=None,
        controller=controller,
        memory=memory,
    )


def _checked(manifest: Manifest, network: Network, layout: Layout, folder: Path, inputs: Samples) -> Manifest:
    """The manifest with what the check found: emulator beside reference, compiled code beside emulator.

    Raises:
        ExportError: the compiled code computes something else.
    """
    program = read_program(folder / PROGRAM)
    emulator = EmulatorRunner(program, network)
    found = compare_runs(network, ReferenceRunner(network), emulator, inputs.values, labels=inputs.labels)
    record = VerificationRecord.of(found, backend=EMULATOR, seed=inputs.seed)
    manifest = manifest.model_copy(update={"verification": record})
    source = (folder / f"{layout.name}.c").read_text("utf-8")
    with ExitStack() as closing:
        try:
            host = HostRunner(layout, source, network, RunSettings(closing=closing))
            compared = compare_runs(network, emulator, host, inputs.values)
        except BackendError as error:
            return manifest.model_copy(update={"not_compiled": error.message})
        if not compared.equal:
            raise ExportError(
                "the compiled code computes something else than the emulator",
                where=layout.name,
                hint="Nothing was written. Please report this with the graph: it is a fault of the exporter.",
            )
        done = CompiledRecord(
            compiler=host.compiler.version,
            options=HOST_OPTIONS,
            samples=compared.samples,
            steps=compared.steps,
            spikes=sum(layer.reference_spikes or 0 for layer in compared.layers),
        )
    return manifest.model_copy(update={"compiled": done})
