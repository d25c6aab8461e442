"""Onnxruntime as the reference of a conventional network."""

from typing import Any

from numpy.typing import NDArray

from nsc_deploy.graphs.onnx_network import OnnxNetwork
from nsc_deploy.verification.runner import RunTrace


class OnnxRunner:
    """Runs an ONNX graph in float32; it shows no layers.

    Args:
        network: the graph, as it was read.
    """

    name = "reference"

    def __init__(self, network: OnnxNetwork) -> None:
        self._network = network

    def run(self, values: NDArray[Any]) -> RunTrace:
        """Run a batch from rest.

        Raises:
            BackendError: onnxruntime cannot run the graph.
        """
        return RunTrace(self._network.run(values))
