"""manifest.json of a folder of C code: what is in it, what was approximated, and how it was checked."""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from nsc_deploy.deployment import FileName
from nsc_deploy.exporters import manifest as common
from nsc_deploy.exporters.c.layout import Layout
from nsc_deploy.exporters.lava.manifest import Approximation, Calibrated
from nsc_deploy.io.records import Record
from nsc_deploy.io.text import counted


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
    spikes: int = Field(ge=0, description="of all layers; every one is that of the emulator")


class Manifest(common.Manifest):
    """Everything about a folder but its numbers."""

    target: Literal["c"] = "c"
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

    def hashes(self) -> Iterator[tuple[str, str]]:
        """Names and hashes of the files; the header holds the hash of this manifest in its turn."""
        return ((one.name, one.sha256) for one in self.files)


def layer_records(layout: Layout) -> tuple[LayerRecord, ...]:
    """What the manifest says of the layers."""
    states = layout.state_bytes
    return tuple(
        LayerRecord(
            node=one.population.name,
            neurons=one.size,
            synapses=one.population.synapses,
            forms=tuple(f"{each.form} {each.bits}" for each in one.deliveries),
            table_bytes=sum(table.bytes for table in one.tables),
            state_bytes=states[one.population.name],
        )
        for one in layout.layers
    )


def summary(manifest: Manifest) -> list[str]:
    """Sizes, and how the code was checked, a line each."""
    sizes = " -> ".join(str(layer.neurons) for layer in manifest.layers)
    lines = [
        f"{sizes} neurons, {counted(manifest.table_bytes, 'byte')} of tables in flash, "
        f"{counted(manifest.state_bytes, 'byte')} of state in RAM"
    ]
    done = manifest.compiled
    if done is None:
        lines.append(f"not compiled: {manifest.not_compiled}")
    else:
        lines.append(
            f"compiled with {done.compiler}: all {done.spikes} spikes of {counted(done.samples, 'sample')} "
            "are those of the emulator"
        )
    return lines
