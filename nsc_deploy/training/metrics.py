"""What a finished run reached: RUN/metrics.json, one record for each family of systems."""

from pydantic import Field

from nsc_deploy.config.families import Experiment
from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.io.records import Record
from nsc_deploy.io.text import span
from nsc_deploy.training.record import EpochRecord


class RunMetrics(Record):
    """What every finished run tells; RUN/metrics.json is the last file a run writes.

    Accuracies are parts of 1, of the weights as they are exported, under fixed channel noise.
    """

    system: str
    dataset: str
    validation_accuracy: float | None
    test_accuracy: float
    parameters: int = Field(description="trained numbers")
    epochs: int = Field(description="epochs run")
    training_seconds: float = Field(description="wall time of the epochs, over all resumptions")

    @property
    def title(self) -> str:
        """What was trained, in one line."""
        return f"{self.system} on {self.dataset}"

    @property
    def rows(self) -> dict[str, str]:
        """What a terminal shows of it, by label."""
        return {
            "test accuracy": _percent(self.test_accuracy),
            "validation accuracy": _percent(self.validation_accuracy),
            "epochs": str(self.epochs),
            "training time": f"{self.training_seconds:.1f} s",
        }


class SpeechMetrics(RunMetrics):
    """What a run of a speech receiver reached.

    Spike rates are spikes per transmitter neuron and step, None for systems without spikes.
    """

    receiver: str | None = Field(description="analog or event, for att-neurosc")
    framework: str
    channel: str
    snr_db: float
    snr_to_db: float | None = Field(default=None, description="upper end, where each sample has its own")
    train_accuracy: float
    train_spike_rate: float | None
    validation_spike_rate: float | None
    test_spike_rate: float | None
    spikes_per_sample: float | None = Field(description="spikes sent for one test sample, mean")
    steps: int = Field(description="time steps of a sample")
    channel_uses_per_step: int
    channel_uses: int = Field(description="charged for one sample")
    lost: float | None = Field(
        default=None, description="part of the test samples that could not be decoded; separate coding"
    )
    best_epoch: int = Field(description="whose weights were kept, counted from 0")
    stopped_early: bool
    history: tuple[EpochRecord, ...]

    @property
    def title(self) -> str:
        """What was trained, in one line."""
        name = f"{self.system} ({self.receiver})" if self.receiver else self.system
        return f"{name} on {self.dataset}, {self.channel} at {span(self.snr_db, self.snr_to_db)} dB"

    @property
    def rows(self) -> dict[str, str]:
        """What a terminal shows of it, by label."""
        early = ", stopped early" if self.stopped_early else ""
        return {
            "test accuracy": _percent(self.test_accuracy),
            "validation accuracy": _percent(self.validation_accuracy),
            "training accuracy": _percent(self.train_accuracy),
            "spikes a neuron and step": _number(self.test_spike_rate),
            "spikes a sample": _number(self.spikes_per_sample),
            "channel uses a sample": str(self.channel_uses),
            **({} if self.lost is None else {"not decoded": _percent(self.lost)}),
            "epochs": f"{self.epochs}, best {self.best_epoch + 1}{early}",
            "training time": f"{self.training_seconds:.1f} s",
        }


class BackboneMetrics(RunMetrics):
    """What a classifier of images reached, in full precision."""

    backbone: str
    split: str = Field(description="the last block that the device computes")
    feature: tuple[int, int, int] = Field(description="channels, height and width behind the split")
    best_epoch: int | None = Field(description="whose weights were kept, counted from 0; None: foreign ones")
    weights_sha256: str | None = Field(default=None, description="of the file of foreign weights")
    weights_licence: str | None = Field(default=None, description="of foreign weights, as the user told it")
    history: tuple[EpochRecord, ...]

    @property
    def title(self) -> str:
        """What was trained, in one line."""
        return f"{self.backbone} on {self.dataset}"

    @property
    def rows(self) -> dict[str, str]:
        """What a terminal shows of it, by label."""
        epochs = "none, with weights of others" if self.best_epoch is None else ""
        return super().rows | {
            "epochs": epochs or f"{self.epochs}, best {(self.best_epoch or 0) + 1}",
            f"feature behind {self.split}": " x ".join(map(str, self.feature)),
        }


class FeaturesMetrics(RunMetrics):
    """What a codec behind a backbone reached, one draw of the channel for each sample."""

    backbone: str
    channel: str
    p: float
    p_to: float | None = Field(default=None, description="upper end, where each sample has its own")
    steps: int = Field(description="time steps, or bits of a value")
    bits: int = Field(description="on the channel for one sample")
    backbone_accuracy: float = Field(description="of the backbone's server part on the features themselves")
    ones: float = Field(description="part of the bits sent that are 1")
    entropy: float = Field(description="of the frequency of ones in a step, in bits, mean over the steps")
    entropy_per_position: float = Field(description="of the frequency of ones of each bit on its own, mean")
    best_epoch: int = Field(description="whose weights were kept, counted from 0")
    history: tuple[EpochRecord, ...]

    @property
    def title(self) -> str:
        """What was trained, in one line."""
        p = f"{self.p:g}" if self.p_to is None else f"{self.p:g} to {self.p_to:g}"
        codec = f"{self.system} (n {self.steps}) behind {self.backbone}"
        return f"{codec} on {self.dataset}, {self.channel} at p {p}"

    @property
    def rows(self) -> dict[str, str]:
        """What a terminal shows of it, by label."""
        return super().rows | {
            "without codec and channel": _percent(self.backbone_accuracy),
            "bits a sample": str(self.bits),
            "ones among them": _percent(self.ones),
            "entropy of a bit": f"{self.entropy:.3f} of all, {self.entropy_per_position:.3f} by position",
            "epochs": f"{self.epochs}, best {self.best_epoch + 1}",
        }


class MemoryStage(Record):
    """One step of the training of a system with memory."""

    name: str = Field(description="semantic, codec, joint or mask")
    steps: int = Field(description="batches")
    seconds: float = Field(description="processor time")
    validation_accuracy: float | None = Field(description="mean over tasks at its end")
    error: float | None = Field(
        default=None, description="codec: mean squared error over the vectors' variance"
    )


class MemoryMetrics(RunMetrics):
    """What a system with memory reached on the test questions: mean over tasks of the right answers."""

    channel: str
    knowledge: str = Field(description="what the receiver knows of the channel: perfect or pilot")
    snr_db: float
    snr_to_db: float | None = Field(description="upper end: each story has an SNR of its own")
    without_channel: float = Field(description="the semantic codec alone, with nothing lost")
    tasks_without_channel: dict[str, float] = Field(description="by number of the task")
    tasks: dict[str, float] = Field(description="over the channel, by number of the task")
    symbols: float = Field(description="complex symbols of a sentence, mean over sentences and over the SNRs")
    position_symbols: float | None = Field(
        default=None, description="on top of it: what tells the positions of an importance mask, mean; else 0"
    )
    note: str | None = Field(description="where the data is not the published one, what it is")
    stages: tuple[MemoryStage, ...]

    @property
    def title(self) -> str:
        """What was trained, in one line."""
        return f"{self.system} on {self.dataset}, {self.channel} at {span(self.snr_db, self.snr_to_db)} dB"

    @property
    def rows(self) -> dict[str, str]:
        """What a terminal shows of it, by label."""
        solved = sum(share >= 0.95 for share in self.tasks_without_channel.values())
        return {
            "answers right": _percent(self.test_accuracy),
            "without a channel": _percent(self.without_channel),
            "tasks at 95 % without a channel": f"{solved} of {len(self.tasks_without_channel)}",
            "symbols a sentence": self._symbols,
            "batches": ", ".join(f"{stage.name} {stage.steps}" for stage in self.stages),
            "processor time": f"{self.training_seconds:.1f} s",
        }

    @property
    def _symbols(self) -> str:
        positions = f", and {_number(self.position_symbols)} for positions" if self.position_symbols else ""
        return _number(self.symbols) + positions


_METRICS: dict[type[Experiment], type[RunMetrics]] = {
    SpeechExperiment: SpeechMetrics,
    BackboneExperiment: BackboneMetrics,
    FeaturesExperiment: FeaturesMetrics,
    MemoryExperiment: MemoryMetrics,
}


def metrics_of(experiment: Experiment) -> type[RunMetrics]:
    """The form that the metrics of an experiment's family have."""
    return _METRICS[type(experiment)]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
