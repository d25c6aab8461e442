"""What a target says about each node of a graph: how it takes the node, or why it cannot."""

from dataclasses import dataclass
from enum import StrEnum

from nsc_deploy.errors import ExportError
from nsc_deploy.io.text import counted


class Status(StrEnum):
    """How a target takes a node."""

    NATIVE = "native"
    SUBSTITUTED = "substituted"
    REFUSED = "refused"


@dataclass(frozen=True)
class Verdict:
    """A target's word on one node.

    Attributes:
        node: its name.
        primitive: the NIR class name.
        status: native, substituted or refused.
        reason: what it becomes, or why it cannot.
        hint: for a refusal, the way out.
    """

    node: str
    primitive: str
    status: Status
    reason: str
    hint: str = ""


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
