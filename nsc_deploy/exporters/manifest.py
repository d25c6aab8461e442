"""manifest.json of a deployment folder: the graph it was made from, what is there, and how it was checked.

Every target's manifest is a `Manifest` with fields of its own. Warnings about the graph are kept in it: the
copy of the graph in the folder states its step and reset and is believed, so it shows no such thing itself.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

import nsc_deploy
from nsc_deploy.deployment import FileName, read_deployment
from nsc_deploy.diagnostics import Diagnostic, announce
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.base import ExportRequest
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.readout import readout_of
from nsc_deploy.io.files import read_json, sha256, write_json
from nsc_deploy.io.folders import require_unchanged
from nsc_deploy.io.records import Record, read_json_record
from nsc_deploy.io.text import counted, percent
from nsc_deploy.verification.compare import REAL_TOLERANCE, Comparison

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


class VerificationRecord(Record):
    """What the check at the end of an export found: the artefact run beside the reference simulator."""

    against: Literal["reference"] = "reference"
    backend: str = Field(description="what ran the artefact, with its version")
    inputs: Literal["recorded", "random"] = Field(description="random where nothing was recorded")
    seed: int | None = Field(default=None, description="of the random inputs")
    samples: int = Field(ge=1)
    steps: int = Field(ge=1)
    spikes: int = Field(
        ge=0, description="of every layer compared, in the reference; of the outputs where no layer fires"
    )
    equal: bool = Field(description="whether every spike and every output value compared is equal")
    diverging_samples: int = Field(ge=0, description="samples in which a spike differs")
    tolerance: float | None = Field(
        default=None,
        description="where not equal: potentials at each first divergence lie this close, in units of the "
        "largest potential of the layer, so rounding explains the difference; None where nothing was asked",
    )
    coincidence: float | None = Field(default=None, ge=0, le=1, description="of output spikes")
    rate_cosine: float | None = Field(default=None, ge=-1, le=1)
    agreement: float | None = Field(default=None, ge=0, le=1, description="share of equal decisions")
    reference_accuracy: float | None = Field(default=None, ge=0, le=1)
    accuracy: float | None = Field(default=None, ge=0, le=1, description="of the artefact")
    silent: bool = Field(
        default=False, description="whether no output fired, or was other than 0, on either side"
    )
    largest_error: float | None = Field(
        default=None, ge=0, description="largest difference of an output that is no spike"
    )
    largest_output: float | None = Field(
        default=None, ge=0, description="largest magnitude of such an output, on either side"
    )

    @classmethod
    def of(
        cls, found: Comparison, *, backend: str, seed: int | None = None, tolerance: float | None = None
    ) -> Self:
        """What a comparison with the reference simulator found.

        Args:
            found: the reference is its first run.
            backend: what ran the artefact, with its version.
            seed: of random inputs; None where they were recorded.
            tolerance: that explains every difference; None where none was asked.
        """
        decisions, output = found.decisions, found.output.told
        return cls(
            backend=backend,
            inputs="recorded" if seed is None else "random",
            seed=seed,
            samples=found.samples,
            steps=found.steps,
            spikes=found.reference_spikes,
            equal=found.equal,
            diverging_samples=found.diverging_samples,
            tolerance=None if found.equal else tolerance,
            coincidence=output.coincidence,
            rate_cosine=output.rate_cosine,
            agreement=None if decisions is None else decisions.agreement,
            reference_accuracy=None if decisions is None else decisions.reference_accuracy,
            accuracy=None if decisions is None else decisions.other_accuracy,
            silent=output.silent,
            largest_error=None if output.rmse is None else output.largest,
            largest_output=None if output.rmse is None else output.range,
        )

    @property
    def sentence(self) -> str:
        """For the terminal, one line."""
        samples, steps = counted(self.samples, f"{self.inputs} sample"), counted(self.steps, "step")
        what = f"{samples} of {steps} in {self.backend}"
        nothing = "no output fires" if self.largest_error is None else "every output is 0"
        quiet = f"; {nothing} on either side, which says nothing of it" if self.silent else ""
        if self.equal and self.largest_error is not None and not self.spikes:
            return f"{what}: all outputs are those of the reference, bit for bit{quiet}"
        if self.equal:
            return f"{what}: all {self.spikes:,} spikes are those of the reference simulator{quiet}"
        if self.diverging_samples == 0 and self.largest_error is not None:
            return f"{what}: {self._real(self.largest_error)}{self._alike}"
        return f"{what}: {self._parted}{quiet}"

    def _real(self, error: float) -> str:
        """How outputs that are no spikes compare where no spike differs."""
        if error <= REAL_TOLERANCE * (self.largest_output or 0):
            if not self.spikes:
                return f"outputs are those of the reference within {error:.1g}"
            both = f"all {self.spikes:,} spikes and, within {error:.1g}, all outputs"
            return f"{both} are those of the reference simulator"
        same = f"all {self.spikes:,} spikes are those of the reference simulator, " if self.spikes else ""
        return f"{same}outputs differ from the reference by {self._up_to(error)}"

    def _up_to(self, error: float) -> str:
        """An error beside what it is an error of: alone it says nothing."""
        of = "" if self.largest_output is None else f", of values up to {self.largest_output:.3g}"
        return f"up to {error:.3g}{of}"

    @property
    def _alike(self) -> str:
        """The share of equal decisions, which is what an error of real outputs comes to."""
        return "" if self.agreement is None else f", {percent(self.agreement, 2)}% of the decisions are alike"

    @property
    def _parted(self) -> str:
        """How many samples differ, and by how much."""
        differ = "differs" if self.diverging_samples == 1 else "differ"
        parted = f"{counted(self.diverging_samples, 'sample')} {differ} from the reference simulator"
        if self.tolerance is not None:
            parted += (
                f", each first where a potential lies within {self.tolerance:g} of its threshold "
                "(float32 rounding)"
            )
        elif self.coincidence is not None:
            parted += f", {percent(self.coincidence, 2)}% of the output spikes coincide"
        if self.largest_error is None or self.silent:
            return parted
        return f"{parted}, outputs by {self._up_to(self.largest_error)}{self._alike}"


class Manifest(Record):
    """What the manifest of every target says."""

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    target: str = Field(min_length=1)
    tool: str = Field(description="version of nsc-deploy")
    source: Source
    dt: float | None = Field(
        default=None, gt=0, description="seconds a step, where the graph has a time step"
    )
    classes: int | None = None
    group: int | None = None
    verification: VerificationRecord | None = Field(
        default=None, description="the artefact beside the graph, at the end of the export"
    )
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

    def hashes(self) -> Iterable[tuple[str, str]]:
        """Names and hashes of the files that must be as they were written."""
        return ()

    @classmethod
    def of(cls, request: ExportRequest, **fields: Any) -> Self:
        """A manifest of what was asked for; `fields` are those that only the target knows."""
        classes, group = readout_of(request.network) or (None, None)
        common: dict[str, Any] = {
            "tool": nsc_deploy.__version__,
            "source": source_of(request),
            "dt": request.network.dt,
            "classes": classes,
            "group": group,
            "warnings": request.network.diagnostics,
        }
        return cls(**(common | fields))


class ExactManifest(Manifest):
    """Everything about a deployment in float32 but its numbers."""

    versions: dict[str, str] = Field(
        description="of the packages that the artefact was written and checked with"
    )
    files: tuple[FileRecord, ...]
    reset: str | None = None
    states: tuple[StateRecord, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what was done to the graph on its way")
    verification: VerificationRecord

    def hashes(self) -> Iterable[tuple[str, str]]:
        """Names and hashes of the files that must be as they were written."""
        return ((one.name, one.sha256) for one in self.files)


_Manifest = TypeVar("_Manifest", bound=Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `folder`/manifest.json."""
    write_json(folder / FILE_NAME, manifest.model_dump(mode="json"))


def read_manifest(kind: type[_Manifest], folder: Path) -> _Manifest:
    """Read `folder`/manifest.json and check every file it names.

    Args:
        kind: the manifest of the target.
        folder: the deployment.

    Raises:
        DataError: no deployment, damaged, or changed since it was written.
    """
    path = _manifest_file(folder)
    manifest = read_json_record(kind, path, "a deployment", hint=f"Export it again: {_EXPORT}")
    for name, hash_ in manifest.hashes():
        require_unchanged(folder / name, hash_)
    return manifest


def target_of(folder: Path) -> str:
    """The name of the target a deployment folder was written for.

    Raises:
        DataError: the folder is no deployment.
    """
    path = _manifest_file(folder)
    content = read_json(path)
    target = content.get("target") if isinstance(content, dict) else None
    if not isinstance(target, str):
        raise DataError("does not name its target", where=path, hint=f"Export it again: {_EXPORT}")
    return target


def _manifest_file(folder: Path) -> Path:
    if not folder.exists():
        raise DataError("does not exist", where=folder, hint=f"Check the name, or make one: {_EXPORT}")
    if not (folder / FILE_NAME).is_file():
        raise DataError(
            "is no deployment folder (no manifest.json)", where=folder, hint=f"Make one: {_EXPORT}"
        )
    return folder / FILE_NAME


def recorded_files(folder: Path, held: Iterable[tuple[str, str]]) -> tuple[FileRecord, ...]:
    """Records of files of a folder, each a name and what it holds."""
    return tuple(FileRecord(name=name, sha256=sha256(folder / name), holds=holds) for name, holds in held)


def exported_graph(file: Path, manifest: Manifest) -> Network:
    """The graph a deployment was made from, with the warnings of its manifest told to whoever listens."""
    network = read_network(file)
    kept = tuple(dict.fromkeys((*manifest.warnings, *network.diagnostics)))
    for diagnostic in kept:
        announce(diagnostic)
    return replace(network, diagnostics=kept)


def source_of(request: ExportRequest) -> Source:
    """The graph a deployment is made from."""
    return Source(
        path=str(request.graph_file),
        sha256=sha256(request.graph_file),
        part=request.part,
        class_names=() if request.run is None else read_deployment(request.run).class_names,
    )
