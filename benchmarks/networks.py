"""The network that the speed claims are about, written for snnTorch and with the product's layers."""

import snntorch
import torch
from torch import Tensor, nn

from nsc_deploy.models.dense import Dense
from nsc_deploy.models.neurons import Leaky

SIZES = (128, 256, 256, 20)
STEPS = 50
BETA = 0.9
THRESHOLD = 1.0
EVENT_RATE = 0.1
GRID = 2.0**-10


class SnntorchNetwork(nn.Module):
    """What snnTorch's tutorials write: a Python loop over the steps, and in it over the layers."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(
            nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights
        )
        _copy(weights, self.linears)
        self.neurons = nn.ModuleList(
            snntorch.Leaky(
                BETA,
                THRESHOLD,
                spike_grad=snntorch.surrogate.atan(alpha=2),
                reset_mechanism="zero",
                reset_delay=False,
            )
            for _ in weights
        )

    def forward(self, events: Tensor) -> Tensor:
        """Output spikes [T, B, 20] of events [T, B, 128]."""
        potentials: list[Tensor | None] = [
            torch.zeros(events.shape[1], linear.out_features) for linear in self.linears
        ]
        outputs = []
        for step in events:
            signal = step
            for layer, (linear, neuron) in enumerate(zip(self.linears, self.neurons, strict=True)):
                signal, potentials[layer] = neuron(linear(signal), potentials[layer])
            outputs.append(signal)
        return torch.stack(outputs)


class ProductNetwork(nn.Module):
    """The same network over whole sequences."""

    def __init__(self, weights: list[Tensor]) -> None:
        super().__init__()
        last = len(weights) - 1
        self.linears = nn.ModuleList(
            Dense(weight.shape[1], weight.shape[0], bias=False, widens=place == last)
            for place, weight in enumerate(weights)
        )
        _copy(weights, self.linears)
        self.neurons = nn.ModuleList(Leaky(BETA, THRESHOLD, len(weight)) for weight in weights)

    def forward(self, events: Tensor) -> Tensor:
        """Output spikes [T, B, 20] of events [T, B, 128]."""
        signal = events
        for linear, neuron in zip(self.linears, self.neurons, strict=True):
            signal = neuron(linear(signal))
        return signal

    def signals(self, events: Tensor) -> list[Tensor]:
        """What enters each layer, [T, B, in]."""
        entering = [events]
        for linear, neuron in zip(self.linears[:-1], self.neurons[:-1], strict=True):
            entering.append(neuron(linear(entering[-1])).detach())
        return entering


def random_weights() -> list[Tensor]:
    """Weights on a grid fine enough to train on and coarse enough that sums of them are exact.

    Sums of events over them do not depend on the order, so both networks must give the same spikes.
    """
    generator = torch.Generator().manual_seed(0)
    pairs = zip(SIZES[1:], SIZES[:-1], strict=True)
    drawn = [torch.randn(out, into, generator=generator) * 3 / into**0.5 for out, into in pairs]
    return [(weight / GRID).round() * GRID for weight in drawn]


def random_events(batch: int) -> Tensor:
    """Binary events [T, B, C]."""
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(STEPS, batch, SIZES[0], generator=generator) < EVENT_RATE).float()


@torch.no_grad()
def _copy(weights: list[Tensor], linears: nn.ModuleList) -> None:
    for linear, weight in zip(linears, weights, strict=True):
        linear.weight.copy_(weight)
