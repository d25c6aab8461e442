"""What a target says about each node of a graph: how it takes the node, or why it cannot.

A target lists its rules as a tuple, in the order in which they are asked. A rule refuses a node or says
nothing; one with a limit is made by a function of that limit. The passes behind rely on what the rules
promise and do not refuse it again.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from nsc_deploy.errors import ExportError
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.io.text import counted

Refusal = tuple[str, str]
"""Why a node cannot be taken, and the way out."""
Rule = Callable[[Node, Network], Refusal | None]


class Status(StrEnum):
    """How a target takes a node."""

    NATIVE = "native"
    SUBSTITUTED = "substituted"
    NOT_PUBLISHED = "not published"
    REFUSED = "refused"


@dataclass(frozen=True)
class Verdict:
    """A target's word on one node.

    Attributes:
        node: its name.
        primitive: the NIR class name.
        status: native, substituted, refused, or not published: nothing says whether the target could.
        reason: what it becomes, why it cannot, or what is not published.
        hint: for a refusal, the way out; where nothing is published, what is.
    """

    node: str
    primitive: str
    status: Status
    reason: str
    hint: str = ""


def judge(
    network: Network, rules: Iterable[Rule], becomes: Mapping[str, tuple[Status, str]]
) -> tuple[Verdict, ...]:
    """A verdict on each node, in the order of the network.

    Args:
        network: the graph.
        rules: the first that refuses a node has the word; they let no primitive pass that `becomes` lacks.
        becomes: for each primitive how the target takes it and what it becomes.
    """
    rules = tuple(rules)

    def verdict(node: Node) -> Verdict:
        refusals = (rule(node, network) for rule in rules)
        refusal = next((one for one in refusals if one is not None), None)
        if refusal is not None:
            return Verdict(node.name, node.primitive, Status.REFUSED, *refusal)
        return Verdict(node.name, node.primitive, *becomes[node.primitive])

    return tuple(verdict(node) for node in network.nodes)


def raise_first_refusal(verdicts: tuple[Verdict, ...], where: object | None = None) -> None:
    """Turn the first refusal into an error.

    Raises:
        ExportError: a node was refused.
    """
    refused = [verdict for verdict in verdicts if verdict.status is Status.REFUSED]
    if refused:
        first = refused[0]
        others = counted(len(refused) - 1, "more node is refused", "more nodes are refused")
        more = f" ({others})" if len(refused) > 1 else ""
        place = f"node '{first.node}' ({first.primitive})"
        raise ExportError(
            first.reason + more,
            where=place if where is None else f"{where}: {place}",
            hint=first.hint or None,
        )
