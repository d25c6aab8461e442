"""Passes: rewrites of a graph, run one after the other in the order that a tuple states.

    outcome = run_passes(network, (DropDeadNodes(), FoldScales()))
    outcome.graph    what the last pass left
    outcome.notes    what each pass did to which node

A pass has a name, a rewrite, and a postcondition, `ensures`, that holds for whatever the rewrite returns.
So a result that breaks it is a bug of the pass, not of the graph: postconditions are evaluated in tests
and where NSC_DEPLOY_CHECK_PASSES=1 is set, not in each export.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.rewrite import broken, require_consistent

Before = TypeVar("Before")
After = TypeVar("After")
CHECK_PASSES = "NSC_DEPLOY_CHECK_PASSES"


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
class Rewrite(Generic[After]):
    """What a pass returns: the graph in its new form, and notes on the way there."""

    graph: After
    notes: tuple[Note, ...] = ()


class Pass(ABC, Generic[Before, After]):
    """One rewrite, from one form of a graph to the same or another one.

    Attributes:
        name: as printed and written into manifests.
    """

    name: ClassVar[str]

    @abstractmethod
    def rewrite(self, graph: Before, /) -> Rewrite[After]:
        """The graph in its new form; the one given stays as it is.

        Raises:
            ExportError: a limit that shows on this form of the graph alone; what can be told from the nodes
                is refused by the rules of a target before any pass runs.
        """

    @abstractmethod
    def ensures(self, graph: After, /) -> str | None:
        """What is wrong with a result of `rewrite`, or None."""


class NetworkPass(Pass[Network, Network]):
    """A pass from network to network, which every target may use; it ensures that nothing is left to do."""

    @abstractmethod
    def leftover(self, network: Network, /) -> str | None:
        """What is still there that the pass takes out, or None."""

    def ensures(self, network: Network, /) -> str | None:
        """Nodes, shapes or edges that do not fit together, or something left to do."""
        return broken(network) or self.leftover(network)


@dataclass(frozen=True)
class Step:
    """A pass that ran.

    Attributes:
        name: of the pass.
        notes: what it did; nothing where there are none.
        graph: what it left, where that is still a graph in floating point.
    """

    name: str
    notes: tuple[Note, ...]
    graph: Network | None = None

    @property
    def exact(self) -> bool:
        """Whether the spikes stay the same."""
        return all(note.exact for note in self.notes)


@dataclass(frozen=True)
class Outcome(Generic[After]):
    """What passes made of a graph.

    Attributes:
        graph: what the last one left.
        steps: the passes, in order.
    """

    graph: After
    steps: tuple[Step, ...]

    @property
    def notes(self) -> tuple[tuple[str, Note], ...]:
        """What each pass did, with the name of the pass."""
        return tuple((step.name, note) for step in self.steps for note in step.notes)


def run_passes(graph: Any, passes: Iterable[Pass[Any, Any]]) -> Outcome[Any]:
    """Run passes in their order, each on what the one before left.

    Raises:
        ExportError: the graph is beyond a limit; it names the node, the reason and a way out.
        RuntimeError: a pass did not keep its promise, which is a bug of ours; only where passes are checked.
    """
    checked = os.environ.get(CHECK_PASSES) == "1"
    if checked and isinstance(graph, Network):
        require_consistent(graph)
    steps = []
    for one in passes:
        result = one.rewrite(graph)
        fault = one.ensures(result.graph) if checked else None
        if fault is not None:
            raise RuntimeError(f"pass {one.name}: {fault}")
        graph = result.graph
        steps.append(Step(one.name, result.notes, graph if isinstance(graph, Network) else None))
    return Outcome(graph, tuple(steps))


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


@dataclass(frozen=True)
class Folding(NetworkPass):
    """A pass that folds nodes into others, one by one until none can be folded.

    Attributes:
        exactly: leave a node where folding it would change a rounding.
    """

    exactly: bool = True

    @abstractmethod
    def candidates(self, graph: Network) -> list[Node]:
        """The nodes that may go, in the order in which they are looked at."""

    @abstractmethod
    def considered(self, node: Node, graph: Network) -> Fold | Obstacle:
        """The fold of a candidate, or why it stays."""

    def rewrite(self, network: Network, /) -> Rewrite[Network]:
        """Look at each candidate, again and again until none can go; each fold takes a node away."""
        notes: list[Note] = []
        left = -1
        while left != len(notes):
            left = len(notes)
            for name in [node.name for node in self.candidates(network)]:
                found = self.considered(network.node(name), network)
                if isinstance(found, Fold):
                    network = found.network
                    notes.append(found.note)
        kept = (found.note(node) for node, found in self._all(network) if isinstance(found, Obstacle))
        return Rewrite(network, (*notes, *kept))

    def leftover(self, network: Network, /) -> str | None:
        """A node that could still go."""
        foldable = (node.name for node, found in self._all(network) if isinstance(found, Fold))
        return next((f"'{name}' could still be folded" for name in foldable), None)

    def _all(self, network: Network) -> Iterator[tuple[Node, Fold | Obstacle]]:
        return ((node, self.considered(node, network)) for node in self.candidates(network))
