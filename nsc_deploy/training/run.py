"""From an experiment to a finished run directory."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nsc_deploy.config import Experiment, TrainingConfig
from nsc_deploy.data import EventData, load_events
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError
from nsc_deploy.experiment_file import FILE_NAME
from nsc_deploy.io.files import require_writable
from nsc_deploy.models.export import balanced, write_calibration, write_run_graphs
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.fit import fit, reproducible, training_and_validation
from nsc_deploy.training.processes import Job, node_rank, workers_beside
from nsc_deploy.training.record import TrainingRecord
from nsc_deploy.training.run_directory import (
    RunMetrics,
    RunState,
    claim,
    locked,
    provenance,
    read_experiment,
    read_metrics,
    state_of,
    write_metrics,
)
from nsc_deploy.training.start import finished_system, require_same_samples, require_start
from nsc_deploy.training.sweep import Measurement, channel_uses, measure


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
    require_start(experiment, out, resume=resume)
    require_writable(out / FILE_NAME)
    data = load_events(experiment.data, progress=progress)
    with locked(out):
        origin = provenance(data, experiment.training.start_from)
        require_same_samples(experiment, origin.data_sha256)
        state = claim(out, experiment, origin, resume=resume, overwrite=overwrite)
        if state is RunState.FINISHED:
            return RunResult(out, experiment, read_metrics(out))
        record = _fit(experiment, data, out, resume=resume, progress=progress)
        return RunResult(out, experiment, finish(experiment, data, out, record))


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
    experiment = with_threads(experiment)
    _fit(experiment, load_events(experiment.data), out, resume=not overwrite, progress=False)


def with_threads(experiment: Experiment, resumed: Path | None = None) -> Experiment:
    """The experiment with its number of threads filled in: the resumed run's, else this machine's share."""
    config = experiment.training
    if config.threads:
        return experiment
    threads = max(1, torch.get_num_threads() // config.devices)
    if resumed is not None and state_of(resumed) is not RunState.EMPTY:
        threads = read_experiment(resumed).training.threads
    return experiment.model_copy(update={"training": config.model_copy(update={"threads": threads})})


def _fit(
    experiment: Experiment, data: EventData, out: Path, *, resume: bool, progress: bool
) -> TrainingRecord:
    config = experiment.training
    _check_size(config, len(data.train.labels))
    job = Job(experiment=experiment, resume=resume)
    with workers_beside(job.model_dump_json(), out.absolute(), config.devices, config.nodes):
        return fit(experiment, data, out, resume=resume, progress=progress)


def _check_size(config: TrainingConfig, samples: int) -> None:
    processes = config.devices * config.nodes
    if samples * (1 - config.validation_fraction) < 2 * processes:
        raise ConfigError(f"too few for {processes} processes", where=f"training set of {samples} samples")


def finish(experiment: Experiment, data: EventData, run: Path, record: TrainingRecord) -> RunMetrics:
    """Evaluate the best weights, snapped to their grid, and write graphs, recordings and metrics.

    Everything here is a function of the best weights and is written file by file, metrics.json last:
    an interrupted `finish` is simply done again.
    """
    system, seed = finished_system(experiment, data, run), experiment.training.seed
    training, validation = training_and_validation(data, experiment)
    with reproducible(experiment.training.threads):
        on_training = measure(system, training, seed, "training accuracy")
        on_validation = measure(system, validation, seed, "validation") if validation else None
        on_test = measure(system, data.test, seed)
        write_run_graphs(system, run, data, experiment, on_test.accuracy, stream(seed, "test"))
        record_calibration(experiment, data, run, system)
    parameters = sum(parameter.numel() for parameter in system.parameters())
    metrics = _metrics(experiment, data, record, on_training, on_validation, on_test, parameters)
    write_metrics(run, metrics)
    return metrics


def _metrics(
    experiment: Experiment,
    data: EventData,
    record: TrainingRecord,
    on_training: Measurement,
    on_validation: Measurement | None,
    on_test: Measurement,
    parameters: int,
) -> RunMetrics:
    system, uses, steps = experiment.system, channel_uses(experiment), data.test.steps
    return RunMetrics(
        system=system.name,
        receiver=system.receiver if system.name == "att-neurosc" else None,
        framework=experiment.training.framework,
        dataset=experiment.data.dataset,
        channel=experiment.channel.kind,
        snr_db=experiment.channel.snr_db,
        snr_to_db=experiment.channel.snr_to_db,
        train_accuracy=on_training.accuracy,
        validation_accuracy=on_validation.accuracy if on_validation else None,
        test_accuracy=on_test.accuracy,
        train_spike_rate=on_training.spike_rate,
        validation_spike_rate=on_validation.spike_rate if on_validation else None,
        test_spike_rate=on_test.spike_rate,
        spikes_per_sample=on_test.spikes_per_sample,
        steps=steps,
        channel_uses_per_step=uses.per_step,
        channel_uses=uses.per_step * steps,
        parameters=parameters,
        epochs=len(record.epochs),
        best_epoch=record.best.epoch if record.best else 0,
        stopped_early=record.stopped and len(record.epochs) < experiment.training.epochs,
        training_seconds=sum(epoch.seconds for epoch in record.epochs),
        history=tuple(record.epochs),
    )


SAMPLES = 200
"""Samples recorded: a few of every class settle a scale, which is one of ten candidates."""
_PURPOSE = "calibration"


def record_calibration(experiment: Experiment, data: EventData, run: Path, system: System) -> None:
    """Record samples of the training part (never of validation or test) for every chip part.

    Raises:
        GraphError: the graphs of the run do not belong to the weights.
        UserError: the run directory cannot be written.
    """
    seed = experiment.training.seed
    training, _ = training_and_validation(data, experiment)
    chosen = balanced(training, SAMPLES, stream_seed(seed, _PURPOSE, 0))
    write_calibration(system, run, read_deployment(run), chosen, stream(seed, _PURPOSE, 1))
