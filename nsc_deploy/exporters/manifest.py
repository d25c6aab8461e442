"""manifest.json of the targets that compute a graph as it stands: what is there and how it was checked.

Manifests keep what was told of a graph.

The copy in a deployment folder states its step and reset and is believed, so it shows no such thing itself.

What every manifest says about the graph it was made from.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from nsc_deploy.deployment import FileName, read_deployment
from nsc_deploy.diagnostics import Diagnostic, announce
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.base import ExportRequest
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.files import read_json, sha256, write_json
from nsc_deploy.io.folders import require_unchanged
from nsc_deploy.io.records import Record, read_json_record
from nsc_deploy.verification.record import VerificationRecord

FILE_NAME = "manifest.json"
GRAPH = "source.nir"
RECORDING = "inputs.npz"
FORMAT = 1
_EXPORT = "nsc-deploy export RUN --target TARGET --out DIR"


class Source(Record):
    """The graph the deployment was made from."""

    path: str = Field(description="where it was read from")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of that file")
    part: str | None = Field(default=None, description="part of the training run, if it came from one")
    class_names: tuple[str, ...] = ()


class FileRecord(Record):
    """A file of the folder."""

    name: FileName
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    holds: str = Field(description="in a few words")


class StateRecord(Record):
    """A state that a single step takes in and gives back."""

    input: str = Field(description="name of the input of the model")
    output: str = Field(description="name of the output that is the input of the next step")
    shape: tuple[int, ...] = Field(
        description="without the batch, which is the first dimension; 0 at the start"
    )
    holds: str


class Warned(Record):
    """What a manifest says of the program that wrote its graph."""

    warnings: tuple[Diagnostic, ...] = Field(
        default=(),
        description="what looked like faults of the program that wrote the graph; left out if none",
    )

    @model_serializer(mode="wrap")
    def _nothing_of_none(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Versions that knew no warnings read a manifest that has none."""
        written: dict[str, Any] = serialize(self)
        if not self.warnings:
            written.pop("warnings", None)
        return written


class ExactManifest(Warned):
    """Everything about a deployment but its numbers."""

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    target: str = Field(min_length=1)
    tool: str = Field(description="version of nsc-deploy")
    versions: dict[str, str] = Field(
        description="of the packages that the artefact was written and checked with"
    )
    source: Source
    files: tuple[FileRecord, ...]
    dt: float | None = Field(
        default=None, gt=0, description="seconds a step, where the graph has a time step"
    )
    reset: str | None = None
    classes: int | None = None
    group: int | None = None
    states: tuple[StateRecord, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what was done to the graph on its way")
    verification: VerificationRecord


def write_exact_manifest(folder: Path, manifest: ExactManifest) -> None:
    """Write `folder`/manifest.json."""
    write_json(folder / FILE_NAME, manifest.model_dump(mode="json"))


def read_exact_manifest(folder: Path) -> ExactManifest:
    """Read `folder`/manifest.json and check every file it names.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    target_of(folder)
    manifest = read_json_record(
        ExactManifest, folder / FILE_NAME, "a deployment", hint=f"Export it again: {_EXPORT}"
    )
    for record in manifest.files:
        require_unchanged(folder / record.name, record.sha256)
    return manifest


def target_of(folder: Path) -> str:
    """The name of the target a deployment folder was written for.

    Raises:
        DataError: the folder is no deployment.
    """
    path = folder / FILE_NAME
    if not folder.exists():
        raise DataError("does not exist", where=folder, hint=f"Check the name, or make one: {_EXPORT}")
    if not path.is_file():
        raise DataError(
            "is no deployment folder (no manifest.json)", where=folder, hint=f"Make one: {_EXPORT}"
        )
    content = read_json(path)
    target = content.get("target") if isinstance(content, dict) else None
    if not isinstance(target, str):
        raise DataError("does not name its target", where=path, hint=f"Export it again: {_EXPORT}")
    return target


def recorded_files(folder: Path, held: Iterable[tuple[str, str]]) -> tuple[FileRecord, ...]:
    """Records of files of a folder, each a name and what it holds."""
    return tuple(FileRecord(name=name, sha256=sha256(folder / name), holds=holds) for name, holds in held)


def exported_graph(folder: Path, manifest: ExactManifest) -> Network:
    """The graph a deployment was made from, as its folder keeps it."""
    return warned(read_network(folder / GRAPH), manifest.warnings)


def exported_recording(folder: Path) -> Recording | None:
    """The recorded inputs in a deployment folder, or None."""
    path = folder / RECORDING
    return read_recording(path) if path.is_file() else None


def warned(network: Network, warnings: Iterable[Diagnostic]) -> Network:
    """The graph of a deployment with the warnings of its manifest, which are told to whoever listens."""
    kept = tuple(dict.fromkeys((*warnings, *network.diagnostics)))
    for diagnostic in kept:
        announce(diagnostic)
    return replace(network, diagnostics=kept)


def class_names(request: ExportRequest) -> tuple[str, ...]:
    """Names of the classes, where the graph is a part of a training run."""
    return () if request.run is None else read_deployment(request.run).class_names


def source_of(request: ExportRequest) -> Source:
    """The graph a deployment is made from."""
    return Source(
        path=str(request.graph_file),
        sha256=sha256(request.graph_file),
        part=request.part,
        class_names=class_names(request),
    )


def readout_of(network: Network) -> tuple[int | None, int | None]:
    """How a decision is read from the output: classes and outputs a class, None where the graph is silent."""
    metadata = network.output_node.parameters.metadata
    return _whole(metadata.get("classes")), _whole(metadata.get("group"))


def _whole(value: object) -> int | None:
    return None if value is None else int(str(value))
