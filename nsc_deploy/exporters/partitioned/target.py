"""A target together with the host: what the target cannot hold at either end of a graph runs beside it."""

from pathlib import Path

from nsc_deploy.deployment import Place
from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.base import CheckResult, Deployment, ExportRequest, Status, Target, Verdict
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Outcome, run_passes
from nsc_deploy.passes.dead_code import DropDeadNodes
from nsc_deploy.passes.partition import Parts, Split

MOST_NAMES = 6


class PartitionedTarget:
    """A target that needs to take only some middle of a graph.

    Args:
        chip: the target of that middle.
    """

    name = "split"
    summary = "a target for the middle of a graph, and the host for both of its ends"

    def __init__(self, chip: Target) -> None:
        self.chip = chip

    def check(self, network: Network, weight_bits: int | None = None) -> CheckResult:
        """What the target says where it takes the whole; else where each node runs."""
        whole = self.chip.check(network, weight_bits)
        if whole.fits or whole.chip is not None:
            return whole
        try:
            parts = self.cut(network).graph
        except ExportError as error:
            first = whole.refused[0]
            return CheckResult(
                (Verdict(first.node, first.primitive, Status.REFUSED, error.problem, error.hint or ""),)
            )
        return CheckResult(tuple(_placed(node.name, node.primitive, parts) for node in network.nodes))

    def export(self, request: ExportRequest) -> Path:
        """Write a folder of parts; a graph that the target takes whole is exported as ever."""
        from nsc_deploy.exporters.partitioned.deployment import export_in_parts

        return export_in_parts(self, request)

    def open(self, folder: Path) -> Deployment:
        """Read a folder of parts back."""
        from nsc_deploy.exporters.partitioned.deployment import open_in_parts

        return open_in_parts(folder)

    def cut(self, network: Network) -> Outcome[Parts]:
        """Drop dead nodes and cut.

        Raises:
            ExportError: there is no middle that the target takes.
        """
        split = Split(lambda part: self.chip.check(part).verdicts)
        return run_passes(network, (DropDeadNodes(), split))


def split_hint(network: Network, target: Target) -> str | None:
    """What --split would do with a graph that was refused: a sentence, or None where it would not help."""
    if network.conventional:
        return None
    try:
        parts = PartitionedTarget(target).cut(network).graph
    except ExportError:
        return None
    host = [name for name in parts.host if network.node(name).primitive not in {"Input", "Output"}]
    shown = ", ".join(f"'{name}'" for name in host[:MOST_NAMES])
    more = f" and {counted(len(host) - MOST_NAMES, 'more node')}" if len(host) > MOST_NAMES else ""
    if not host:
        return None
    return f"With {shown}{more} on the host the chip takes the rest: nsc-deploy export --split"


def _placed(node: str, primitive: str, parts: Parts) -> Verdict:
    """Where a node runs."""
    part = next((one for one in parts.parts if node in one.nodes), None)
    if part is None:
        return Verdict(node, primitive, Status.SUBSTITUTED, "nothing: it reaches no output")
    status = Status.NATIVE if part.place is Place.CHIP else Status.SUBSTITUTED
    return Verdict(node, primitive, status, f"runs on the {part.place.value}, in the {part.name}")
