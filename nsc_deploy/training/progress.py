"""One progress bar on stderr for a whole training run."""

import lightning
from lightning.pytorch.callbacks import Callback
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nsc_deploy.io.progress import progress_bar
from nsc_deploy.training.record import TrainingRecord


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
