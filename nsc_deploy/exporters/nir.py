"""The target "nir"."""

from dataclasses import replace
from pathlib import Path

from nsc_deploy.exporters.base import CheckResult, DeployedPart, Deployment, ExportRequest, Status
from nsc_deploy.exporters.float32 import (
    Written,
    check_exact,
    open_exact_deployment,
    write_exact_deployment,
)
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.passes.base import NetworkPass, run_passes
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.fold_scales import FoldScales
from nsc_deploy.verification.runner import ReferenceRunner

NETWORK = "network.nir"
PIPELINE: tuple[NetworkPass, ...] = (DropDeadNodes(), FoldScales())
_BECOMES = dict.fromkeys(PRIMITIVES, (Status.NATIVE, "itself, every shape stated"))


class NirTarget:
    """NIR 1.0 in normal form: flat, no dead nodes, few Scales, time step and reset in its metadata.

    Poolings stay: every tool knows them, and weights that have taken one in are larger.
    """

    name = "nir"
    summary = (
        "NIR in normal form: flat, dead nodes removed, Scales folded where no number changes, time step and "
        "reset stated"
    )

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        return check_exact(network, _BECOMES)

    def export(self, request: ExportRequest) -> Path:
        """Write the graph, read it back, and let the folder appear where it computes the same."""
        return write_exact_deployment(
            request, self.name, ("nir",), lambda folder: _write(folder, request.network)
        )

    def open(self, folder: Path) -> Deployment:
        """Read the folder; the graph in it runs in the reference simulator."""
        opened = open_exact_deployment(folder, self.name, lambda _graph, _settings: _runner(folder))
        file = folder / NETWORK
        return replace(opened, parts=(DeployedPart(opened.parts[0].name, None, file, read_network(file)),))


def _write(folder: Path, network: Network) -> Written:
    normal = run_passes(network, PIPELINE)
    write_network(folder / NETWORK, normal.graph)
    notes = tuple(f"{note.node}: {note.text}" for _, note in normal.notes)
    return Written(((NETWORK, "the graph in normal form"),), (_runner(folder),), notes)


def _runner(folder: Path) -> ReferenceRunner:
    return ReferenceRunner(read_network(folder / NETWORK), name=TARGET.name)


TARGET = NirTarget()
