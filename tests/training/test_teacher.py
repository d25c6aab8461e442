"""Distillation: a pupil learns what another run votes, beside the labels."""

from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree

import pytest
import torch

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.data import EventData, load_events
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.batches import Samples, stream, to_signal
from nsc_deploy.training.checkpoints import read_tensors, write_tensors
from nsc_deploy.training.module import distillation_loss
from nsc_deploy.training.run import RunResult, take_part, train
from nsc_deploy.training.start import load_system

Make = Callable[..., dict[str, object]]
FROM_RUNS = {"teacher": "teacher", "start": "start_from"}


def command(*arguments: object) -> int:
    return run_to_exit_code(lambda: app([*map(str, arguments)], prog_name="nsc-deploy"))


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


def test_a_finished_run_needs_neither_teacher_nor_start_nor_data(
    teacher: RunResult, small_experiment: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("teacher", "start"):
        copytree(teacher.run, tmp_path / name)
    changes = {"system__name": "fc", "training__epochs": 1, "training__learning_rate": 1e-2}
    runs = {f"training__{key}": str(tmp_path / name) for name, key in FROM_RUNS.items()}
    taught = pupil(small_experiment, tmp_path / "run", **changes, **runs)
    for name in FROM_RUNS:
        rmtree(tmp_path / name)
    assert train(taught.experiment, taught.run, resume=True, progress=False) == taught
    elsewhere = taught.experiment.data.model_copy(update={"path": tmp_path / "gone.npz"})
    with pytest.raises(ConfigError, match=r"another experiment \(different: data.path\)"):
        train(
            taught.experiment.model_copy(update={"data": elsewhere}),
            taught.run,
            resume=True,
            progress=False,
        )
    take_part(taught.experiment, taught.run)
    assert command("train", "--resume", "--out", taught.run) == 0
    told = capsys.readouterr()
    assert "is finished: nothing was left to train" in " ".join(told.err.split())
    assert "test accuracy" in told.out
    # All epochs are done: what is written of the best weights takes no teacher either.
    (taught.run / "metrics.json").unlink()
    again = train(taught.experiment, taught.run, resume=True, progress=False)
    assert again.metrics.test_accuracy == taught.metrics.test_accuracy
    (taught.run / "metrics.json").unlink()
    (taught.run / "checkpoints" / "last.safetensors").unlink()
    # With no epoch kept it begins again, for which it needs both.
    assert command("train", "--resume", "--out", taught.run, "--quiet") == 2
    assert str(tmp_path / "start") in capsys.readouterr().err
    copytree(teacher.run, tmp_path / "start")
    assert command("train", "--resume", "--out", taught.run, "--quiet") == 2
    assert "training.teacher" in capsys.readouterr().err


def test_a_run_that_is_gone_on_with_needs_its_start_no_more(
    teacher: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    copytree(teacher.run, tmp_path / "start")
    changes = {"system__name": "fc", "training__epochs": 1, "training__start_from": str(tmp_path / "start")}
    run = pupil(small_experiment, tmp_path / "run", **changes)
    rmtree(tmp_path / "start")
    (run.run / "metrics.json").unlink()
    again = train(run.experiment, run.run, resume=True, progress=False)
    assert again.metrics.test_accuracy == run.metrics.test_accuracy


def test_a_pupil_that_has_begun_does_not_go_on_with_another_teacher(
    teacher: RunResult, small_experiment: Make, tmp_path: Path
) -> None:
    copytree(teacher.run, tmp_path / "teacher")
    changes = {"system__name": "fc", "training__epochs": 1, "training__teacher": str(tmp_path / "teacher")}
    taught = pupil(small_experiment, tmp_path / "run", **changes)
    for lost in ("metrics.json", "checkpoints/last.safetensors"):
        (taught.run / lost).unlink()
    best = tmp_path / "teacher" / "checkpoints" / "best.safetensors"
    whole = best.read_bytes()
    write_tensors(best, {name: weights + 1 for name, weights in read_tensors(best)[0].items()}, {})
    with pytest.raises(DataError, match=r"teacher: has other weights than .*run began with"):
        train(taught.experiment, taught.run, resume=True, progress=False)
    best.write_bytes(whole)
    assert train(taught.experiment, taught.run, resume=True, progress=False).metrics.epochs == 1
