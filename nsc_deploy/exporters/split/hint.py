"""What --split would do, said beside the refusal of a whole graph."""

from nsc_deploy.errors import ExportError
from nsc_deploy.exporters.partitioned.write import cut
from nsc_deploy.graphs.network import Network
from nsc_deploy.io.text import counted
from nsc_deploy.passes.partition import Check

MOST_NAMES = 6


def split_hint(network: Network, check: Check) -> str | None:
    """A sentence, or None where splitting would not help.

    Args:
        network: the graph that was refused.
        check: what the target says about each node of a graph.
    """
    try:
        parts = cut(network, check).parts
    except ExportError:
        return None
    host = [name for name in parts.host if network.node(name).primitive not in {"Input", "Output"}]
    shown = ", ".join(f"'{name}'" for name in host[:MOST_NAMES])
    more = f" and {counted(len(host) - MOST_NAMES, 'more node')}" if len(host) > MOST_NAMES else ""
    if not host:
        return None
    return f"With {shown}{more} on the host the chip takes the rest: nsc-deploy export --split"
