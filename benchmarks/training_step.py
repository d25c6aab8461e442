"""One training step: snnTorch's loop against the product's layers, same network, weights and spikes.

Network 128-256-256-20, 50 steps, batch 64, one thread; a step is forward, loss, backward and Adam. The matrix
products of both passes alone, in float32 on the same spikes, and Adam are the floor. Where the processor has
instructions for it, a step with its products in bfloat16 (`training.precision`) is timed as well.
"""

from collections.abc import Callable

import torch
from interleaved import Comparison, Floor, arguments, best_times, report
from networks import ProductNetwork, SnntorchNetwork, random_events, random_weights
from torch import Tensor, nn

from nsc_deploy.models.dense import products_in
from nsc_deploy.training.fit import has_bfloat16
from nsc_deploy.training.heap import keep_freed_memory

BATCH = 64
GOAL = 2.3
PRODUCTS_GOAL, BFLOAT16_GOAL = 1.05, 0.7


def training_step(network: nn.Module, events: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimiser.zero_grad()
        spikes = network(events)
        nn.functional.cross_entropy(spikes.mean(0), labels).backward()
        optimiser.step()
        return spikes.detach()

    return step


def bfloat16_step(network: nn.Module, events: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    step = training_step(network, events, labels)

    def rough() -> Tensor:
        with products_in(torch.bfloat16, network):
            return step()

    return rough


def products_alone(network: SnntorchNetwork, entering: list[Tensor]) -> Callable[[], None]:
    """The products of a training step on what enters each layer, and Adam; gradients are drawn."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    weights = [linear.weight for linear in network.linears]
    signals = [signal.flatten(0, 1) for signal in entering]
    gradients = [torch.randn(len(one), len(weight)) for one, weight in zip(signals, weights, strict=True)]

    @torch.no_grad()
    def step() -> None:
        for index, (weight, signal, gradient) in enumerate(zip(weights, signals, gradients, strict=True)):
            nn.functional.linear(signal, weight)
            weight.grad = gradient.T @ signal
            if index:  # nothing asks for the gradient of the events
                gradient @ weight
        optimiser.step()

    return step


def assert_same(networks: list[nn.Module], events: Tensor, labels: Tensor) -> None:
    """The spikes are identical and the gradients equal within float32 rounding, before any weight moves."""
    spikes, gradients = [], []
    for network in networks:
        spikes.append(network(events))
        nn.functional.cross_entropy(spikes[-1].mean(0), labels).backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    assert spikes[0].mean() > 0.01, "a network without spikes proves nothing"
    assert torch.equal(*spikes)
    assert (gradients[0] - gradients[1]).norm() <= 1e-5 * gradients[0].norm()


def main() -> None:
    options = arguments(__doc__, rounds=15)
    torch.set_num_threads(1)
    keep_freed_memory()  # as every training does
    events, labels = random_events(BATCH), torch.arange(BATCH) % 20
    weights = random_weights()
    theirs, ours = SnntorchNetwork(weights), ProductNetwork(weights)
    assert_same([theirs, ours], events, labels)
    candidates: dict[str, Callable[[], object]] = {
        "snnTorch loop": training_step(theirs, events, labels),
        "nsc-deploy": training_step(ours, events, labels),
        "products alone": products_alone(SnntorchNetwork(weights), ours.signals(events)),
    }
    goals = {"nsc-deploy": PRODUCTS_GOAL}
    if has_bfloat16():
        candidates["nsc-deploy, bf16"] = bfloat16_step(ProductNetwork(weights), events, labels)
        goals["nsc-deploy, bf16"] = BFLOAT16_GOAL
    times = best_times(candidates, options.rounds)
    ratio = times["snnTorch loop"] / times["nsc-deploy"]
    floors = tuple(Floor(name, times[name] / times["products alone"], goal) for name, goal in goals.items())
    name = f"training step, batch {BATCH}"
    report(Comparison(name, times, ratio, f"at least {GOAL}", ratio >= GOAL, floors), as_json=options.json)


if __name__ == "__main__":
    main()
