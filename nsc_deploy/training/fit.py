"""The training loop: Lightning's trainer, quiet, deterministic and resumable, in every process of a run.

SIGINT and SIGTERM end it as they end any program; Lightning would do otherwise.
"""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy, Strategy

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.data import EventData, EventSet, validation_split
from nsc_deploy.errors import DataError
from nsc_deploy.training.batches import Samples, ShuffledBatches, ordered_loader, shuffled_loader, stream_seed
from nsc_deploy.training.checkpoints import DIRECTORY, HINT, LAST, StateIO
from nsc_deploy.training.heap import keep_freed_memory
from nsc_deploy.training.module import ReceiverTraining
from nsc_deploy.training.processes import is_connection_lost
from nsc_deploy.training.record import EpochProgress, SaveState, TrainingRecord
from nsc_deploy.training.run_directory import TENSORBOARD
from nsc_deploy.training.start import load_system, new_system, starting_system

_STATE = {"callbacks", "epoch", "global_step", "loops", "lr_schedulers", "optimizer_states", "state_dict"}
_LONGEST_REASON = 300


def training_and_validation(
    data: EventData, experiment: SpeechExperiment
) -> tuple[EventSet, EventSet | None]:
    """Cut the validation part, the same share of each class, from the training set; None if not wanted."""
    config = experiment.training
    if not config.validation_fraction:
        return data.train, None
    return validation_split(
        data.train, config.validation_fraction, stream_seed(config.split_seed, "validation part")
    )


def fit(
    experiment: SpeechExperiment, data: EventData, run: Path, *, resume: bool, progress: bool
) -> TrainingRecord:
    """Train in this process, together with the other processes of its group if there is one.

    Leaves the best weights and the last state in RUN/checkpoints.

    Args:
        experiment: what to train.
        data: on what.
        run: the run directory.
        resume: go on from RUN/checkpoints/last.safetensors, if there is one.
        progress: show a progress bar on stderr.

    Raises:
        DataError: the last state is damaged or of another training, or the training part has fewer samples
            than processes.
        UserError: training diverged.
    """
    config = experiment.training
    record = TrainingRecord(
        run, config.patience, "Lower training.learning_rate or set training.gradient_clip"
    )
    last = run / DIRECTORY / LAST
    going_on = resume and last.is_file()
    if going_on and is_complete(last, record, config.epochs):
        return record
    training, validation = training_and_validation(data, experiment)
    world = config.devices * config.nodes
    with quiet_lightning(), reproducible(config.threads):
        strategy = _strategy(world)
        trainer = _trainer(experiment, run, strategy, record, progress=progress)
        batches = ShuffledBatches(
            len(training), config.batch_size, config.seed, rank=trainer.global_rank, world=world
        )
        # A resumed run takes its weights from its last state.
        system = new_system(experiment, data) if going_on else starting_system(experiment, data)
        products = torch.bfloat16 if in_bfloat16(config.precision) else torch.float32
        teacher = None if config.teacher is None else load_system(Path(config.teacher), data)
        module = ReceiverTraining(
            system, config, len(batches), bits=experiment.weight_bits, products=products, teacher=teacher
        )
        with plain_signals(), state_that_fits(record, going_on=going_on):
            trainer.fit(
                module,
                shuffled_loader(Samples(training), batches),
                None if validation is None else ordered_loader(Samples(validation)),
                ckpt_path=last if going_on else None,
            )
    return record


def is_trained(experiment: SpeechExperiment, run: Path) -> bool:
    """Whether a run has been through all its epochs, so that only its graphs are to be written.

    Raises:
        DataError: its last state is damaged.
    """
    config, last = experiment.training, run / DIRECTORY / LAST
    return last.is_file() and is_complete(last, TrainingRecord(run, config.patience), config.epochs)


def is_complete(last: Path, record: TrainingRecord, epochs: int) -> bool:
    """Load the record of a run whose training had ended before it was interrupted."""
    state = StateIO().load_checkpoint(last)
    missing = sorted(_STATE - state.keys())
    if missing:  # Lightning would begin anew in silence without some of them
        raise DataError(f"holds no {missing[0]}, so no training state", where=last, hint=HINT)
    callbacks = state["callbacks"]
    if not isinstance(callbacks, dict) or record.state_key not in callbacks:
        raise DataError("holds no training record", where=last, hint=HINT)
    record.load_state_dict(callbacks[record.state_key])
    return record.stopped or len(record.epochs) >= epochs


@contextmanager
def state_that_fits(record: TrainingRecord, *, going_on: bool) -> Iterator[None]:
    """Tell what Lightning and torch make of a state of another training as what it is.

    Such a file is whole, so its digest fits; what in it does not fit shows itself only where it is taken in,
    which is before the first batch. What fails later is a bug of ours.

    Raises:
        DataError: the state cannot be gone on from.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if not going_on or record.began or is_connection_lost(error):
            raise
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise DataError(
            f"holds the state of another training ({type(error).__name__}: {reason})",
            where=record.state_file,
            hint=HINT,
        ) from error


def _strategy(world: int) -> Strategy:
    if world == 1:
        return SingleDeviceStrategy("cpu", checkpoint_io=StateIO())
    return DDPStrategy(cluster_environment=LightningEnvironment(), checkpoint_io=StateIO())


def _trainer(
    experiment: SpeechExperiment, run: Path, strategy: Strategy, record: TrainingRecord, *, progress: bool
) -> lightning.Trainer:
    config = experiment.training
    callbacks: list[Callback] = [record, SaveState(record), EndOnSigterm()]
    if progress:
        callbacks.append(EpochProgress(record))
    return lightning.Trainer(
        accelerator="cpu",
        devices=config.devices,
        num_nodes=config.nodes,
        strategy=strategy,
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip or None,
        deterministic=True,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        logger=TensorBoardLogger(run, name=TENSORBOARD, version=""),
        log_every_n_steps=1_000_000,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run,
    )


@contextmanager
def reproducible(threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads, until the block ends; freed memory is kept.

    Sums change with the number of threads, so it belongs to what a run is repeated with.
    """
    keep_freed_memory()
    deterministic: Any = torch.utils.deterministic
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
        deterministic.fill_uninitialized_memory,
    )
    torch.use_deterministic_algorithms(True)
    # torch would fill every new tensor with NaN first, to make reading it early show: 3 % of a step.
    deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(threads or before[2])
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.set_num_threads(before[2])
        deterministic.fill_uninitialized_memory = before[3]


def in_bfloat16(precision: Literal["auto", "bf16", "fp32"]) -> bool:
    """Whether products are computed in bfloat16; auto: where that is faster."""
    return precision == "bf16" or (precision == "auto" and has_bfloat16())


def has_bfloat16() -> bool:
    """Whether products in bfloat16 are faster here: the processor (or the GPU) has instructions for them.

    Without them torch emulates them, which takes twenty times as long.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice off the terminal; its errors still come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.utils\.data.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def plain_signals() -> Iterator[None]:
    """Let an interrupt come out as KeyboardInterrupt.

    Lightning makes an exit of it, and leaves SIGINT ignored afterwards.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if _in_main_thread():
            signal.signal(signal.SIGINT, before)


class EndOnSigterm(Callback):
    """On SIGTERM, end at once with exit code 143; the last finished epoch is on disk.

    Lightning's own handler ends with exit code 0, and waits for ever where several processes train.
    """

    def __init__(self) -> None:
        self._asked = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take the place of Lightning's handler, which it removes itself when training ends."""
        if _in_main_thread():
            signal.signal(signal.SIGTERM, self._end)

    def on_train_batch_end(self, *_: object) -> None:
        """End here if the handler's exit was lost, as it is inside a callback of the compiler."""
        if self._asked:
            raise SystemExit(128 + signal.SIGTERM)

    def _end(self, number: int, _: object) -> None:
        self._asked = True
        raise SystemExit(128 + number)
