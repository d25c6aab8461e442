"""What every backend gives that can run a graph: the outputs, and where it can, each layer from inside."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network

LAYERS = frozenset({"LIF", "IF", "CubaLIF", "Threshold", "LI", "CubaLI", "I"})
"""Primitives that make a layer of a comparison: they have a potential."""

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class LayerTrace:
    """One layer of a run, in the units of the graph.

    Attributes:
        spikes: [T, N, *shape] of 0 and 1; None for an integrator, which has none.
        potentials: [T, N, *shape] float32 before the reset (for a Threshold: what arrives), or None where
            the backend does not show them.
        threshold: [*shape], or None for an integrator or where the backend does not show it.
    """

    spikes: NDArray[Any] | None
    potentials: Float32 | None = None
    threshold: Float32 | None = None


@dataclass(frozen=True)
class RunTrace:
    """What a run of a graph left behind.

    Attributes:
        output: [T, N, *shape] of the one Output node.
        layers: by node of the graph; empty where the backend shows none.
    """

    output: NDArray[Any]
    layers: Mapping[str, LayerTrace] = field(default_factory=dict)


class Runner(Protocol):
    """Something that runs one graph."""

    @property
    def name(self) -> str:
        """As shown at the head of a column."""

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Args:
            values: what enters the one Input node, [T, N, *shape].

        Raises:
            BackendError: the backend is missing or failed.
        """


def layer_names(network: Network) -> tuple[str, ...]:
    """The nodes of a graph that make layers, in its order."""
    return tuple(node.name for node in network.nodes if node.primitive in LAYERS)
