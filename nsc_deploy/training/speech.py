"""Training of speech receivers with their transmitters."""

from pathlib import Path

from nsc_deploy.config.speech import SpeechExperiment, TrainingConfig
from nsc_deploy.data import EventData, load_events
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.export import balanced, write_calibration, write_run_graphs
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.family import Training
from nsc_deploy.training.fit import fit, is_trained, reproducible, training_and_validation
from nsc_deploy.training.metrics import SpeechMetrics
from nsc_deploy.training.processes import Job, workers_beside
from nsc_deploy.training.record import TrainingRecord
from nsc_deploy.training.run_directory import RunState, state_of
from nsc_deploy.training.start import finished_system, require_same_samples, require_start
from nsc_deploy.training.sweep import ChannelUses, Measurement, channel_uses, measure


class SpeechTraining(Training):
    """The training of a transmitter and a speech receiver, on one machine or data-parallel on several."""

    def __init__(self, experiment: SpeechExperiment) -> None:
        self._experiment = experiment
        self._data: EventData | None = None
        self._begun = self._trained = False
        self.starts_from = experiment.training.start_from
        self.teacher = experiment.training.teacher

    def check(self, out: Path, *, resume: bool) -> None:
        """Refuse a run to start from that is of another system or not finished."""
        self._begun = resume and state_of(out) is not RunState.EMPTY
        self._trained = self._begun and is_trained(self._experiment, out)
        require_start(self._experiment, out, begun=self._begun, trained=self._trained)

    def load(self, *, progress: bool) -> str:
        """Load and encode the utterances."""
        self._data = load_events(self._experiment.data, progress=progress)
        digest = self._data.sha256()
        require_same_samples(self._experiment, digest, begun=self._begun, trained=self._trained)
        return digest

    def run(self, out: Path, *, resume: bool, progress: bool) -> SpeechMetrics:
        """Train, then write graphs and recordings of the best weights."""
        record = _fit(self._experiment, self._loaded, out, resume=resume, progress=progress)
        return finish(self._experiment, self._loaded, out, record)

    def take_part(self, out: Path, *, resume: bool) -> None:
        """Train together with the first machine."""
        _fit(self._experiment, self._loaded, out, resume=resume, progress=False)

    @property
    def _loaded(self) -> EventData:
        if self._data is None:
            raise RuntimeError("training began before its data was loaded")
        return self._data


def _fit(
    experiment: SpeechExperiment, data: EventData, out: Path, *, resume: bool, progress: bool
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


def finish(experiment: SpeechExperiment, data: EventData, run: Path, record: TrainingRecord) -> SpeechMetrics:
    """Evaluate the best weights, snapped to their grid, and write graphs and recordings.

    Everything here is a function of the best weights and is written file by file: an interrupted `finish`
    is simply done again.
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
    uses = channel_uses(experiment, system, data.test)
    return _metrics(experiment, data, record, on_training, on_validation, on_test, parameters, uses)


def _metrics(
    experiment: SpeechExperiment,
    data: EventData,
    record: TrainingRecord,
    on_training: Measurement,
    on_validation: Measurement | None,
    on_test: Measurement,
    parameters: int,
    uses: ChannelUses,
) -> SpeechMetrics:
    system, steps = experiment.system, data.test.steps
    sent = 1 if system.name.at_once else steps
    return SpeechMetrics(
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
        channel_uses=uses.per_step * sent,
        lost=on_test.lost,
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


def record_calibration(experiment: SpeechExperiment, data: EventData, run: Path, system: System) -> None:
    """Record samples of the training part (never of validation or test) for every part with scales to choose.

    Raises:
        GraphError: the graphs of the run do not belong to the weights.
        UserError: the run directory cannot be written.
    """
    seed = experiment.training.seed
    training, _ = training_and_validation(data, experiment)
    chosen = balanced(training, SAMPLES, stream_seed(seed, _PURPOSE, 0))
    write_calibration(system, run, read_deployment(run), chosen, stream(seed, _PURPOSE, 1))
