"""How well a trained system decides: accuracy, against SNR and against latency (the poster's figures 4 and 5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.config import Experiment, SystemConfig
from nsc_deploy.data import EventData, load_events
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import EVALUATION_BATCH, Samples, to_signal
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, read_tensors
from nsc_deploy.training.fit import new_system
from nsc_deploy.training.losses import first_largest
from nsc_deploy.training.randomness import stream
from nsc_deploy.training.run_directory import read_experiment

HALF_PRECISION_BITS = 16


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


@dataclass(frozen=True)
class ChannelUses:
    """What the air is charged for.

    Attributes:
        per_step: channel uses of one time step, over all symbols.
        per_symbol: channel uses of one symbol: 1 for a spike, 16 for a value of half precision. The
            poster's latency axis counts these, as if all symbols of a step were sent side by side.
    """

    per_step: int
    per_symbol: int


@dataclass(frozen=True)
class Sweep:
    """Accuracy of one run over SNR, and over latency at the SNR it was trained at.

    Attributes:
        run: the run directory.
        name: system, and receiver where it has kinds.
        trained_snr_db: the SNR of its training.
        snr_db: the SNRs evaluated.
        accuracy: one for each of `snr_db`.
        accuracy_after: [T] after the first 1, 2, ... steps, at `trained_snr_db`.
        uses: channel uses.
    """

    run: Path
    name: str
    trained_snr_db: float
    snr_db: tuple[float, ...]
    accuracy: tuple[float, ...]
    accuracy_after: tuple[float, ...]
    uses: ChannelUses


@torch.no_grad()
def measure(system: System, samples: Samples, seed: int, purpose: str = "test") -> Measurement:
    """Run a system over samples under fixed channel noise, in batches of a fixed size.

    Args:
        system: a finished system.
        samples: what to decide on.
        seed: of the channel noise.
        purpose: names the noise; the same purpose and seed give the same noise.
    """
    system.eval()
    decisions, spikes, steps_and_neurons = [], 0.0, 0
    for number, (events, _) in enumerate(samples.in_order(EVALUATION_BATCH)):
        output = system(to_signal(events), stream(seed, purpose, number))
        steps = torch.arange(1, output.votes.shape[0] + 1).reshape(-1, 1, 1)
        decisions.append(first_largest(output.votes.cumsum(0) / steps))
        spikes += float(output.symbols.sum(dtype=torch.float64))
        steps_and_neurons = output.symbols.shape[0] * output.symbols.shape[2]
    per_sample = spikes / len(samples) if system.spiking else None
    return Measurement(
        decisions=torch.cat(decisions, 1).numpy(),
        labels=samples.labels.numpy(),
        spike_rate=None if per_sample is None else per_sample / steps_and_neurons,
        spikes_per_sample=per_sample,
    )


def load_system(run: Path, data: EventData, *, snr_db: float | None = None) -> System:
    """The trained system of a run, its best weights snapped to their grid.

    Args:
        run: the run directory.
        data: the data set of the run.
        snr_db: put it behind a channel of this SNR instead of the one it was trained with.

    Raises:
        DataError: no run, or its weights are missing, damaged or of another shape.
    """
    experiment = read_experiment(run)
    if snr_db is not None:
        experiment = at_snr(experiment, snr_db)
    system = new_system(experiment, data)
    load_best(system, run)
    return system


def load_best(system: System, run: Path) -> None:
    """Load RUN/checkpoints/best.safetensors into a system and finish it.

    Raises:
        DataError: the weights are missing, damaged or of another shape.
    """
    path = run / DIRECTORY / BEST
    weights, _ = read_tensors(path)
    try:
        system.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise DataError(f"does not fit the run's experiment ({detail})", where=path) from error
    system.finish()
    system.eval()


def at_snr(experiment: Experiment, snr_db: float) -> Experiment:
    """The same experiment with another SNR.

    Raises:
        ConfigError: the SNR is out of range, or the channel has none.
    """
    values = experiment.model_dump()
    if "snr_db" not in values["channel"]:
        raise ConfigError("has no SNR to sweep", where=f"channel {experiment.channel.kind}")
    values["channel"]["snr_db"] = snr_db
    try:
        return Experiment.model_validate(values)
    except ValueError as error:
        raise ConfigError(f"an SNR of {snr_db} dB is out of range", where="--snr") from error


def sweep(run: Path, snr_db: Sequence[float], data: EventData | None = None) -> Sweep:
    """Evaluate one run on its test set over SNRs, and over latency at the SNR it was trained at.

    Args:
        run: a run directory with best weights.
        snr_db: the SNRs, in dB.
        data: its data set, where the caller has it loaded.
    """
    experiment = read_experiment(run)
    data = load_events(experiment.data) if data is None else data
    test, seed = Samples.of(data.test), experiment.training.seed
    accuracy = [measure(load_system(run, data, snr_db=snr), test, seed).accuracy for snr in snr_db]
    at_home = measure(load_system(run, data), test, seed)
    return Sweep(
        run=run,
        name=display_name(experiment.system),
        trained_snr_db=experiment.channel.snr_db,
        snr_db=tuple(snr_db),
        accuracy=tuple(accuracy),
        accuracy_after=tuple(float(value) for value in at_home.accuracy_after),
        uses=channel_uses(experiment),
    )


def display_name(system: SystemConfig) -> str:
    """How tables and plots call a system."""
    return f"{system.name} ({system.receiver})" if system.name == "att-neurosc" else str(system.name)


def channel_uses(experiment: Experiment) -> ChannelUses:
    """What one time step costs on the air: a spike one use, a half-precision value sixteen."""
    per_symbol = 1 if experiment.system.name.spiking else HALF_PRECISION_BITS
    return ChannelUses(per_step=experiment.system.symbols * per_symbol, per_symbol=per_symbol)
