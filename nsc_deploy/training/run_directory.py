"""The directory of a run: who may write into it, what it holds, and when it is finished."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

import nsc_deploy
from nsc_deploy import deployment, experiment_file
from nsc_deploy.config.families import Experiment
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.io.files import locked_folder, write_json
from nsc_deploy.io.records import read_json_record
from nsc_deploy.models.export import graph_files
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, LAST, SECONDS, STEPS, weights_sha256
from nsc_deploy.training.metrics import RunMetrics, metrics_of

_PACKAGES = (
    "nsc-deploy", "torch", "lightning", "snntorch", "norse", "nir", "numpy", "numba", "scipy", "onnx",
    "onnxruntime", "safetensors",
)  # fmt: skip


class Provenance(BaseModel):
    """RUN/provenance.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: tuple[str, ...]
    started: str = Field(description="UTC, ISO 8601")
    git_revision: str | None = Field(
        description="of the source tree, '+changes' where it was edited; None: installed"
    )
    python: str
    platform: str
    processor: str
    processors: int | None
    packages: dict[str, str]
    data_sha256: str = Field(description="of the samples and labels as fed, training part then test part")
    start_sha256: str | None = Field(
        default=None, description="of the weights file that training started from; None: drawn from the seed"
    )
    teacher_sha256: str | None = Field(default=None, description="of the weights file of the teacher, if any")


def provenance(
    data_sha256: str, start_from: str | None = None, teacher: str | None = None, *, starts_with: str = BEST
) -> Provenance:
    """The provenance of a run that this process starts now.

    Args:
        data_sha256: of what it is trained and tested on.
        start_from: the run whose weights it starts from, if any.
        teacher: the run that teaches it, if any.
        starts_with: which of the files of the run it starts from.

    Raises:
        DataError: one of these runs has lost its weights.
    """
    return Provenance(
        command=tuple(sys.argv),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        git_revision=git_revision(),
        python=platform.python_version(),
        platform=platform.platform(),
        processor=platform.processor() or platform.machine(),
        processors=os.cpu_count(),
        packages={name: found for name in _PACKAGES if (found := _version(name)) is not None},
        data_sha256=data_sha256,
        start_sha256=None if start_from is None else weights_sha256(Path(start_from), starts_with),
        teacher_sha256=None if teacher is None else weights_sha256(Path(teacher)),
    )


def git_revision() -> str | None:
    """The revision of the source tree this package runs from, or None if it is not in one."""
    root = Path(nsc_deploy.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    revision = _git(root, "rev-parse", "HEAD")
    if revision is None:
        return None
    return f"{revision}+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else revision


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


METRICS = "metrics.json"
PROVENANCE = "provenance.json"
TENSORBOARD = "tensorboard"
_TOLD_OF_IT = ("evaluation.json", "accuracy.png", "accuracy.svg", "attention.png")
"""What evaluate and attention leave in a run unless another place is named: of its weights, like all else."""
_NO_RUN = "Name a new or an empty directory for --out."
_EVENT_FILES, _HYPERPARAMETERS = "events.out.tfevents.*", "hparams.yaml"


class RunState(StrEnum):
    """How far a run directory has come."""

    EMPTY = "empty"
    UNFINISHED = "unfinished"
    FINISHED = "finished"


def state_of(run: Path) -> RunState:
    """How far `run` has come; a directory that does not exist is empty.

    A run is known by its provenance.json, which only this tool writes and which is written first.

    Raises:
        UserError: `run` is a file, or holds something other than a run.
    """
    if not run.exists():
        return RunState.EMPTY
    if not run.is_dir():
        raise UserError("is a file, not a run directory", where=run, hint="Name another --out.")
    if (run / PROVENANCE).is_file():
        read_provenance(run)
        if not (run / experiment_file.FILE_NAME).is_file():
            return RunState.EMPTY
        return RunState.FINISHED if (run / METRICS).is_file() else RunState.UNFINISHED
    foreign = sorted(entry.name for entry in run.iterdir() if not entry.name.startswith("."))
    if foreign:
        raise UserError(
            f"is not a run directory (it holds {foreign[0]} and no {PROVENANCE})", where=run, hint=_NO_RUN
        )
    return RunState.EMPTY


def read_provenance(run: Path) -> Provenance:
    """Read RUN/provenance.json.

    Raises:
        DataError: missing or damaged.
    """
    return read_json_record(Provenance, run / PROVENANCE, "the provenance of a run", hint=_NO_RUN)


_OWN_DATA = "Give the data set as it was, or train anew with --overwrite."


def require_same_data(run: Path, data_sha256: str, *, hint: str = _OWN_DATA) -> None:
    """Refuse a run on other samples than it was trained with: those may judge now.

    Args:
        run: the run directory.
        data_sha256: of the samples that the data set holds now.
        hint: the way out.

    Raises:
        DataError: those of its training were others; or its provenance is missing or damaged.
    """
    if read_provenance(run).data_sha256 != data_sha256:
        raise DataError(
            "was trained on other samples than the data set holds now, some of which may judge here",
            where=run,
            hint=hint,
        )


def require_free(run: Path, *, resume: bool, overwrite: bool) -> RunState:
    """Refuse a directory that holds what this training is not meant to go on with or replace.

    Args:
        run: the directory.
        resume: go on with a run that is there.
        overwrite: remove a run that is there.

    Returns:
        How far it has come.

    Raises:
        UserError: it holds something other than a run, a run and neither --resume nor --overwrite was given,
            or links to other places, which are not followed.
    """
    state = state_of(run)
    _refuse_links(run)
    if state is not RunState.EMPTY and not (overwrite or resume):
        go_on = "--resume to go on, or " if state is RunState.UNFINISHED else ""
        raise UserError(
            f"holds a run already ({state})",
            where=run,
            hint=f"Add {go_on}--overwrite to begin anew, or name another --out.",
        )
    return state


def claim(
    run: Path,
    experiment: Experiment,
    origin: Callable[[], Provenance],
    *,
    resume: bool,
    overwrite: bool,
) -> RunState:
    """Make `run` ready for training `experiment`, and say how far it had come.

    Args:
        run: the directory, locked.
        experiment: what to train there.
        origin: says what a run that begins now is made from and with; not asked where one is gone on with.
        resume: go on with a run that is there.
        overwrite: remove a run that is there.

    Raises:
        UserError: it is not free (`require_free`).
        ConfigError: resuming, but the run was started with another experiment.
    """
    state = require_free(run, resume=resume, overwrite=overwrite)
    if state is RunState.EMPTY or overwrite:
        made_from = origin()  # Before anything is removed: what it is made from may not be there.
        if state is not RunState.EMPTY:
            _clear(run)
        state = RunState.EMPTY
        write_json(run / PROVENANCE, made_from.model_dump(mode="json"))
        experiment_file.write_experiment(run / experiment_file.FILE_NAME, experiment)
    else:
        refuse_another(run, experiment)
    return state


def read_experiment(run: Path) -> Experiment:
    """The experiment of a run, of whatever family.

    Raises:
        DataError: not a run directory.
    """
    return experiment_file.load_experiment(experiment_to_resume(run))


_Family = TypeVar("_Family", bound=Experiment)


def read_experiment_of(family: type[_Family], run: Path) -> _Family:
    """The experiment of a run of one family.

    Raises:
        DataError: not a run directory, or a run of another family.
    """
    experiment = read_experiment(run)
    if not isinstance(experiment, family):
        raise DataError(
            f"is a run of {experiment.system.name}, which this cannot be done with",
            where=run,
            hint=f"Name a run of one of {', '.join(family.SYSTEMS)}.",
        )
    return experiment


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
    """Read RUN/metrics.json, in the form of the run's family.

    Raises:
        DataError: the run is not finished, or the file is damaged.
    """
    path = run / METRICS
    if not path.is_file():
        raise DataError(f"holds no finished run (no {METRICS})", where=run, hint="Go on with --resume.")
    return read_json_record(
        metrics_of(read_experiment(run)),
        path,
        "the metrics of a run",
        hint="Restore it from a copy, or delete it and write it anew with --resume.",
    )


def locked(run: Path) -> AbstractContextManager[None]:
    """Keep every other training out of `run`; the lock goes with the process, however it ends.

    Raises:
        UserError: another process is training there, or the directory cannot be written.
    """
    return locked_folder(run, "is being trained by another process")


def refuse_another(run: Path, experiment: Experiment) -> None:
    """Refuse to go on with a run that was started with another experiment.

    Raises:
        ConfigError: it was.
    """
    fields = experiment_file.differing_fields(read_experiment(run), experiment)
    if fields:
        raise ConfigError(
            f"was started with another experiment (different: {', '.join(fields)})",
            where=run,
            hint="Leave these options out to go on with it, or name another --out.",
        )


def _written(run: Path) -> list[Path]:
    """The files of a run that are there, those that make it a run last, and the folders they lie in."""
    checkpoint_folder, event_folder = run / DIRECTORY, run / TENSORBOARD
    files = [run / METRICS, run / deployment.FILE_NAME]
    files += [run / name for name in sorted(graph_files())]
    files += [checkpoint_folder / BEST, checkpoint_folder / LAST]
    files += [checkpoint_folder / SECONDS, *(checkpoint_folder / name for name in STEPS)]
    files += [event_folder / _HYPERPARAMETERS, *sorted(event_folder.glob(_EVENT_FILES))]
    files += [checkpoint_folder, event_folder, run / experiment_file.FILE_NAME, run / PROVENANCE]
    return [path for path in files if os.path.lexists(path)]


def _refuse_links(run: Path) -> None:
    linked = next((path for path in _written(run) if path.is_symlink()), None)
    if linked is not None:
        raise _linked(linked)


def _linked(path: Path) -> UserError:
    return UserError(
        "is a link, and a run is written into its own directory alone",
        where=path,
        hint="Replace it by what it leads to, or name another --out.",
    )


def _clear(run: Path) -> None:
    """Remove what a run writes and what was told of it, nothing else; a folder with more in it stays."""
    for name in _TOLD_OF_IT:
        (run / name).unlink(missing_ok=True)
    for path in _written(run):
        if path.is_dir():
            with suppress(OSError):
                path.rmdir()
        else:
            path.unlink(missing_ok=True)
