"""The target "lava"."""

from pathlib import Path
from typing import TYPE_CHECKING

from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.graphs.network import Network

if TYPE_CHECKING:
    from nsc_deploy.exporters.chips.placement import Usage


class LavaTarget:
    """Intel Lava 0.10.0, fixed-point simulation of Loihi: integers, netx file, manifest."""

    name = "lava"
    summary = "Intel Lava 0.10.0: Loihi's integer arithmetic, simulated exactly"

    # Imports inside the verbs: a check loads nothing that writes or opens a folder.

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node; pools are counted on the layers that an export would write."""

        def pools() -> "tuple[Usage, ...]":
            from nsc_deploy.exporters.lava.lowering.pipeline import lava_resources

            return lava_resources(network)

        found = CheckResult(verdicts(network), pools)
        return found if found.fits else CheckResult(found.verdicts)

    def export(self, request: ExportRequest) -> Path:
        """Write a deployment folder, without importing Lava."""
        from nsc_deploy.exporters.lava.deployment import write_lava_deployment

        return write_lava_deployment(request)

    def open(self, folder: Path) -> Deployment:
        """Read a folder back: its integers run in the emulator (twin) and in Lava."""
        from nsc_deploy.exporters.lava.deployment import read_lava_deployment

        return read_lava_deployment(folder).opened()


TARGET = LavaTarget()
