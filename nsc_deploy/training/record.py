"""What happened in each epoch, which epoch was best, when to stop; and the progress bar of a run."""

import math
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import lightning
from lightning.pytorch.callbacks import Callback, Checkpoint
from pydantic import BaseModel, ConfigDict, Field, field_validator
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.io.files import write_json
from nsc_deploy.io.progress import progress_bar
from nsc_deploy.io.records import Record, read_json_record, to_record
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, HINT, LAST, SECONDS, require_run, write_tensors
from nsc_deploy.training.module import SystemTraining


class EpochRecord(BaseModel):
    """One epoch: means over its samples; the spike rate is spikes per transmitter neuron and step.

    A validation may diverge, and training recover from it: a loss that is no number is None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    seconds: float = 0.0
    train_loss: float
    train_accuracy: float
    train_spike_rate: float | None = None
    train_sparsity: float | None = None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_spike_rate: float | None = None

    @field_validator("validation_loss")
    @classmethod
    def _number_or_none(cls, loss: float | None) -> float | None:
        return loss if loss is not None and math.isfinite(loss) else None

    @property
    def rank(self) -> tuple[float, float, float]:
        """Larger is better: synapses cut, accuracy in validation, its loss; without validation, the epoch.

        An epoch from before the last synapse was cut is another network than the one that was wanted.
        """
        cut = self.train_sparsity or 0.0
        if self.validation_accuracy is None:
            return (cut, 0.0, float(self.epoch))
        loss = math.inf if self.validation_loss is None else self.validation_loss
        return (cut, self.validation_accuracy, -loss)


class _State(BaseModel):
    """What a `TrainingRecord` keeps."""

    model_config = ConfigDict(extra="forbid")

    epochs: tuple[EpochRecord, ...]
    best: Annotated[int, Field(ge=0)] | None


class _Seconds(Record):
    seconds: tuple[Annotated[float, Field(ge=0)], ...]


class TrainingRecord(Callback):
    """Keeps the best weights as RUN/checkpoints/best.safetensors and stops when they stop improving.

    The state travels with the checkpoint, so a resumed run stops where the uninterrupted one does.

    Attributes:
        state_file: RUN/checkpoints/last.safetensors, where a resumed run goes on from.
        seconds_file: RUN/checkpoints/seconds.json, how long each epoch took.
        began: whether training has begun in this process, after all state was taken in.
        epochs: the epochs so far.
        best: the best of them.

    Args:
        run: the run directory.
        patience: epochs without a better one before training stops; 0 for never.
        steadier: what makes such a training diverge less.
    """

    def __init__(self, run: Path, patience: int, steadier: str = "Lower training.learning_rate") -> None:
        self.state_file = run / DIRECTORY / LAST
        self.seconds_file = run / DIRECTORY / SECONDS
        self._best_file = run / DIRECTORY / BEST
        self._patience = patience
        self._steadier = steadier
        self._started = 0.0
        self.began = False
        self.epochs: list[EpochRecord] = []
        self.best: EpochRecord | None = None

    @property
    def stopped(self) -> bool:
        """Whether patience has run out."""
        waited = len(self.epochs) - 1 - self.best.epoch if self.best else 0
        return 0 < self._patience <= waited

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note that whatever a resumed run goes on from has been taken in."""
        self.began = True

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Note the time."""
        self._started = time.monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Record the epoch, keep its weights if it is the best so far, decide whether to go on."""
        epoch = self._measured(trainer)
        if not math.isfinite(epoch.train_loss):
            raise UserError(
                f"training diverged in epoch {epoch.epoch} (the loss is {epoch.train_loss})",
                where=self._best_file.parent.parent,
                hint=f"{self._steadier}; then train anew with --overwrite.",
            )
        self.epochs.append(epoch)
        if self.best is None or epoch.rank > self.best.rank:
            self.best = epoch
            self._keep(trainer, pl_module)
        # All processes measure the same; asking them all keeps them together should rounding differ.
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(self.stopped, all=False)

    def _measured(self, trainer: lightning.Trainer) -> EpochRecord:
        values = {name.replace("/", "_"): float(value) for name, value in trainer.callback_metrics.items()}
        seconds = time.monotonic() - self._started
        return EpochRecord(epoch=trainer.current_epoch, seconds=seconds, **values)

    def _keep(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if trainer.is_global_zero and isinstance(module, SystemTraining) and self.best is not None:
            note = self.best.model_dump(exclude={"seconds"})
            write_tensors(self._best_file, module.system.state_dict(), note)

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far, as JSON; how long they took stands in a file of its own.

        So two runs of one experiment leave the same weights and the same state, byte for byte.
        """
        best = None if self.best is None else self.best.epoch
        return {"epochs": [epoch.model_dump(exclude={"seconds"}) for epoch in self.epochs], "best": best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            DataError: it is something else.
        """
        state = to_record(
            _State, state_dict, "a training record", where=self.state_file, hint=HINT, kind=DataError
        )
        if state.best is not None and state.best >= len(state.epochs):
            raise DataError("names a best epoch it does not hold", where=self.state_file, hint=HINT)
        self.epochs = list(self._timed(state.epochs))
        self.best = None if state.best is None else self.epochs[state.best]

    def write_seconds(self) -> None:
        """Write how long the epochs took, over all resumptions."""
        require_run(self.seconds_file)
        write_json(self.seconds_file, {"seconds": [epoch.seconds for epoch in self.epochs]})

    def _timed(self, epochs: Sequence[EpochRecord]) -> Iterator[EpochRecord]:
        """The epochs with the time that each took; 0 for one that a kill left without."""
        known: tuple[float, ...] = ()
        if self.seconds_file.is_file():
            known = read_json_record(_Seconds, self.seconds_file, "the times of epochs", hint=HINT).seconds
        for epoch, seconds in zip_longest(epochs, known[: len(epochs)], fillvalue=0.0):
            if isinstance(epoch, EpochRecord):
                yield epoch.model_copy(update={"seconds": seconds})


class SaveState(Checkpoint):
    """Writes RUN/checkpoints/last.safetensors after every epoch, when all other callbacks have finished."""

    def __init__(self, record: TrainingRecord) -> None:
        self._record = record

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write everything that going on from here needs."""
        if trainer.is_global_zero:
            self._record.write_seconds()
        trainer.save_checkpoint(self._record.state_file)


class EpochProgress(Callback):
    """A bar over all epochs, with the last and the best validation accuracy beside it, in 80 columns."""

    def __init__(self, record: TrainingRecord) -> None:
        self._record = record
        self._progress: Progress | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar, from where a resumed run stands."""
        self._progress = progress_bar(
            TextColumn("training"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}"),
            transient=False,
        )
        total = (trainer.max_epochs or 0) * int(trainer.num_training_batches)
        self._task = self._progress.add_task(self._summary(), total=total, completed=trainer.global_step)
        self._progress.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Move the bar."""
        if self._progress:
            self._progress.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how the epoch went."""
        if self._progress:
            self._progress.update(self._task, description=self._summary())

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Take the bar down, whatever ended the run."""
        if self._progress:
            self._progress.stop()
            self._progress = None

    def _summary(self) -> str:
        if not self._record.epochs or self._record.best is None:
            return ""
        last, best = self._record.epochs[-1], self._record.best
        if last.validation_accuracy is None or best.validation_accuracy is None:
            return f"epoch {last.epoch + 1}: training accuracy {last.train_accuracy:.1%}"
        return (
            f"epoch {last.epoch + 1}: validation {last.validation_accuracy:.1%}, "
            f"best {best.validation_accuracy:.1%} in epoch {best.epoch + 1}"
        )
