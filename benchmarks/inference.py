"""Inference on one sample: snnTorch's loop against the product's layers, same network, weights and spikes.

Network 128-256-256-20, 50 steps, batch 1, one thread, both in `torch.inference_mode`. The matrix products
alone, on the same events and spikes, are the floor.
"""

import torch
from interleaved import Comparison, Floor, arguments, best_times, report
from networks import ProductNetwork, SnntorchNetwork, random_events, random_weights
from torch.nn import functional

GOAL = 20
PRODUCTS_GOAL = 1.5


def main() -> None:
    options = arguments(__doc__, rounds=20)
    torch.set_num_threads(1)
    events, weights = random_events(1), random_weights()
    theirs, ours = SnntorchNetwork(weights).eval(), ProductNetwork(weights).eval()
    with torch.inference_mode():
        spikes = theirs(events)
        assert spikes.mean() > 0.01, "a network without spikes proves nothing"
        assert torch.equal(spikes, ours(events))
        pairs = list(zip(weights, ours.signals(events), strict=True))
        candidates = {
            "snnTorch loop": lambda: theirs(events),
            "nsc-deploy": lambda: ours(events),
            "products alone": lambda: [functional.linear(signal, weight) for weight, signal in pairs],
        }
        times = best_times(candidates, options.rounds, repeats=5)
    ratio = times["snnTorch loop"] / times["nsc-deploy"]
    floor = Floor("nsc-deploy", times["nsc-deploy"] / times["products alone"], PRODUCTS_GOAL)
    report(
        Comparison("inference, batch 1", times, ratio, f"at least {GOAL}", ratio >= GOAL, (floor,)),
        as_json=options.json,
    )


if __name__ == "__main__":
    main()
