"""A spiking network and its inputs, made by hand: ten patterns of 64 pixels, found again in noise.

    python examples/patterns.py

writes patterns.nir and patterns.npz, for a first try of `check`, `energy report` and `export` without any
training. A pixel of the pattern that is shown fires in 40 % of the steps, every other one in 8 %. Four hidden
neurons look for each pattern, and an output neuron adds them up.
"""

from pathlib import Path

import numpy as np

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal

DT = 1e-3
PIXELS, CLASSES, EACH = 64, 10, 4
STEPS, SAMPLES = 50, 200


def main(folder: Path = Path()) -> None:
    """Write the graph and the recording."""
    chance = np.random.default_rng(0)
    patterns = chance.permuted(np.tile(np.arange(PIXELS) < 12, (CLASSES, 1)), axis=1)

    graph = GraphBuilder(DT)
    graph.input(PIXELS, Signal.EVENTS)
    looks_for = np.repeat(np.where(patterns, 0.25, -0.08), EACH, axis=0)
    graph.linear("hidden_weights", looks_for + chance.normal(0, 0.03, looks_for.shape))
    graph.lif("hidden", 0.9, 1.0, CLASSES * EACH)
    graph.linear("decision_weights", np.repeat(np.eye(CLASSES), EACH, axis=1) * 0.4)
    graph.lif("decision", 0.9, 1.0, CLASSES)
    graph.output(CLASSES, classes=CLASSES)
    write_network(folder / "patterns.nir", graph.build())

    labels = np.arange(SAMPLES) % CLASSES
    rate = np.where(patterns[labels], 0.4, 0.08)
    events = chance.random((STEPS, SAMPLES, PIXELS)) < rate
    write_recording(
        folder / "patterns.npz", Recording(events.astype(np.uint8), Signal.EVENTS, DT, labels=labels)
    )
    print("wrote patterns.nir and patterns.npz")


if __name__ == "__main__":
    main()
