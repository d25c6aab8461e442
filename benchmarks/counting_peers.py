"""The counters of NeuroBench and SpikingJelly on a network of dense layers, each where it is installed."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

BETA, THRESHOLD = 0.9, 1.0


def peer_counters(
    weights: Sequence[NDArray[np.float32]], events: NDArray[np.uint8]
) -> Mapping[str, Callable[[], int]]:
    """Functions that count the synaptic operations of the network over a batch, by the name of the tool.

    Args:
        weights: of each layer, [outputs, inputs].
        events: [T, N, inputs].
    """
    found: dict[str, Callable[[], int]] = {}
    if find_spec("neurobench") is not None:
        found["NeuroBench SynapticOperations"] = _neurobench(weights, events)
    if find_spec("spikingjelly") is not None:
        found["SpikingJelly SynOpCounter"] = _spikingjelly(weights, events)
    return found


def snntorch_network(weights: Sequence[NDArray[np.float32]]) -> Any:
    """Linear layers and leaky neurons that reset to zero in the step they fire, one step a call."""
    import snntorch
    import torch

    layers: list[torch.nn.Module] = []
    for weight in weights:
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight = torch.nn.Parameter(torch.from_numpy(weight.copy()), requires_grad=False)
        neuron = snntorch.Leaky(BETA, THRESHOLD, reset_mechanism="zero", reset_delay=False, init_hidden=True)
        layers += [linear, neuron]
    return torch.nn.Sequential(*layers).eval()


def _steps(network: Any, events: Any) -> Any:
    import snntorch.utils
    import torch

    snntorch.utils.reset(network)
    with torch.no_grad():
        return torch.stack([network(step) for step in events])


def _neurobench(weights: Sequence[NDArray[np.float32]], events: NDArray[np.uint8]) -> Callable[[], int]:
    import torch
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models import NeuroBenchModel

    class Stepwise(NeuroBenchModel):  # type: ignore[misc]
        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def __call__(self, batch: Any) -> Any:
            return _steps(self.net, batch)

        def __net__(self) -> Any:
            return self.net

    model = Stepwise(snntorch_network(weights))
    batch = torch.from_numpy(events.astype(np.float32))
    samples = events.shape[1]

    def count() -> int:
        metric = SynapticOperations()
        model.register_hooks()
        predicted = model(batch)
        found = metric(model, predicted, (batch.transpose(0, 1), None))
        model.cleanup_hooks()
        return round((found["Effective_ACs"] + found["Effective_MACs"]) * samples)

    return count


def _spikingjelly(weights: Sequence[NDArray[np.float32]], events: NDArray[np.uint8]) -> Callable[[], int]:
    import torch
    from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter

    network = snntorch_network(weights)
    batch = torch.from_numpy(events.astype(np.float32))

    def count() -> int:
        counter = SynOpCounter()
        with DispatchCounterMode([counter]):
            _steps(network, batch)
        return int(counter.get_total())

    return count
