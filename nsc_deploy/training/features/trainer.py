"""Lightning's trainer for one device, quiet, deterministic and resumable: the first GPU, or the CPU."""

from pathlib import Path

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy

from nsc_deploy.training.checkpoints import StateIO
from nsc_deploy.training.fit import EndOnSigterm
from nsc_deploy.training.record import EpochProgress, SaveState, TrainingRecord


def single_device_trainer(
    epochs: int, run: Path, record: TrainingRecord, *, bfloat16: bool = False, progress: bool
) -> lightning.Trainer:
    """A trainer that keeps best weights and last state in RUN/checkpoints.

    Args:
        epochs: passes over the training part.
        run: the run directory.
        record: keeps the best weights.
        bfloat16: compute products in it.
        progress: show a progress bar on stderr.
    """
    callbacks: list[Callback] = [record, SaveState(record), EndOnSigterm()]
    if progress:
        callbacks.append(EpochProgress(record))
    gpu = torch.cuda.is_available()
    return lightning.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=1,
        strategy=SingleDeviceStrategy("cuda:0" if gpu else "cpu", checkpoint_io=StateIO()),
        precision="bf16-mixed" if bfloat16 else "32-true",
        max_epochs=epochs,
        deterministic=True,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run,
    )
