"""The calibration recordings of a run: a function of its best weights and its seed."""

from pathlib import Path

from nsc_deploy.config import Experiment
from nsc_deploy.data import EventData
from nsc_deploy.deployment import read_deployment
from nsc_deploy.models.export import balanced, write_calibration
from nsc_deploy.models.system import System
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.fit import training_and_validation

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
