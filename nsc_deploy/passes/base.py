"""What a lowering pass is."""

from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

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

    def broken_promise(self, graph: object, /) -> str | None:
        """What is wrong with a result of `apply`, or None: the postcondition."""


def run_pass(step: "Pass[B, A]", graph: B) -> Lowered[A]:
    """Run one pass with its checks.

    Raises:
        ExportError: the graph does not meet the precondition.
        RuntimeError: the pass did not keep its promise, which is a bug of ours.
    """
    step.requires(graph)
    lowered = step.apply(graph)
    broken = step.broken_promise(lowered.graph)
    if broken is not None:
        raise RuntimeError(f"pass {step.name}: {broken}")
    return lowered
