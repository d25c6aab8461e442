"""The reference simulator as a backend among others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.operators.coefficients import coefficients
from nsc_deploy.graphs.simulate import Trace, simulate
from nsc_deploy.verification.runner import LayerTrace, RunTrace, layer_names


class ReferenceRunner:
    """Runs a graph in the reference simulator, in float32.

    Args:
        network: the graph.
    """

    name = "reference"

    def __init__(self, network: Network) -> None:
        self._network = network
        self._layers = layer_names(network)
        self._memoryless = {name for name in self._layers if network.node(name).primitive == "Threshold"}
        self._numbers = {name: coefficients(network.node(name), network) for name in self._layers}

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest."""
        feeding = {source for name in self._memoryless for source in self._network.node(name).inputs}
        trace = simulate(
            self._network,
            values,
            record=[*self._layers, *feeding],
            potentials=[name for name in self._layers if name not in self._memoryless],
        )
        return RunTrace(trace.output, {name: self._layer(name, trace) for name in self._layers})

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
