"""The target "c"."""

from pathlib import Path

from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest
from nsc_deploy.exporters.c.rules import verdicts
from nsc_deploy.graphs.network import Network


class CTarget:
    """C99 without heap for microcontrollers: integers, verified against an emulator in every spike."""

    name = "c"
    summary = "C99 for microcontrollers: integers, no heap, event-driven"

    # Imports inside the verbs: a check loads nothing that writes or opens a folder.

    def check(self, network: Network, _weight_bits: int | None = None) -> CheckResult:
        """A verdict on each node."""
        return CheckResult(verdicts(network))

    def export(self, request: ExportRequest) -> Path:
        """Write a folder of C code; it is compiled and run where there is a compiler."""
        from nsc_deploy.exporters.c.deployment import write_c_deployment

        return write_c_deployment(request)

    def open(self, folder: Path) -> Deployment:
        """Read a folder back: the emulator and the compiled code run it."""
        from nsc_deploy.exporters.c.deployment import read_c_deployment

        return read_c_deployment(folder).opened()


TARGET = CTarget()
