"""manifest.json of a deployment in parts."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from nsc_deploy.deployment import FileName, Place
from nsc_deploy.exporters.manifest import FILE_NAME, FileRecord, Source
from nsc_deploy.exporters.warned import Warned
from nsc_deploy.io.files import require_unchanged, write_json
from nsc_deploy.io.records import Record, read_json_record
from nsc_deploy.verification.record import VerificationRecord

FORMAT = 1
_EXPORT = "nsc-deploy export GRAPH --target TARGET --split --out DIR"


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


def write_split_manifest(folder: Path, manifest: SplitManifest) -> None:
    """Write `folder`/manifest.json."""
    write_json(folder / FILE_NAME, manifest.model_dump(mode="json"))


def read_split_manifest(folder: Path) -> SplitManifest:
    """Read `folder`/manifest.json and check every file it names.

    Raises:
        DataError: damaged, or changed since it was written.
    """
    manifest = read_json_record(
        SplitManifest, folder / FILE_NAME, "a deployment in parts", remedy=f"Export it again: {_EXPORT}"
    )
    for record in manifest.files:
        require_unchanged(folder / record.name, record.sha256)
    return manifest
