"""A folder of C code: written, compiled where a compiler is there, and read back before anything runs.

NAME.h, NAME.c   what a firmware needs
main.c           an example
README.md        how it is used
manifest.json    what is in it (see `manifest`); its hash is a macro of NAME.h
source.nir       the graph, as it was (of a conventional network source.onnx)
program.npz      the integers
inputs.npz       recorded inputs, where there are any

No code of a folder is trusted: what runs is what this tool writes from the integers, and a NAME.c that says
something else is refused, unless code of the folder may run.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from nsc_deploy.errors import BackendError, ConfigError, DataError, ExportError
from nsc_deploy.exporters.base import DeployedPart, Deployment, ExportRequest, RunSettings
from nsc_deploy.exporters.c.code import Code, Origin, Prepared
from nsc_deploy.exporters.c.compilers import Compiler, host_compiler
from nsc_deploy.exporters.c.controllers import find_controller
from nsc_deploy.exporters.c.firmware import Firmware
from nsc_deploy.exporters.c.manifest import (
    EXAMPLE,
    README,
    CompiledRecord,
    Manifest,
    MemoryRecord,
    layer_records,
    summary,
)
from nsc_deploy.exporters.c.memory import map_memory
from nsc_deploy.exporters.c.qemu import DEFAULT_CPU
from nsc_deploy.exporters.c.runners import HOST_OPTIONS, HostRunner
from nsc_deploy.exporters.inputs import Samples
from nsc_deploy.exporters.manifest import (
    FILE_NAME,
    RECORDING,
    VerificationRecord,
    read_manifest,
    recorded_files,
    write_manifest,
)
from nsc_deploy.exporters.quantised import approximations, clipped_at_check, rounded_in_reference
from nsc_deploy.io.files import sha256, write_text
from nsc_deploy.io.folders import replacing_folder, require_folder
from nsc_deploy.passes.base import Note
from nsc_deploy.verification.compare import Comparison, compare_runs
from nsc_deploy.verification.runner import Runner

PROGRAM = "program.npz"
EMULATOR = "the emulator of the C code"
_FORMS = {"events": "nsc_deploy.exporters.c.events", "int8": "nsc_deploy.exporters.c.int8.code"}
"""Modules with `prepare` and `read_back`; the one of ONNX is loaded for ONNX alone."""


def write_c_deployment(request: ExportRequest, controller: str | None = None) -> Path:
    """Lower a graph and write its folder.

    Args:
        request: what is asked for.
        controller: the microcontroller whose core the map of memory is made for; None for a Cortex-M4.

    Raises:
        ExportError: a node cannot be represented, or the code does not compile or computes something else.
        ConfigError: options or a recording that do not fit, or a folder that is no deployment.
        UserError: the folder cannot be written.
    """
    require_folder(request.out)
    form = "int8" if request.graph_file.suffix == ".onnx" else "events"
    prepared: Prepared = import_module(_FORMS[form]).prepare(request)
    code, inputs = prepared.code, prepared.inputs
    with replacing_folder(request.out) as folder:
        request.notify("writing")
        prepared.put_graph(folder / prepared.graph)
        code.write(folder / PROGRAM)
        if prepared.put_recording is not None:
            prepared.put_recording(folder / RECORDING)
        origin = _origin(folder, request.graph_file.name)
        written = _write_code(folder, code, origin, inputs)
        request.notify("checking")
        named = None if controller is None else find_controller(controller)
        memory = map_memory(code, DEFAULT_CPU if named is None else named.core)
        manifest = _manifest(request, prepared, form, folder, written, MemoryRecord.of(memory), controller)
        manifest, notes = _checked(manifest, prepared.notes, folder, inputs)
        write_manifest(folder, manifest)
        write_text(folder / f"{code.name}.h", code.header(origin, sha256(folder / FILE_NAME)))
    if manifest.verification is not None:
        request.notify(f"verified: {manifest.verification.sentence}")
    if named is not None:
        for one in named.lacks(memory.flash_bytes, memory.ram_bytes):
            request.notify(f"does not fit {named.target}: {one}")
    for line in summary(manifest):
        request.describe(line, False)
    for line in memory.lines():
        request.describe(line, True)
    for step, note in notes:
        mark = "=" if note.exact else "~"
        request.describe(f"{mark} {step}: {note.node or 'graph'}: {note.text}", True)
    return request.out


@dataclass(frozen=True)
class CDeployment:
    """A folder, read back and checked.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        code: its integers, as they are written.
    """

    folder: Path
    manifest: Manifest
    code: Code

    def source(self, settings: RunSettings) -> str:
        """The text of NAME.c that may be compiled: this tool's own, or with leave that of the folder.

        Raises:
            ConfigError: the folder holds other code than its integers ask for, and it may not run.
        """
        origin = _origin(self.folder, Path(self.manifest.source.path).name)
        source, header = (self.folder / f"{self.manifest.name}.{kind}" for kind in "ch")
        own = {
            source: self.code.source(origin),
            header: self.code.header(origin, sha256(self.folder / FILE_NAME)),
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

        def host(settings: RunSettings) -> Runner:
            return HostRunner(self.code, self.source(settings), settings)

        def qemu(settings: RunSettings) -> Runner:
            from nsc_deploy.exporters.c.qemu import QemuRunner

            return QemuRunner(self.code, self.source(settings), settings)

        recording, controller = self.folder / RECORDING, self.manifest.controller
        return Deployment(
            path=self.folder,
            target=self.manifest.target if controller is None else find_controller(controller).target,
            network=self.code.network,
            runners={"emulator": self.code.emulator, "qemu": qemu, HostRunner.name: host},
            reference=self.code.reference,
            parts=self._parts(),
            recording_file=recording if recording.is_file() else None,
            class_names=self.manifest.source.class_names,
            firmware=self._firmware(),
        )

    def _parts(self) -> tuple[DeployedPart, ...]:
        """What is counted: integers of events; the products of a conventional network are its graph's."""
        from nsc_deploy.exporters.c.events import EventCode

        code = self.code if isinstance(self.code, EventCode) else None
        file = self.folder / FILE_NAME
        return (DeployedPart(self.folder.name, None, file, self.code.network, code=code),)

    def _firmware(self) -> Firmware:
        name = self.manifest.controller
        controller = None if name is None else find_controller(name)
        return Firmware(self.code, self.manifest.memory.as_map(), controller)


def read_c_deployment(folder: Path) -> CDeployment:
    """Read a folder that `write_c_deployment` wrote.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    manifest = read_manifest(Manifest, folder)
    code: Code = import_module(_FORMS[manifest.form]).read_back(folder, manifest)
    return CDeployment(folder, manifest, code)


def _read_text(file: Path) -> str:
    """A text file of the folder.

    Raises:
        DataError: it is missing, or no text.
    """
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read ({error})", where=file, hint="Export the folder again.") from error


def _origin(folder: Path, graph: str) -> Origin:
    return Origin(graph, sha256(folder / PROGRAM)[:8], (folder / RECORDING).is_file())


def _write_code(folder: Path, code: Code, origin: Origin, inputs: Samples) -> tuple[tuple[str, str], ...]:
    """All files of text but the header; their names and what they hold."""
    about = "random events" if inputs.seed is not None else f"recorded sample {inputs.indices[0]}"
    texts = (
        (f"{code.name}.c", "the code", code.source(origin)),
        (EXAMPLE, "an example", code.example(origin, inputs.values[:, :1], about)),
        (README, "how it is used", code.readme(origin, about)),
    )
    for name, _, text in texts:
        write_text(folder / name, text)
    return tuple((name, holds) for name, holds, _ in texts)


def _manifest(
    request: ExportRequest,
    prepared: Prepared,
    form: str,
    folder: Path,
    written: tuple[tuple[str, str], ...],
    memory: MemoryRecord,
    controller: str | None,
) -> Manifest:
    held = [(prepared.graph, "the graph as it was"), (PROGRAM, "the integers"), *written]
    if prepared.put_recording is not None:
        held.append((RECORDING, "recorded inputs"))
    layers = layer_records(prepared.code)
    fields: dict[str, Any] = {"form": form}
    return Manifest.of(
        request,
        **fields,
        name=prepared.code.name,
        weight_bits=request.bits,
        files=recorded_files(folder, held),
        program=PROGRAM,
        calibration=prepared.calibration,
        layers=layers,
        state_bytes=sum(one.bytes for one in prepared.code.state),
        table_bytes=sum(one.table_bytes for one in layers),
        approximations=approximations(prepared.notes),
        compiled=None,
        controller=controller,
        memory=memory,
    )


def _checked(
    manifest: Manifest, notes: Sequence[tuple[str, Note]], folder: Path, inputs: Samples
) -> tuple[Manifest, tuple[tuple[str, Note], ...]]:
    """The manifest with what the check found: emulator beside reference, compiled code beside emulator.

    Args:
        manifest: without it.
        notes: what each pass did, with the name of the pass.
        folder: where all lies.
        inputs: what enters.

    Returns:
        The manifest, and the notes with those that the check adds.

    Raises:
        ExportError: the code does not compile, crashes, or computes something else.
    """
    code: Code = import_module(_FORMS[manifest.form]).read_back(folder, manifest)
    emulator = code.emulator(RunSettings())
    found = compare_runs(code.network, code.reference(), emulator, inputs.values, labels=inputs.labels)
    record = VerificationRecord.of(found, backend=EMULATOR, seed=inputs.seed)
    told = (*notes, *(("quantise", note) for note in _found_at_check(notes, emulator, found)))
    update = {"verification": record, "approximations": approximations(told)}
    manifest = manifest.model_copy(update=update)
    try:
        compiler = host_compiler()
    except BackendError as error:
        return manifest.model_copy(update={"not_compiled": error.message}), told
    done = _compiled(code, _read_text(folder / f"{code.name}.c"), compiler, emulator, inputs)
    return manifest.model_copy(update={"compiled": done}), told


def _found_at_check(notes: Sequence[tuple[str, Note]], emulator: Runner, found: Comparison) -> Iterator[Note]:
    """What integers of events lose that only a run shows."""
    from nsc_deploy.exporters.c.events import EmulatorRunner

    if not isinstance(emulator, EmulatorRunner):
        return
    told = [note for _, note in notes]
    clipped = clipped_at_check(told, emulator.clipped)
    yield from clipped
    coinciding = [layer.coincidence for layer in found.layers if layer.coincidence is not None]
    if not clipped and all(note.exact for note in told) and min(coinciding, default=1.0) < 1:
        yield rounded_in_reference(1 - min(coinciding))


def _compiled(
    code: Code, source: str, compiler: Compiler, emulator: Runner, inputs: Samples
) -> CompiledRecord:
    """What the compiled code did beside the emulator.

    Raises:
        ExportError: it does not compile, crashes, or computes something else.
    """
    with ExitStack() as closing:
        try:
            host = HostRunner(code, source, RunSettings(closing=closing), compiler=compiler)
            compared = compare_runs(code.network, emulator, host, inputs.values)
        except BackendError as error:
            hint = "Nothing was written. Please report this with the graph, unless the compiler is at fault."
            raise ExportError(error.problem, where=code.name, hint=hint) from error
    if not compared.equal:
        raise ExportError(
            "the compiled code computes something else than the emulator",
            where=code.name,
            hint="Nothing was written. Please report this with the graph: it is a fault of the exporter.",
        )
    return CompiledRecord(
        compiler=host.compiler.version,
        options=HOST_OPTIONS,
        samples=compared.samples,
        steps=compared.steps,
        spikes=compared.reference_spikes,
        values=compared.output.compared if compared.output.reference_spikes is None else 0,
    )
