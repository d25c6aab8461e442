"""One training step: snnTorch's loop against the product's layers, same network, weights and spikes.

Network 128-256-256-20, 50 steps, batch 64, one thread; a step is forward, loss, backward and Adam.
"""

from collections.abc import Callable

import torch
from interleaved import Comparison, arguments, best_times, report
from networks import ProductNetwork, SnntorchNetwork, random_events, random_weights
from torch import Tensor, nn

BATCH = 64
GOAL = 2.3


def training_step(network: nn.Module, events: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)

    def step() -> Tensor:
        optimiser.zero_grad()
        spikes = network(events)
        nn.functional.cross_entropy(spikes.mean(0), labels).backward()
        optimiser.step()
        return spikes.detach()

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
    events, labels = random_events(BATCH), torch.arange(BATCH) % 20
    weights = random_weights()
    theirs, ours = SnntorchNetwork(weights), ProductNetwork(weights)
    assert_same([theirs, ours], events, labels)
    candidates = {
        "snnTorch loop": training_step(theirs, events, labels),
        "nsc-deploy": training_step(ours, events, labels),
    }
    times = best_times(candidates, options.rounds)
    ratio = times["snnTorch loop"] / times["nsc-deploy"]
    name = f"training step, batch {BATCH}"
    report(Comparison(name, times, ratio, f"at least {GOAL}", ratio >= GOAL), as_json=options.json)


if __name__ == "__main__":
    main()
