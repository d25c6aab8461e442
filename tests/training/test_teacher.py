"""Distillation: a pupil learns what another run votes, beside the labels."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nsc_deploy.data import EventData, load_events
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.batches import Samples, stream, to_signal
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.module import distillation_loss
from nsc_deploy.training.run import RunResult, train
from nsc_deploy.training.start import load_system

Make = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def teacher(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    overrides = small_experiment(training__epochs=10, training__learning_rate=1e-2)
    return train(load_experiment(None, overrides), tmp_path_factory.mktemp("runs") / "fc", progress=False)


def pupil(small_experiment: Make, out: Path, **changes: object) -> RunResult:
    settings: dict[str, object] = {"system__name": "att-neurosc", "training__spike_rate_weight": 0.0}
    return train(load_experiment(None, small_experiment(**settings | changes)), out, progress=False)


def votes(run: Path, data: EventData) -> torch.Tensor:
    (events, _), *_ = Samples(data.test).in_order(100)
    with torch.no_grad():
        output = load_system(run, data)(to_signal(events), stream(0, "votes"))
    return output.votes


def test_the_loss_compares_means_over_time_of_however_many_steps() -> None:
    ours = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]])
    taught = torch.tensor([[[0.5, 0.0]]])
    assert distillation_loss(ours, taught) == pytest.approx((0.0 + 1.0) / 2)


def test_a_pupil_votes_more_like_its_teacher_than_one_without(
    teacher: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    alone = pupil(small_experiment, tmp_path / "alone", training__epochs=6)
    taught = pupil(
        small_experiment,
        tmp_path / "taught",
        training__epochs=6,
        training__teacher=str(teacher.run),
        training__teacher_weight=20.0,
    )
    data = load_events(teacher.experiment.data)
    wanted = votes(teacher.run, data)
    far, near = (distillation_loss(votes(one.run, data), wanted) for one in (alone, taught))
    assert near < 0.9 * far
    names = read_tensors(taught.run / "checkpoints" / "best.safetensors")[0].keys()
    assert names == read_tensors(alone.run / "checkpoints" / "best.safetensors")[0].keys()


def test_a_teacher_of_other_data_is_refused(
    teacher: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"other data \(different: data.encoding.steps\)"):
        pupil(
            small_experiment,
            tmp_path / "run",
            data__encoding__steps=4,
            training__teacher=str(teacher.run),
        )
    assert not (tmp_path / "run").exists()


def test_a_teacher_that_saw_the_validation_part_is_refused(
    teacher: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="validation part was cut with another seed"):
        pupil(small_experiment, tmp_path / "run", training__seed=4, training__teacher=str(teacher.run))


def test_a_teacher_that_is_not_there_is_refused(small_experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no run"):
        pupil(small_experiment, tmp_path / "run", training__teacher=str(tmp_path / "nobody"))
