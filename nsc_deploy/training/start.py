"""The weights of a system: before training from the seed or another run, afterwards the best."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nsc_deploy.config.speech import SpeechExperiment, TrainingConfig
from nsc_deploy.config.unused import NO_WARM_UP_DB
from nsc_deploy.data import EventData
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import differing_fields
from nsc_deploy.models.system import System, build_system, round_decays, round_weights
from nsc_deploy.training.batches import stream_seed
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, LAST, read_tensors, weights_sha256
from nsc_deploy.training.run_directory import (
    RunState,
    read_experiment,
    read_experiment_of,
    read_provenance,
    require_same_data,
    state_of,
)

FINE_TUNING_EPOCHS = 10
FINE_TUNING_RATE = 0.25
"""Fine-tuning begins at this part of the learning rate of the run it starts from."""


def fine_tuning(run: Path) -> dict[str, object]:
    """What an experiment that goes on from a run changes in the run's own, by dotted name.

    Fewer epochs, a smaller learning rate, and no warm-up of anything: the weights have learnt that. What the
    run has cut is cut from the first epoch on, for little by little it would grow back first. The validation
    part stays that of the run, also with another seed: all other samples have been trained on.

    Raises:
        DataError: no run, or not a finished one.
    """
    require_finished(run, "--from")
    before = read_experiment_of(SpeechExperiment, run).training
    cut_at_once = {"training.cut_until": 0.0} if before.sparsity else {}
    return cut_at_once | {
        "training.start_from": str(run.resolve()),
        "training.epochs": FINE_TUNING_EPOCHS,
        "training.learning_rate": FINE_TUNING_RATE * before.learning_rate,
        "training.validation_seed": before.split_seed,
        "training.snr_start_db": NO_WARM_UP_DB,
        "training.spike_rate_warmup": 0.0,
        "training.warmup_epochs": 0.0,
    }


def was_started_from(run: Path, start: Path) -> bool:
    """Whether the experiment in a directory goes on from another run, which does not have to be there.

    Raises:
        ConfigError: the experiment is damaged.
        DataError: there is none.
    """
    experiment = read_experiment(run)
    if not isinstance(experiment, SpeechExperiment) or experiment.training.start_from is None:
        return False
    return Path(experiment.training.start_from).resolve() == start.resolve()


def require_finished(run: Path, option: str) -> None:
    """Refuse what is no finished run.

    Raises:
        DataError: it is not.
    """
    state = state_of(run)
    if state is RunState.UNFINISHED:
        hint = f"Go on with it first: nsc-deploy train --resume --out {run}"
        raise DataError("holds a run that is not finished", where=run, hint=hint)
    if state is RunState.EMPTY:
        raise DataError("holds no run", where=run, hint=f"Name a finished run with {option}.")


def require_another(run: Path, out: Path, option: str) -> None:
    """Refuse to write a run over the one that it is made from, which `--overwrite` would remove.

    Raises:
        ConfigError: both are the same directory.
    """
    if run.resolve() == out.resolve():
        raise ConfigError(f"is the run that {option} names", where=out, hint="Name another --out.")


def require_start(experiment: SpeechExperiment, out: Path, *, begun: bool, trained: bool) -> None:
    """Check, before anything is written, that the runs an experiment needs are there and fit it.

    That it starts from has its system and data set, its teacher its data set.

    Args:
        experiment: what to train.
        out: the run directory.
        begun: whether the run is gone on with, for which that it started from is not needed any more once
            the first epoch is kept.
        trained: whether it has been through all its epochs, for which its teacher is not either.

    Raises:
        ConfigError: one does not fit, is the directory to write, or was trained on samples of the validation
            part.
        DataError: one is no finished run, or has other weights than when this run began.
    """
    start, teacher = experiment.training.start_from, experiment.training.teacher
    if start is not None and not begun:
        _require_run(start, experiment, out, "--from", _OF_A_START)
    elif start is not None and not (out / DIRECTORY / LAST).is_file():
        # Before its first epoch is kept, a run begins again with the weights that it starts from.
        require_same_weights(Path(start), out, read_provenance(out).start_sha256)
    if teacher is not None and not trained:
        _require_run(teacher, experiment, out, "training.teacher", _OF_A_TEACHER)
        if begun:
            require_same_weights(Path(teacher), out, read_provenance(out).teacher_sha256)


def require_same_weights(run: Path, out: Path, begun_with: str | None, name: str = BEST) -> None:
    """Refuse to go on with a run that was made from other weights than another run has now.

    Args:
        run: that other run.
        out: the run directory.
        begun_with: the digest that it keeps of those weights, if any.
        name: of the file they are in.

    Raises:
        DataError: they are others, or are not there.
    """
    if begun_with is not None and begun_with != weights_sha256(run, name):
        raise DataError(
            f"has other weights than {out} began with",
            where=run,
            hint="Restore that run, or train anew with --overwrite.",
        )


@dataclass(frozen=True)
class _Sameness:
    """What another run must have in common with an experiment: tables, and how that is said."""

    tables: tuple[str, ...]
    problem: str
    hint: str


_OF_A_START = _Sameness(
    ("system.", "data."),
    "was trained with another system or data set",
    "Leave these options out: its weights fit its own system only.",
)
_OF_A_TEACHER = _Sameness(
    ("data.",), "was trained on other data", "A teacher sees what its pupil sees: leave these options out."
)


def _require_run(run: str, experiment: SpeechExperiment, out: Path, option: str, same: _Sameness) -> None:
    require_finished(Path(run), option)
    require_another(Path(run), out, option)
    before = read_experiment_of(SpeechExperiment, Path(run))
    wrong = [name for name in differing_fields(before, experiment) if name.startswith(same.tables)]
    if wrong:
        raise ConfigError(f"{same.problem} (different: {', '.join(wrong)})", where=run, hint=same.hint)
    _require_unseen_validation(before.training, experiment.training, run)


def _require_unseen_validation(before: TrainingConfig, now: TrainingConfig, start: str) -> None:
    """Of the same seed, the validation part of a smaller fraction lies within that of a larger one."""
    most = before.validation_fraction
    if now.validation_fraction == 0:
        return
    if most == 0:
        what, hint = "it kept none apart", "Choose --validation-fraction 0: the last epoch is kept."
    elif now.split_seed != before.split_seed:
        what = "its validation part was cut with another seed"
        hint = f"Choose --set training.validation_seed={before.split_seed}, or --validation-fraction 0."
    elif now.validation_fraction > most:
        what = f"its validation part was {most:g} of each class"
        hint = f"Choose a --validation-fraction of {most:g} at most."
    else:
        return
    raise ConfigError(f"was trained on samples of the validation part ({what})", where=start, hint=hint)


_WITHOUT_IT = "Give the data set as it was, or train anew without this run."


def require_same_samples(
    experiment: SpeechExperiment, data_sha256: str, *, begun: bool, trained: bool
) -> None:
    """Refuse to go on from a run whose data set held other samples: those it was trained on may judge now.

    Args:
        experiment: what is trained.
        data_sha256: of the samples the data set holds now.
        begun: as for `require_start`.
        trained: likewise.

    Raises:
        DataError: the run that the experiment starts from, or its teacher, was trained on other samples.
    """
    config = experiment.training
    for run in (None if begun else config.start_from, None if trained else config.teacher):
        if run is not None:
            require_same_data(Path(run), data_sha256, hint=_WITHOUT_IT)


def new_system(experiment: SpeechExperiment, data: EventData) -> System:
    """An untrained system for a data set, its weights drawn from the experiment's seed."""
    torch.manual_seed(stream_seed(experiment.training.seed, "weights"))
    return build_system(
        experiment.system,
        experiment.channel,
        data.train.channels,
        data.classes,
        experiment.training.framework,
        data.train.steps,
    )


def starting_system(experiment: SpeechExperiment, data: EventData) -> System:
    """A system as training begins: new, or with the best weights of the run it starts from.

    Where weights are rounded in training, its decays are rounded already.

    Raises:
        ConfigError: decays that would be rounded to none.
        DataError: the weights to start from are missing, damaged or of another shape.
    """
    system, start = new_system(experiment, data), experiment.training.start_from
    if start is not None:
        system.load_state_dict(load_system(Path(start), data).state_dict())
    if experiment.weight_bits is not None:
        round_decays(system)
    return system


def load_system(run: Path, data: EventData) -> System:
    """The trained system of a run directory, on the data set of that run.

    Raises:
        DataError: no run, the data set holds other samples than in its training, or its weights are missing,
            damaged or of another shape.
    """
    experiment = read_experiment_of(SpeechExperiment, run)
    require_same_data(run, data.sha256())
    return finished_system(experiment, data, run)


def finished_system(experiment: SpeechExperiment, data: EventData, run: Path) -> System:
    """The trained system of a run: its best weights, rounded if they were in training, and on their grids.

    Raises:
        DataError: the weights are missing, damaged or of another shape.
    """
    system, path = new_system(experiment, data), run / DIRECTORY / BEST
    weights, _ = read_tensors(path)
    try:
        system.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())
        raise DataError(
            f"does not fit the run's experiment ({detail})",
            where=path,
            hint="Another version of nsc-deploy may have trained it (see provenance.json): use that one, "
            "or train anew with --overwrite.",
        ) from error
    if experiment.weight_bits is not None:
        round_weights(system, experiment.weight_bits)
    system.finish()
    system.eval()
    return system
