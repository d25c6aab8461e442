"""Reads a deployment in parts back, checked.

manifest.json of a deployment in parts.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from nsc_deploy.deployment import FileName, Place
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.deployment import LavaDeployment, read_lava_deployment
from nsc_deploy.exporters.manifest import FILE_NAME, GRAPH, RECORDING, FileRecord, Source, Warned, warned
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import write_json
from nsc_deploy.io.folders import require_unchanged
from nsc_deploy.io.records import Record, read_json_record
from nsc_deploy.passes.partition import CHIP, FRONT_END, READ_OUT
from nsc_deploy.verification.record import VerificationRecord

FORMAT = 1


class PartRecord(Record):
    """One part; what leaves one is what enters the next."""

    name: str = Field(description="front-end, chip or read-out")
    place: Place
    graph: FileName | None = Field(default=None, description="graph of a part on the host, .nir")
    folder: FileName | None = Field(
        default=None, description="deployment folder of the chip, which can be run by itself"
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


class SplitManifest(Warned):
    """Everything about a deployment in parts but its numbers."""

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    target: Literal["split"] = "split"
    chip: str = Field(description="target of the part on the chip")
    tool: str = Field(description="version of nsc-deploy")
    source: Source
    files: tuple[FileRecord, ...]
    parts: tuple[PartRecord, ...] = Field(min_length=2, max_length=3)
    dt: float | None = Field(default=None, gt=0, description="seconds a step")
    classes: int | None = None
    group: int | None = None
    notes: tuple[NoteRecord, ...]
    verification: VerificationRecord = Field(
        description="each part in the reference simulator, beside the whole; how the artefact of the chip "
        "compares with its part, its own folder says"
    )


@dataclass(frozen=True)
class SplitDeployment:
    """A folder, read back.

    Attributes:
        folder: where it lies.
        manifest: what it says about itself.
        whole: the graph it was made from.
        front_end: what runs before the chip, or None.
        chip: the chip's part.
        read_out: what runs behind the chip, or None.
    """

    folder: Path
    manifest: SplitManifest
    whole: Network
    front_end: Network | None
    chip: LavaDeployment
    read_out: Network | None

    def recording(self) -> Recording | None:
        """The recorded inputs of the whole in the folder, or None."""
        path = self.folder / RECORDING
        return read_recording(path) if path.is_file() else None


def read_split_deployment(folder: Path) -> SplitDeployment:
    """Read a deployment in parts whose chip is Lava's.

    Raises:
        DataError: damaged, changed since it was written, or of a target this tool cannot run.
    """
    manifest = read_split_manifest(folder)
    if manifest.chip != "lava":
        raise DataError(
            f"has its chip part exported to '{manifest.chip}', which this tool cannot run", where=folder
        )
    parts = {part.name: part for part in manifest.parts}
    chip = parts.get(CHIP)
    if chip is None or chip.folder is None:
        raise DataError("names no folder for its chip", where=folder, hint="Export it again.")
    return SplitDeployment(
        folder=folder,
        manifest=manifest,
        whole=warned(read_network(folder / GRAPH), manifest.warnings),
        front_end=_host(folder, parts.get(FRONT_END)),
        chip=read_lava_deployment(folder / chip.folder),
        read_out=_host(folder, parts.get(READ_OUT)),
    )


def _host(folder: Path, part: PartRecord | None) -> Network | None:
    if part is None:
        return None
    if part.place is not Place.HOST or part.graph is None:
        raise DataError(f"names no graph for its {part.name}", where=folder, hint="Export it again.")
    return read_network(folder / part.graph)


_EXPORT = "nsc-deploy export GRAPH --target TARGET --split --out DIR"


def write_split_manifest(folder: Path, manifest: SplitManifest) -> None:
    """Write `folder`/manifest.json."""
    write_json(folder / FILE_NAME, manifest.model_dump(mode="json"))


def read_split_manifest(folder: Path) -> SplitManifest:
    """Read `folder`/manifest.json and check every file it names.

    Raises:
        DataError: damaged, or changed since it was written.
    """
    manifest = read_json_record(
        SplitManifest, folder / FILE_NAME, "a deployment in parts", hint=f"Export it again: {_EXPORT}"
    )
    for record in manifest.files:
        require_unchanged(folder / record.name, record.sha256)
    return manifest
