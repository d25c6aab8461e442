"""What the passes have in common that fold nodes into others one by one until none can be folded."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.rewrite import broken, require_consistent
from nsc_deploy.passes.base import Lowered, Note


@dataclass(frozen=True)
class Fold:
    """A node that can go: the graph without it, and what to say about it."""

    network: Network
    note: Note


@dataclass(frozen=True)
class Obstacle:
    """Why a node cannot go, as the end of "stays: "."""

    reason: str

    def note(self, node: Node) -> Note:
        """On the node that stays."""
        return Note("kept", node.name, f"stays: {self.reason}")


UNBYPASSABLE = Obstacle("it sums several inputs, or lies between edges of which one carries the step before")


class Folding(ABC):
    """A pass of this kind.

    Args:
        exactly: leave a node where folding it would change a rounding.
    """

    name: str

    def __init__(self, *, exactly: bool = True) -> None:
        self.exactly = exactly

    @abstractmethod
    def candidates(self, graph: Network) -> list[Node]:
        """The nodes that may go, in the order in which they are looked at."""

    @abstractmethod
    def considered(self, node: Node, graph: Network) -> Fold | Obstacle:
        """The fold of a candidate, or why it stays."""

    def requires(self, graph: Network, /) -> None:
        """Nodes, shapes and edges that fit together."""
        require_consistent(graph)

    def apply(self, graph: Network, /) -> Lowered[Network]:
        """Look at each candidate, again and again until none can go; each fold takes a node away."""
        notes: list[Note] = []
        left = -1
        while left != len(notes):
            left = len(notes)
            for name in [node.name for node in self.candidates(graph)]:
                found = self.considered(graph.node(name), graph)
                if isinstance(found, Fold):
                    graph = found.network
                    notes.append(found.note)
        kept = (found.note(node) for node, found in self._all(graph) if isinstance(found, Obstacle))
        return Lowered(graph, (*notes, *kept))

    def broken_promise(self, graph: object, /) -> str | None:
        """Parts that do not fit together, or a node that could go."""
        fault = broken(graph)
        if fault is not None or not isinstance(graph, Network):
            return fault
        foldable = (node.name for node, found in self._all(graph) if isinstance(found, Fold))
        return next((f"'{name}' could still be folded" for name in foldable), None)

    def _all(self, graph: Network) -> Iterator[tuple[Node, Fold | Obstacle]]:
        return ((node, self.considered(node, graph)) for node in self.candidates(graph))
