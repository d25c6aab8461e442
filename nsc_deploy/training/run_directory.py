"""The directory of a run: who may write into it, what it holds, and when it is finished."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from nsc_deploy import deployment, experiment_file
from nsc_deploy.config import Experiment
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.io.files import unwritable, write_json
from nsc_deploy.io.records import Record, read_json_record
from nsc_deploy.training import checkpoints
from nsc_deploy.training.record import EpochRecord

METRICS = "metrics.json"
PROVENANCE = "provenance.json"
TENSORBOARD = "tensorboard"
_LOCK = ".lock"
_GRAPH_FILES = ("*.nir", "*.onnx", "*.npz")


class RunMetrics(Record):
    """What a finished run reached; RUN/metrics.json, the last file a run writes.

    Accuracies are parts of 1, measured after the weights were snapped to their grid and under fixed
    channel noise; spike rates are spikes per transmitter neuron and step, None for systems without
    spikes.
    """

    system: str
    receiver: str | None = Field(description="analog or event, for att-neurosc")
    framework: str
    dataset: str
    channel: str
    snr_db: float
    train_accuracy: float
    validation_accuracy: float | None
    test_accuracy: float
    train_spike_rate: float | None
    validation_spike_rate: float | None
    test_spike_rate: float | None
    spikes_per_sample: float | None = Field(description="spikes sent for one test sample, mean")
    steps: int = Field(description="time steps of a sample")
    channel_uses_per_step: int
    channel_uses: int = Field(description="charged for one sample")
    parameters: int = Field(description="trained numbers")
    epochs: int = Field(description="epochs run")
    best_epoch: int = Field(description="whose weights were kept, counted from 0")
    stopped_early: bool
    training_seconds: float = Field(description="wall time of the epochs, over all resumptions")
    history: tuple[EpochRecord, ...]


class RunState(StrEnum):
    """How far a run directory has come."""

    EMPTY = "empty"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def state_of(run: Path) -> RunState:
    """How far `run` has come; a directory that does not exist is empty.

    Raises:
        UserError: `run` is a file, or holds something other than a run.
    """
    if not run.exists():
        return RunState.EMPTY
    if not run.is_dir():
        raise UserError("is a file, not a run directory", where=run, hint="Name another --out.")
    if (run / METRICS).is_file() and (run / experiment_file.FILE_NAME).is_file():
        return RunState.FINISHED
    if (run / experiment_file.FILE_NAME).is_file():
        return RunState.UNFINISHED
    foreign = sorted(entry.name for entry in run.iterdir() if not entry.name.startswith("."))
    if foreign:
        raise UserError(
            f"is not a run directory (it holds {foreign[0]} and no {experiment_file.FILE_NAME})",
            where=run,
            hint="Name a new or an empty directory for --out.",
        )
    return RunState.EMPTY


def claim(run: Path, experiment: Experiment, *, resume: bool, overwrite: bool) -> RunState:
    """Make `run` ready for training `experiment`, and say how far it had come.

    Raises:
        UserError: the run exists and neither --resume nor --overwrite was given.
        ConfigError: resuming, but the run was started with another experiment.
    """
    state = state_of(run)
    if state is not RunState.EMPTY and overwrite:
        _clear(run)
        state = RunState.EMPTY
    elif state is not RunState.EMPTY and not resume:
        go_on = "--resume to go on, or " if state is RunState.UNFINISHED else ""
        raise UserError(
            f"holds a run already ({state})",
            where=run,
            hint=f"Add {go_on}--overwrite to begin anew, or name another --out.",
        )
    if state is RunState.EMPTY:
        experiment_file.write_experiment(run / experiment_file.FILE_NAME, experiment)
    else:
        _refuse_another(run, experiment)
    return state


def read_experiment(run: Path) -> Experiment:
    """The experiment of a run.

    Raises:
        DataError: not a run directory.
    """
    return experiment_file.load_experiment(experiment_to_resume(run))


def experiment_to_resume(run: Path, *, required: bool = True) -> Path | None:
    """The experiment file of a run; None where there is none and none is required.

    Raises:
        DataError: there is none and one is required.
    """
    path = run / experiment_file.FILE_NAME
    if path.is_file():
        return path
    if not required:
        return None
    hint = "Train one: nsc-deploy train --help"
    raise DataError(f"holds no run (no {experiment_file.FILE_NAME})", where=run, hint=hint)


def write_metrics(run: Path, metrics: RunMetrics) -> None:
    """Write RUN/metrics.json, which makes the run a finished one."""
    write_json(run / METRICS, metrics.model_dump(mode="json"))


def read_metrics(run: Path) -> RunMetrics:
    """Read RUN/metrics.json.

    Raises:
        DataError: the run is not finished, or the file is damaged.
    """
    path = run / METRICS
    if not path.is_file():
        raise DataError(f"holds no finished run (no {METRICS})", where=run, hint="Go on with --resume.")
    return read_json_record(
        RunMetrics,
        path,
        "the metrics of a run",
        hint="Restore it from a copy, or delete it and write it anew with --resume.",
    )


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep every other training out of `run`; the lock goes with the process, however it ends.

    Raises:
        UserError: another process is training there, or the directory cannot be written.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        stream = (run / _LOCK).open("w")
    except OSError as error:
        raise unwritable(run, error) from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                "is being trained by another process", where=run, hint="Wait for it or name another --out."
            ) from error
        yield


def _refuse_another(run: Path, experiment: Experiment) -> None:
    fields = experiment_file.differing_fields(read_experiment(run), experiment)
    if fields:
        raise ConfigError(
            f"was started with another experiment (different: {', '.join(fields)})",
            where=run,
            hint="Leave these options out to go on with it, or name another --out.",
        )


def _clear(run: Path) -> None:
    """Remove what a run writes and nothing else; the experiment goes last, so it stays a run until then."""
    for directory in (checkpoints.DIRECTORY, TENSORBOARD):
        shutil.rmtree(run / directory, ignore_errors=True)
    files = [run / METRICS, run / PROVENANCE, run / deployment.FILE_NAME]
    files += [path for pattern in _GRAPH_FILES for path in run.glob(pattern)]
    for path in [*files, run / experiment_file.FILE_NAME]:
        path.unlink(missing_ok=True)
