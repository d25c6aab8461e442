"""manifest.json of a folder of C code: what is in it, what was approximated, and how it was checked."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field

from nsc_deploy.deployment import FileName
from nsc_deploy.exporters import manifest as common
from nsc_deploy.exporters.c.code import Code, Piece
from nsc_deploy.exporters.c.memory import MemoryMap
from nsc_deploy.exporters.quantised import Approximation, Calibrated, losses
from nsc_deploy.io.records import Record
from nsc_deploy.io.text import counted, percent

EXAMPLE = "main.c"
README = "README.md"


class LayerRecord(Record):
    """A population as it is written."""

    node: str
    neurons: int = Field(ge=1)
    synapses: int = Field(ge=0, description="weights that are not zero; of a convolution each use of one")
    forms: tuple[str, ...] = Field(description="of its connections: dense, sparse or kernel, and their bits")
    table_bytes: int = Field(ge=0, description="constants in flash")
    state_bytes: int = Field(ge=0, description="in RAM, without the sums that all layers share")


class CompiledRecord(Record):
    """What the compiled code did at the end of the export, beside the emulator."""

    compiler: str
    options: tuple[str, ...]
    samples: int = Field(ge=1)
    steps: int = Field(ge=1)
    spikes: int = Field(
        ge=0,
        description="of all layers, or of outputs where no layer fires; each is that of the emulator",
    )
    values: int = Field(default=0, ge=0, description="that left and are no spikes; every one likewise")


class PieceRecord(Record):
    """Some bytes of memory."""

    layer: str = Field(description='node, "input", or "all layers"')
    holds: str
    bytes: int = Field(ge=0)


class MemoryRecord(Record):
    """What the program takes on a core."""

    core: str
    compiler: str | None = Field(description="None where it was missing, and with it code and stack")
    flash_bytes: int = Field(ge=0)
    ram_bytes: int = Field(ge=0)
    flash: tuple[PieceRecord, ...]
    ram: tuple[PieceRecord, ...]

    @classmethod
    def of(cls, found: MemoryMap) -> Self:
        """The map as a record."""
        flash, ram = (
            tuple(PieceRecord(**vars(one)) for one in pieces) for pieces in (found.flash, found.ram)
        )
        return cls(
            core=found.core,
            compiler=found.compiler,
            flash_bytes=found.flash_bytes,
            ram_bytes=found.ram_bytes,
            flash=flash,
            ram=ram,
        )

    def as_map(self) -> MemoryMap:
        """The record as a map."""
        flash, ram = (tuple(Piece(**vars(one)) for one in pieces) for pieces in (self.flash, self.ram))
        return MemoryMap(self.core, self.compiler, flash, ram)


class Manifest(common.Manifest):
    """Everything about a folder but its numbers."""

    target: Literal["c"] = "c"
    form: Literal["events", "int8"] = Field(
        default="events", description="event-driven, or a conventional network in 8 bits"
    )
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="prefix of everything in the code")
    weight_bits: int = Field(ge=2, le=8)
    files: tuple[common.FileRecord, ...]
    program: FileName
    calibration: Calibrated = Calibrated(samples=0)
    layers: tuple[LayerRecord, ...]
    state_bytes: int = Field(ge=0, description="RAM of one network")
    table_bytes: int = Field(ge=0, description="constants in flash")
    approximations: tuple[Approximation, ...]
    compiled: CompiledRecord | None = Field(description="None where there was no C compiler")
    not_compiled: str | None = Field(default=None, description="why not")
    controller: str | None = Field(default=None, description="the microcontroller it was checked against")
    memory: MemoryRecord

    def hashes(self) -> Iterator[tuple[str, str]]:
        """Names and hashes of the files that are read.

        The example and the README are the user's to change, and the header holds the hash of this manifest
        in its turn.
        """
        return ((one.name, one.sha256) for one in self.files if one.name not in {EXAMPLE, README})


def layer_records(code: Code) -> tuple[LayerRecord, ...]:
    """What the manifest says of the layers."""
    return tuple(LayerRecord(**vars(one)) for one in code.sizes)


def summary(manifest: Manifest) -> list[str]:
    """Sizes, what rounding cut or lost, and how the code was checked, a line each."""
    sizes = " -> ".join(str(layer.neurons) for layer in manifest.layers) or "no"
    what = "neurons" if manifest.form == "events" else "values in 8 bits"
    memory = manifest.memory
    least = "" if memory.compiler else "at least "
    lines = [
        f"{sizes} {what}; {least}{counted(memory.flash_bytes, 'byte')} of flash and "
        f"{counted(memory.ram_bytes, 'byte')} of RAM on {manifest.controller or memory.core}"
    ]
    cut = [one for one in manifest.approximations if one.kind == "cut-off"]
    if cut:
        shares = ", ".join(
            f"{percent(one.error, 2, apart=(0.0, 1.0))}% of {one.node or 'what enters'}" for one in cut
        )
        lines.append(f"beyond the ranges that were chosen, and cut off on recorded inputs: {shares}")
    lines += losses(manifest.approximations, manifest.weight_bits)
    done = manifest.compiled
    if done is None:
        lines.append(f"not compiled: {manifest.not_compiled}")
    else:
        spikes = done.spikes or not done.values
        what = f"{done.spikes:,} spikes" if spikes else f"{done.values:,} values"
        lines.append(
            f"compiled with {done.compiler}: all {what} of {counted(done.samples, 'sample')} "
            "are those of the emulator"
        )
    return lines
