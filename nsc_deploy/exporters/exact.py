"""What a target refuses that computes a graph in float32 exactly as it stands."""

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.base import Status, Verdict
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.operators.base import Setting
from nsc_deploy.graphs.operators.registry import build_operator

_ONE = {"Input": "inputs", "Output": "outputs"}


def exact_verdicts(network: Network, becomes: dict[str, tuple[Status, str]]) -> tuple[Verdict, ...]:
    """A verdict on each node: what it becomes, or why it cannot be taken.

    Args:
        network: the graph.
        becomes: for each primitive how the target takes it and what it becomes.
    """
    return tuple(_verdict(node, network, becomes) for node in network.nodes)


def _verdict(node: Node, network: Network, becomes: dict[str, tuple[Status, str]]) -> Verdict:
    refusal = _refusal(node, network, becomes)
    if refusal is not None:
        return Verdict(node.name, node.primitive, Status.REFUSED, *refusal)
    return Verdict(node.name, node.primitive, *becomes[node.primitive])


def _refusal(node: Node, network: Network, becomes: dict[str, tuple[Status, str]]) -> tuple[str, str] | None:
    if node.primitive not in becomes:
        return f"{node.primitive} has no counterpart", "Run this node on the host, or train without it."
    ends = {"Input": network.input_nodes, "Output": network.output_nodes}.get(node.primitive, ())
    if len(ends) > 1:
        return (
            f"is one of {len(ends)} {_ONE[node.primitive]}, and a module with one of each is written",
            "Join them into one before the graph is written, or export each path as a graph of its own.",
        )
    return untimely(node, network)


def untimely(node: Node, network: Network) -> tuple[str, str] | None:
    """Why a node cannot be computed with the time step and the reset of its graph, or None."""
    try:
        build_operator(node, Setting(network.dt, network.reset, np.dtype(np.float32), 1))
    except GraphError as error:
        return error.problem, error.remedy or "Correct the parameters of this node."
    return None
