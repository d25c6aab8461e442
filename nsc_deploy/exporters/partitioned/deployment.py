"""A deployment in parts: its manifest, and its parts one after the other as one backend among others."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.deployment import FileName, Place
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.base import Deployment, RunSettings
from nsc_deploy.exporters.manifest import (
    GRAPH,
    RECORDING,
    FileRecord,
    Manifest,
    exported_graph,
    hashes,
    read_manifest,
)
from nsc_deploy.exporters.registry import load_opener
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.records import Record
from nsc_deploy.passes.partition import CHIP, FRONT_END, READ_OUT
from nsc_deploy.verification.record import VerificationRecord
from nsc_deploy.verification.runner import LayerTrace, ReferenceRunner, Runner, RunTrace


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


class SplitManifest(Manifest):
    """Everything about a deployment in parts but its numbers."""

    target: Literal["split"] = "split"
    chip: str = Field(description="target of the part on the chip")
    files: tuple[FileRecord, ...]
    parts: tuple[PartRecord, ...] = Field(min_length=2, max_length=3)
    notes: tuple[NoteRecord, ...]
    verification: VerificationRecord = Field(
        description="each part in the reference simulator, beside the whole; how the artefact of the chip "
        "compares with its part, its own folder says"
    )


def read_split_manifest(folder: Path) -> SplitManifest:
    """Read `folder`/manifest.json and check every file it names.

    Raises:
        DataError: damaged, or changed since it was written.
    """
    return read_manifest(SplitManifest, folder, lambda manifest: hashes(manifest.files))


def open_in_parts(folder: Path) -> Deployment:
    """Read a deployment in parts: what runs the chip's folder runs the whole, with the reference at its ends.

    Raises:
        DataError: damaged, changed since it was written, or of a target that is not there.
    """
    manifest = read_split_manifest(folder)
    parts = {part.name: part for part in manifest.parts}
    held = parts.get(CHIP)
    if held is None or held.folder is None:
        raise DataError("names no folder for its chip", where=folder, hint="Export it again.")
    chip = load_opener(manifest.chip, folder)(folder / held.folder)
    front_end, read_out = (_host(folder, parts.get(name)) for name in (FRONT_END, READ_OUT))
    leaving = chip.network.output_node.inputs[0]
    recording = folder / RECORDING

    def through(open_chip: Callable[[RunSettings], Runner]) -> Callable[[RunSettings], Runner]:
        def runner(settings: RunSettings) -> Runner:
            nodes = None if settings.layers else ()
            before, behind = (
                [] if host is None else [ReferenceRunner(host, nodes=nodes)] for host in (front_end, read_out)
            )
            on_chip = Leaving(open_chip(settings), leaving)
            return PartsRunner(on_chip.name, [*before, on_chip, *behind])

        return runner

    return Deployment(
        path=folder,
        target=manifest.target,
        network=exported_graph(folder / GRAPH, manifest),
        runners={name: through(open_chip) for name, open_chip in chip.runners.items()},
        recording_file=recording if recording.is_file() else None,
        class_names=manifest.source.class_names,
        leaving=None if read_out is None else leaving,
    )


def _host(folder: Path, part: PartRecord | None) -> Network | None:
    if part is None:
        return None
    if part.place is not Place.HOST or part.graph is None:
        raise DataError(f"names no graph for its {part.name}", where=folder, hint="Export it again.")
    return read_network(folder / part.graph)


class PartsRunner:
    """Feeds what leaves each part into the next.

    Args:
        name: of the backend, as shown.
        runners: one a part, in order.
    """

    def __init__(self, name: str, runners: Sequence[Runner]) -> None:
        self.name = name
        self._runners = tuple(runners)

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest; the layers are those of all parts."""
        layers: dict[str, LayerTrace] = {}
        for runner in self._runners:
            trace = runner.run(values)
            layers |= trace.layers
            values = trace.output
        return RunTrace(values, layers)


class Leaving:
    """A part whose output is shown as the spikes of a node, where the part does not show that node itself.

    Args:
        runner: runs the part.
        node: the node.
    """

    def __init__(self, runner: Runner, node: str) -> None:
        self.name = runner.name
        self._runner = runner
        self._node = node

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        trace = self._runner.run(values)
        return RunTrace(trace.output, {self._node: LayerTrace(trace.output), **trace.layers})
