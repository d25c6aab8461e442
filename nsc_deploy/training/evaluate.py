"""How well a trained system decides: reloading it from a run and measuring it on samples."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.data import EventData, EventSet
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import EVALUATION_BATCH, Samples, stream, to_signal
from nsc_deploy.training.module import first_largest
from nsc_deploy.training.run_directory import read_experiment
from nsc_deploy.training.start import finished_system


@dataclass(frozen=True)
class Measurement:
    """What a system does on a set of samples.

    Attributes:
        decisions: [T, N] int64, the decision after the first 1, 2, ..., T steps.
        labels: [N] int64.
        spike_rate: spikes per transmitter neuron and step; None for a system without spikes.
        spikes_per_sample: spikes sent for one sample, mean; None likewise.
    """

    decisions: NDArray[np.int64]
    labels: NDArray[np.int64]
    spike_rate: float | None
    spikes_per_sample: float | None

    @property
    def accuracy(self) -> float:
        """Part of the samples decided rightly after all steps."""
        return float((self.decisions[-1] == self.labels).mean())

    @property
    def accuracy_after(self) -> NDArray[np.float64]:
        """[T], the same when deciding after the first 1, 2, ..., T steps."""
        return np.asarray((self.decisions == self.labels).mean(1), dtype=np.float64)


@torch.no_grad()
def measure(system: System, part: EventSet, seed: int, purpose: str = "test") -> Measurement:
    """Run a system over samples, in order, under channel noise that the seed and the purpose decide.

    Args:
        system: a finished system.
        part: what to decide on.
        seed: of the channel noise.
        purpose: names the noise; the same purpose and seed give the same noise.
    """
    system.eval()
    samples, noise = Samples(part), stream(seed, purpose)
    decisions, spikes, steps_and_neurons = [], 0.0, 0
    for events, _ in samples.in_order(EVALUATION_BATCH):
        output = system(to_signal(events), noise)
        steps = torch.arange(1, output.votes.shape[0] + 1).reshape(-1, 1, 1)
        decisions.append(first_largest(output.votes.cumsum(0) / steps))
        spikes += float(output.symbols.sum(dtype=torch.float64))
        steps_and_neurons = output.symbols.shape[0] * output.symbols.shape[2]
    per_sample = spikes / len(samples) if system.spiking else None
    return Measurement(
        decisions=torch.cat(decisions, 1).numpy(),
        labels=part.labels,
        spike_rate=None if per_sample is None else per_sample / steps_and_neurons,
        spikes_per_sample=per_sample,
    )


def load_system(run: Path, data: EventData) -> System:
    """The trained system of a run, its best weights snapped to their grid.

    Args:
        run: the run directory.
        data: the data set of the run.

    Raises:
        DataError: no run, or its weights are missing, damaged or of another shape.
    """
    return finished_system(read_experiment(run), data, run)
