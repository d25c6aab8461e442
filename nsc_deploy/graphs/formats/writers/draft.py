"""A graph under repair, and repairs that the files of several frameworks take."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, GraphError
from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
from nsc_deploy.graphs.network import Reset

Edge = tuple[str, str]
_NEURONS = (nir.LIF, nir.IF, nir.CubaLIF, nir.LI, nir.CubaLI, nir.I)
FIRING = (nir.LIF, nir.IF, nir.CubaLIF)
"""Neurons with a threshold."""


@dataclass
class Draft:
    """A graph under repair: nodes and edges are changed in place.

    Attributes:
        nodes: by name, as `editable` makes them.
        edges: (source, target).
        statement: what is known of the model.
        maker: the framework.
        assumed: what was taken for granted.
    """

    nodes: dict[str, Any]
    edges: list[Edge]
    statement: Statement
    maker: Maker
    assumed: list[str] = field(default_factory=list)

    def of(self, *kinds: type) -> dict[str, Any]:
        """The nodes of some kinds, by name."""
        return {name: node for name, node in self.nodes.items() if isinstance(node, kinds)}

    def refuse(self, what: str) -> GraphError:
        """What is said where no graph can hold a model."""
        return GraphError(
            f"{what}, which no neuron of NIR does", hint="Train without it, or write a target of your own."
        )

    def only(self, name: str, wanted: str, default: str, why: str) -> None:
        """Insist on the one value that a graph can hold; where none is said, assume it."""
        text = self.statement.said.get(name)
        if text is None:
            if default != wanted:
                self.assumed.append(f"{name}={wanted} ({self.maker}'s default is {default}: {why})")
        elif not self.statement.says(name, wanted):
            raise self.refuse(f"has {name}={text}: {why}")

    def reset_by(self, name: str, words: Mapping[str, Reset], default: Reset) -> Reset:
        """The reset, of an argument in the framework's words or of `--reset`, else the framework's default.

        Another one that `--reset` names is told: it may have been taken over from somebody else's command.

        Raises:
            ConfigError: both, and they differ.
            GraphError: a word that is none of these.
        """
        text, reset = self.statement.said.get(name), self.statement.reset
        if text is None:
            if reset not in {None, default}:
                self.assumed.append(f"{name} is that of --reset {reset} ({self.maker}'s default: {default})")
            return reset or default
        if text not in words:
            raise self.refuse(f"has {name}={text}")
        if reset not in {None, words[text]}:
            raise ConfigError(f"--reset {reset} and {name}={text} differ", where="--set")
        return words[text]


def editable(node: Any) -> Any:
    """A copy with parameters of neurons in double precision; a number alone stays alone."""
    edited = copy.copy(node)
    if isinstance(node, _NEURONS):
        for name, value in vars(node).items():
            if name not in {"input_type", "output_type", "metadata"}:
                setattr(edited, name, np.asarray(value, np.float64))
    return edited


def stretch(node: Any, factor: float) -> None:
    """The same node for a step that is so many times as long."""
    for name in ("tau", "tau_mem", "tau_syn", "delay"):
        if hasattr(node, name):
            setattr(node, name, getattr(node, name) * factor)
    if isinstance(node, nir.IF | nir.I):
        node.r = node.r / factor


def add_sums(draft: Draft) -> None:
    """Lead the sources of a lost sum into the node that adds them, in place of the Input put before it."""
    for target, sources in draft.statement.sums.items():
        missing = [name for name in (target, *sources) if name not in draft.nodes]
        if missing:
            raise ConfigError(f"there is no node '{missing[0]}'", where="--sum")
        twice = next((name for name in sources if sources.count(name) > 1), None)
        if twice is not None:
            raise ConfigError(
                f"adds up '{twice}' more than once, and an edge is in a graph once",
                where="--sum",
                hint="Train with a module that doubles it (Linear, Scale).",
            )
        added = [name for name, end in draft.edges if end == target and name == f"input_{target}"]
        for name in added:
            del draft.nodes[name]
        ends = set(draft.of(nir.Output))
        left = [(a, b) for a, b in draft.edges if a not in added and not (a in sources and b in ends)]
        draft.edges[:] = left + [(source, target) for source in sources if (source, target) not in left]


def at_threshold(node: Any) -> None:
    """Fire at the threshold: above the next float32 below it."""
    below = np.nextafter(node.v_threshold.astype(np.float32), np.float32(-np.inf))
    node.v_threshold = below.astype(np.float64)


def from_start(node: Any, start: NDArray[Any]) -> None:
    """Count potentials from where they start, since those of NIR start at 0."""
    for name in ("v_threshold", "v_reset", "v_leak"):
        if hasattr(node, name):
            setattr(node, name, getattr(node, name) - start)


def put_behind(draft: Draft, name: str, added: str, node: Any) -> None:
    """Put a node between another and all that read it."""
    draft.edges[:] = [(added if a == name else a, b) for a, b in draft.edges]
    draft.nodes[added] = node
    draft.edges.append((name, added))


def decay_of(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of one step, in single precision as torch computes it."""
    return np.exp(-rate.astype(np.float32)).astype(np.float64)


def membrane_of(node: Any) -> Any:
    """The time constant of a membrane."""
    return node.tau_mem if hasattr(node, "tau_mem") else node.tau
