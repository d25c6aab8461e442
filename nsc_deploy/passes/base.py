"""What a lowering pass is.

What the passes have in common that fold nodes into others one by one until none can be folded.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.rewrite import broken, require_consistent

Before_contra = TypeVar("Before_contra", contravariant=True)
After_co = TypeVar("After_co", covariant=True)
B = TypeVar("B")
A = TypeVar("A")


@dataclass(frozen=True)
class Note:
    """One thing a pass did that a user of the result should know.

    Attributes:
        kind: a short name, for example "decay-rounding".
        node: the graph node it concerns, or None for the whole graph.
        text: a sentence, with the size of the error where there is one.
        exact: whether the graph still computes the same spikes.
        error: size of the error, relative to what it falsifies; 0 where exact.
    """

    kind: str
    node: str | None
    text: str
    exact: bool = True
    error: float = 0.0


@dataclass(frozen=True)
class Lowered(Generic[After_co]):
    """What a pass returns: the graph in its new form, and notes on the way there."""

    graph: After_co
    notes: tuple[Note, ...] = ()


class Pass(Protocol[Before_contra, After_co]):
    """One lowering step."""

    @property
    def name(self) -> str:
        """Short name, as printed."""

    def requires(self, graph: Before_contra, /) -> None:
        """Check the precondition.

        Raises:
            ExportError: naming the node, the reason and a way out.
        """

    def apply(self, graph: Before_contra, /) -> "Lowered[After_co]":
        """Rewrite the graph; the one given stays as it is."""

    def ensures(self, graph: object, /) -> str | None:
        """What is wrong with a result of `apply`, or None: the postcondition."""


def run_pass(step: "Pass[B, A]", graph: B) -> Lowered[A]:
    """Run one pass with its checks.

    Raises:
        ExportError: the graph does not meet the precondition.
        RuntimeError: the pass did not keep its promise, which is a bug of ours.
    """
    step.requires(graph)
    lowered = step.apply(graph)
    broken = step.ensures(lowered.graph)
    if broken is not None:
        raise RuntimeError(f"pass {step.name}: {broken}")
    return lowered


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

    def ensures(self, graph: object, /) -> str | None:
        """Parts that do not fit together, or a node that could go."""
        fault = broken(graph)
        if fault is not None or not isinstance(graph, Network):
            return fault
        foldable = (node.name for node, found in self._all(graph) if isinstance(found, Fold))
        return next((f"'{name}' could still be folded" for name in foldable), None)

    def _all(self, graph: Network) -> Iterator[tuple[Node, Fold | Obstacle]]:
        return ((node, self.considered(node, graph)) for node in self.candidates(graph))
