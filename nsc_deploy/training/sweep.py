"""How well a trained system decides: on samples, against SNR, against latency (the poster's figures 4, 5)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.channels.config import ChannelConfig, require_snr
from nsc_deploy.config.speech import SpeechExperiment, SystemConfig
from nsc_deploy.data import EventData, EventSet, load_events
from nsc_deploy.experiment_file import settings_digest
from nsc_deploy.io.progress import progress_bar
from nsc_deploy.io.text import places_apart, span
from nsc_deploy.models.export import uses_per_step
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import EVALUATION_BATCH, Samples, stream, to_signal
from nsc_deploy.training.fit import reproducible
from nsc_deploy.training.integers import LavaPart, in_integers, taken_by_lava
from nsc_deploy.training.module import first_largest
from nsc_deploy.training.run_directory import read_experiment_of
from nsc_deploy.training.start import load_system, require_finished


@dataclass(frozen=True)
class Measurement:
    """What a system does on a set of samples.

    Attributes:
        decisions: [T, N] int64, the decision after the first 1, 2, ..., T steps; [1, N] where a sample
            arrives as a whole.
        labels: [N] int64.
        spike_rate: spikes per transmitter neuron and step; None for a system without spikes.
        spikes_per_sample: spikes sent for one sample, mean; None likewise.
        lost: part of the samples that could not be decoded; None where none is coded.
    """

    decisions: NDArray[np.int64]
    labels: NDArray[np.int64]
    spike_rate: float | None
    spikes_per_sample: float | None
    lost: float | None = None

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
    decisions, spikes, steps_and_neurons, lost = [], 0.0, 0, 0
    for events, _ in samples.in_order(EVALUATION_BATCH):
        output = system(to_signal(events), noise)
        steps = torch.arange(1, output.votes.shape[0] + 1).reshape(-1, 1, 1)
        means = output.votes.cumsum(0) / steps
        decisions.append(first_largest(means[-1:] if system.link.whole else means))
        if system.link.whole:
            lost += int((output.received != output.symbols).any(2).any(0).sum())
        spikes += float(output.symbols.sum(dtype=torch.float64))
        steps_and_neurons = output.symbols.shape[0] * output.symbols.shape[2]
    per_sample = spikes / len(samples) if system.spiking else None
    return Measurement(
        decisions=torch.cat(decisions, 1).numpy(),
        labels=part.labels,
        spike_rate=None if per_sample is None else per_sample / steps_and_neurons,
        spikes_per_sample=per_sample,
        lost=lost / len(samples) if system.link.whole else None,
    )


@dataclass(frozen=True)
class ChannelUses:
    """What the air is charged for.

    Attributes:
        per_step: channel uses of one time step: those of its symbols, and the guard interval behind them; of
            coded messages those of a whole sample, the mean.
        per_symbol: channel uses of one symbol: 1 for a spike, 16 for a value of half precision. The
            poster's latency axis counts these, as if all symbols of a step were sent side by side.
    """

    per_step: int
    per_symbol: int


@dataclass(frozen=True)
class Sweep:
    """Accuracy of one run over SNR, and over latency on the channel it was trained on.

    Attributes:
        run: the run directory.
        name: system, and receiver where it has kinds.
        trained_snr_db: the SNR of its training, the lower end where it was a range.
        snr_db: the SNRs evaluated.
        accuracy: one for each of `snr_db`.
        accuracy_after: [T] after the first 1, 2, ... steps, on the channel of the training.
        uses: channel uses.
        bits: of a weight, where the parts for a chip computed in Lava's integers; None in floating point.
        trained_snr_to_db: the upper end of the SNRs of its training; None where it was one.
        lost: part of the samples that could not be decoded, one for each of `snr_db`; separate coding.
        settings: digest of its experiment; seeds, and models of several SNRs, of one experiment share it.
        place: end of the run's path, where another run has the same label.
    """

    run: Path
    name: str
    trained_snr_db: float
    snr_db: tuple[float, ...]
    accuracy: tuple[float, ...]
    accuracy_after: tuple[float, ...]
    uses: ChannelUses
    bits: int | None = None
    trained_snr_to_db: float | None = None
    lost: tuple[float, ...] = ()
    settings: str = ""
    place: str = ""

    @property
    def label(self) -> str:
        """Name of the system and of the run directory."""
        return f"{self.name}, {self.place or self.run.resolve().name}"

    @property
    def trained_at(self) -> str:
        """The SNR of the training: "10 dB", "-10 to 10 dB"."""
        return f"{span(self.trained_snr_db, self.trained_snr_to_db)} dB"

    @property
    def at_home(self) -> bool:
        """Whether it was evaluated at the one SNR of its training, and nowhere else."""
        return self.trained_snr_to_db is None and self.snr_db == (self.trained_snr_db,)

    def milestones(self, count: int = 10) -> list[tuple[int, float]]:
        """About `count` evenly spread steps, the last one among them, with the accuracy after each."""
        steps = len(self.accuracy_after)
        stride = -(-steps // count)
        return [(step, self.accuracy_after[step - 1]) for step in range(steps, 0, -stride)][::-1]

    def as_json(self) -> dict[str, object]:
        """The sweep as a value `json` can write."""
        return asdict(self) | {"run": str(self.run)}


def sweep_runs(
    runs: Sequence[Path],
    snr_db: Sequence[float] | None,
    *,
    bits: Sequence[int] = (),
    progress: bool = False,
) -> list[Sweep]:
    """Evaluate finished runs on their test sets, each in floating point and then in integers.

    Args:
        runs: the run directories.
        snr_db: the SNRs in dB for every run; None for the one each run was trained at, and five evenly over
            the range of a run that was trained on one.
        bits: of a weight; for each one sweep with the parts for a chip in Lava's integers.
        progress: show a progress bar on stderr.

    Raises:
        DataError: a directory holds no finished run, or its weights or its data are missing or damaged.
        ConfigError: an SNR is out of range, or Lava takes no part of a run that is wanted in integers.
    """
    # All of them, before the first minute of work.
    for run in runs:
        require_finished(run, "nsc-deploy evaluate")
    experiments = [read_experiment_of(SpeechExperiment, run) for run in runs]
    for snr in snr_db or ():
        require_snr(snr)
    parts = {run: taken_by_lava(run) if bits else () for run in runs}
    points = [snr_db or _at_home(experiment.channel) for experiment in experiments]
    forms: tuple[int | None, ...] = (None, *bits)
    total = len(forms) * sum(len(_evaluated(*pair)) for pair in zip(points, experiments, strict=True))
    with progress_bar(shown=progress) as bar:
        task = bar.add_task("evaluating", total=total)
        sweeps = [
            sweep(run, wanted, bits=form, parts=parts[run], advance=lambda: bar.advance(task))
            for run, wanted in zip(runs, points, strict=True)
            for form in forms
        ]
    places = places_apart([one.label for one in sweeps], [one.run for one in sweeps])
    return [replace(one, place=place) for one, place in zip(sweeps, places, strict=True)]


def sweep(
    run: Path,
    snr_db: Sequence[float],
    *,
    bits: int | None = None,
    parts: tuple[LavaPart, ...] = (),
    advance: Callable[[], None] = lambda: None,
) -> Sweep:
    """Evaluate one run on its test set over SNRs, and over latency on the channel it was trained on.

    Args:
        run: the run directory.
        snr_db: the SNRs in dB.
        bits: of a weight, to have parts in Lava's integers; None for floating point.
        parts: those, found by `taken_by_lava`.
        advance: called after each pass over the test set.

    Raises:
        DataError: no run, or its weights or its data are missing or damaged.
    """
    experiment = read_experiment_of(SpeechExperiment, run)
    data, channel = load_events(experiment.data), experiment.channel
    system = load_system(run, data)
    if bits is not None:
        system = in_integers(system, parts, bits)
    with reproducible(experiment.training.threads):
        measured = {}
        for ends in _evaluated(snr_db, experiment):
            measured[ends] = _at(system, data, ends, experiment)
            advance()
    return Sweep(
        run=run,
        name=display_name(experiment.system) + ("" if bits is None else f", {bits} bits"),
        trained_snr_db=channel.snr_db,
        trained_snr_to_db=channel.snr_to_db,
        snr_db=tuple(snr_db),
        accuracy=tuple(measured[snr, None].accuracy for snr in snr_db),
        accuracy_after=tuple(
            float(value) for value in measured[channel.snr_db, channel.snr_to_db].accuracy_after
        ),
        uses=channel_uses(experiment, system, data.test),
        bits=bits,
        lost=tuple(one.lost for snr in snr_db if (one := measured[snr, None]).lost is not None),
        settings=settings_digest(experiment, _OF_ONE_CURVE, _MADE_FROM),
    )


_Ends = tuple[float, float | None]
"""An SNR in dB and None, or both ends of a range."""
_POINTS = 5
_OF_ONE_CURVE = (
    "channel.snr_db", "channel.snr_to_db", "data.path", "training.devices", "training.nodes", "training.seed",
    "training.threads", "training.validation_seed",
)  # fmt: skip
"""Fields in which seeds of one experiment, and models of several SNRs, differ."""
_MADE_FROM = ("training.start_from", "training.teacher")
"""Of these each seed may have its own, but a run that has none is of another experiment."""


def _at_home(channel: ChannelConfig) -> tuple[float, ...]:
    """The SNR that a channel has, or points over the range of them."""
    low, high = channel.snr_ends_db
    return (low,) if low == high else tuple(np.linspace(low, high, _POINTS).tolist())


def _evaluated(snr_db: Sequence[float], experiment: SpeechExperiment) -> set[_Ends]:
    """Each SNR once, and the channel of the training, where latency is looked at."""
    return {*((snr, None) for snr in snr_db), (experiment.channel.snr_db, experiment.channel.snr_to_db)}


def _at(system: System, data: EventData, ends: _Ends, experiment: SpeechExperiment) -> Measurement:
    with system.at_snr(*ends):
        return measure(system, data.test, experiment.training.seed)


def display_name(system: SystemConfig) -> str:
    """How tables and plots call a system."""
    return f"{system.name} ({system.receiver})" if system.name == "att-neurosc" else str(system.name)


def channel_uses(experiment: SpeechExperiment, system: System, part: EventSet) -> ChannelUses:
    """What one time step costs on the air: a spike one use, a half-precision value sixteen, and the guard.

    Args:
        experiment: of the system.
        system: with its link.
        part: the samples whose messages are measured, where they differ in length.
    """
    bits = experiment.system.activation_bits
    whole = system.link.whole
    per_symbol = 1 if whole else bits or system.link.modulation.uses_per_value
    return ChannelUses(per_step=uses_per_step(system, experiment, part), per_symbol=per_symbol)
