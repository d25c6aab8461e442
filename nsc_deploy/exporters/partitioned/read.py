"""Reads a deployment in parts back, checked."""

from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.deployment import Place
from nsc_deploy.errors import DataError
from nsc_deploy.exporters.lava.deployment import LavaDeployment, read_lava_deployment
from nsc_deploy.exporters.manifest import GRAPH, RECORDING
from nsc_deploy.exporters.split.manifest import PartRecord, SplitManifest, read_split_manifest
from nsc_deploy.exporters.warned import warned
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.formats.recording import Recording, read_recording
from nsc_deploy.graphs.network import Network
from nsc_deploy.passes.partition import CHIP, FRONT_END, READ_OUT


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
        raise DataError("names no folder for its chip", where=folder, remedy="Export it again.")
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
        raise DataError(f"names no graph for its {part.name}", where=folder, remedy="Export it again.")
    return read_network(folder / part.graph)
