"""What there is to see in a graph before anything is believed of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

_OWN = "nsc-deploy"
_NEURONS = ("LIF", "IF", "CubaLIF", "LI", "CubaLI", "I")


@dataclass(frozen=True)
class Seen:
    """A flat graph with checked parameters, and what the reader was told to take it for.

    Attributes:
        parameters: the checked `nir` nodes by name.
        inputs: the sources of each node.
        metadata: of the graph.
        dt: seconds a step, as stated or asked for; None where neither.
        back_edges: edges that carry the value of the step before.
        undecided: edges of cycles that are late or not by nothing but the order of the edges in the file.
        widened: nodes whose one number was taken for a whole layer.
        batch: size of a batch that was taken off the shapes of the inputs; None where there was none.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dt: float | None = None
    back_edges: frozenset[tuple[str, str]] = frozenset()
    undecided: frozenset[tuple[str, str]] = frozenset()
    widened: tuple[str, ...] = ()
    batch: int | None = None

    @property
    def own(self) -> bool:
        """Whether this tool wrote the graph."""
        return str(self.metadata.get("generator", "")).startswith(_OWN)

    def of(self, *primitives: str) -> dict[str, Any]:
        """The nodes of some primitives, by name."""
        return {name: node for name, node in self.parameters.items() if type(node).__name__ in primitives}

    @cached_property
    def neurons(self) -> dict[str, Any]:
        """Nodes with a membrane."""
        return self.of(*_NEURONS)

    @cached_property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """By node, those that take in its output."""
        found: dict[str, list[str]] = {name: [] for name in self.parameters}
        for name, sources in self.inputs.items():
            for source in sources:
                found[source].append(name)
        return {name: tuple(names) for name, names in found.items()}


def named(names: Mapping[str, Any]) -> str:
    """A few of the names, for a sentence."""
    listed = [f"'{name}'" for name in names]
    more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
    return ", ".join(listed[:3]) + more


def equal(values: NDArray[Any], wanted: Any, tolerance: float = 0.0) -> bool:
    """Whether all values are the wanted ones, up to a relative tolerance."""
    apart = np.abs(np.asarray(values, np.float64) - np.asarray(wanted, np.float64))
    return bool(np.all(apart <= tolerance * np.abs(np.asarray(wanted, np.float64))))
