"""The target "lava"."""

from pathlib import Path

from nsc_deploy.exporters.base import ExportRequest, Verdict
from nsc_deploy.exporters.lava.deployment import write_lava_deployment
from nsc_deploy.exporters.lava.rules import verdicts
from nsc_deploy.graphs.network import Network


class LavaTarget:
    """Intel Lava 0.10.0, fixed-point simulation of Loihi: integers, netx file, manifest."""

    name = "lava"
    summary = "Intel Lava 0.10.0: Loihi's integer arithmetic, simulated exactly"

    def check(self, network: Network) -> tuple[Verdict, ...]:
        """A verdict on each node."""
        return verdicts(network)

    def export(self, request: ExportRequest) -> Path:
        """Write a deployment folder, without importing Lava."""
        return write_lava_deployment(request)


TARGET = LavaTarget()
