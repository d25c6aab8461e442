"""From an experiment to a finished run directory, whatever its family."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from nsc_deploy.config.families import Experiment
from nsc_deploy.config.features import BackboneExperiment, FeaturesExperiment
from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import FILE_NAME
from nsc_deploy.io.files import is_locked, require_writable
from nsc_deploy.training.family import Training
from nsc_deploy.training.metrics import RunMetrics
from nsc_deploy.training.processes import node_rank
from nsc_deploy.training.run_directory import (
    RunState,
    claim,
    locked,
    provenance,
    read_experiment,
    read_metrics,
    refuse_another,
    require_free,
    require_same_data,
    state_of,
    write_metrics,
)


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        run: its directory.
        experiment: what was trained, with every default and the number of threads filled in.
        metrics: what it reached.
    """

    run: Path
    experiment: Experiment
    metrics: RunMetrics


def train(
    experiment: Experiment, out: Path, *, resume: bool = False, overwrite: bool = False, progress: bool = True
) -> RunResult:
    """Train an experiment, export what was trained, and write the run directory.

    A run that was killed at any moment goes on with `resume` and ends with the same weights, bit for
    bit, as one that was never interrupted (on the same machine and number of threads). Of a run on
    several machines, this is for the first; the others call `take_part`.

    Args:
        experiment: what to train.
        out: the run directory.
        resume: go on with an unfinished run; begin if there is none; return a finished one.
        overwrite: remove the run that is there and begin anew.
        progress: show progress bars on stderr.

    Raises:
        ConfigError: the experiment does not fit the data or the run being resumed.
        DataError: the data set is missing or damaged, or the state to resume from is.
        UserError: the run exists, is being trained, cannot be written, or training diverged.
    """
    if resume and overwrite:
        raise ConfigError("cannot be combined", where="--resume, --overwrite")
    _require_plain_path(out)
    experiment = with_threads(experiment, out if resume else None)
    if resume and state_of(out) is not RunState.EMPTY:
        refuse_another(out, experiment)  # Else the runs that it is made from would seem to be the matter.
    if resume and state_of(out) is RunState.FINISHED:
        # Nothing is read but the run: its data, and the runs it was made from, may be gone by now.
        with locked(out):
            return RunResult(out, experiment, read_metrics(out))
    training = _training(experiment)
    training.check(out, resume=resume)
    if not is_locked(out):  # Before any work, and asked again once it is this training's own.
        require_free(out, resume=resume, overwrite=overwrite)
    require_writable(out / FILE_NAME)
    data_sha256 = training.load(progress=progress)
    with locked(out):
        origin = partial(
            provenance,
            data_sha256,
            training.starts_from,
            training.teacher,
            starts_with=training.starts_with,
        )
        state = claim(out, experiment, origin, resume=resume, overwrite=overwrite)
        if state is RunState.FINISHED:
            return RunResult(out, experiment, read_metrics(out))
        if state is RunState.UNFINISHED:
            require_same_data(out, data_sha256)
        metrics = training.run(out, resume=resume, progress=progress)
        write_metrics(out, metrics)
        return RunResult(out, experiment, metrics)


def _training(experiment: Experiment) -> Training:
    """How an experiment is trained, by its family."""
    if isinstance(experiment, BackboneExperiment):
        from nsc_deploy.training.features.backbone import BackboneTraining

        return BackboneTraining(experiment)
    if isinstance(experiment, MemoryExperiment):
        from nsc_deploy.training.memory.training import MemoryTraining

        return MemoryTraining(experiment)
    if isinstance(experiment, FeaturesExperiment):
        from nsc_deploy.training.features.training import CodecTraining

        return CodecTraining(experiment)
    from nsc_deploy.training.speech import SpeechTraining

    return SpeechTraining(experiment)


def _require_plain_path(out: Path) -> None:
    if "::" in str(out.absolute()):  # TensorBoard's writer takes what stands before for a protocol
        raise ConfigError("holds '::'", where=out, hint="Name another --out.")


def is_first_machine(experiment: Experiment) -> bool:
    """Whether this machine is the one that writes the run, which it is unless NODE_RANK says otherwise."""
    return experiment.training.nodes == 1 or node_rank() == 0


def take_part(experiment: Experiment, out: Path, *, overwrite: bool = False) -> None:
    """Train together with the first machine of a run on several, which does everything else.

    Args:
        experiment: the same as there.
        out: the same directory, on a file system that all machines share.
        overwrite: the first machine begins anew.

    Raises:
        UserError: as `train`.
    """
    if not overwrite and state_of(out) is RunState.FINISHED:
        return
    training = _training(with_threads(experiment))
    training.check(out, resume=not overwrite)
    training.load(progress=False)
    training.take_part(out, resume=not overwrite)


def with_threads(experiment: Experiment, resumed: Path | None = None) -> Experiment:
    """The experiment with its number of threads filled in: the resumed run's, else this machine's share."""
    config = experiment.training
    if config.threads:
        return experiment
    threads = max(1, torch.get_num_threads() // config.devices)
    if resumed is not None and state_of(resumed) is not RunState.EMPTY:
        threads = read_experiment(resumed).training.threads
    return experiment.model_copy(update={"training": config.model_copy(update={"threads": threads})})
