"""What every backend gives that can run a graph: the outputs, and where it can, each layer from inside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.operators.neurons import coefficients
from nsc_deploy.graphs.simulate import Trace, simulate

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
        instructions: [T, N] that the steps took, where the backend counts them; else None.
    """

    output: NDArray[Any]
    layers: Mapping[str, LayerTrace] = field(default_factory=dict)
    instructions: NDArray[np.int64] | None = None


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


class ReferenceRunner:
    """Runs a graph in the reference simulator, in float32.

    Args:
        network: the graph.
        name: of the backend, as shown.
        nodes: nodes whose outputs alone are shown; by default every layer, with its potentials.
    """

    def __init__(
        self, network: Network, *, name: str = "reference", nodes: Sequence[str] | None = None
    ) -> None:
        self.name = name
        self._network = network
        self._nodes = tuple(nodes or ())
        self._layers = layer_names(network) if nodes is None else ()
        self._memoryless = {name for name in self._layers if network.node(name).primitive == "Threshold"}
        self._numbers = {name: coefficients(network.node(name), network) for name in self._layers}

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        feeding = {source for name in self._memoryless for source in self._network.node(name).inputs}
        trace = simulate(
            self._network,
            values,
            record=[*self._nodes, *self._layers, *feeding],
            potentials=[name for name in self._layers if name not in self._memoryless],
        )
        layers = {name: self._layer(name, trace) for name in self._layers}
        return RunTrace(
            trace.output, {**layers, **{name: LayerTrace(trace.outputs[name]) for name in self._nodes}}
        )

    def _layer(self, name: str, trace: Trace) -> LayerTrace:
        numbers = self._numbers[name]
        arrived = self._arrived(name, trace) if name in self._memoryless else trace.potentials[name]
        potentials = arrived.astype(np.float32, copy=False)
        if numbers.threshold is None:
            return LayerTrace(None, potentials)
        return LayerTrace(trace.outputs[name], potentials, numbers.threshold)

    def _arrived(self, name: str, trace: Trace) -> NDArray[Any]:
        """What a memoryless neuron compares with its threshold: the sum of its inputs."""
        total: NDArray[Any] | None = None
        for source in self._network.node(name).inputs:
            value = trace.outputs[source]
            if (source, name) in self._network.back_edges:
                value = np.concatenate([np.zeros_like(value[:1]), value[:-1]])
            total = value if total is None else total + value
        if total is None:
            raise KeyError(name)
        return total
