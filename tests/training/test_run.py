import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.data import load_events
from nsc_deploy.deployment import read_deployment
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.run import RunResult, train
from nsc_deploy.training.run_directory import locked, read_metrics
from nsc_deploy.training.start import load_system
from nsc_deploy.training.sweep import measure

Make = Callable[..., dict[str, object]]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "checkpoints" / "best.safetensors")[0]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def finished(small_experiment: Make, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    experiment = load_experiment(None, small_experiment(training__epochs=20, training__learning_rate=1e-2))
    return train(experiment, tmp_path_factory.mktemp("runs") / "run", progress=False)


def test_a_run_learns_and_reports_it(finished: RunResult) -> None:
    metrics = finished.metrics
    assert metrics == read_metrics(finished.run)
    assert metrics.test_accuracy > 0.5  # ten classes: chance is 0.1
    assert metrics.history[-1].train_loss < metrics.history[0].train_loss
    assert (metrics.epochs, len(metrics.history), metrics.stopped_early) == (20, 20, False)
    assert metrics.channel_uses == 16 * 16 * 8  # symbols, bits of a half-precision value, steps
    assert metrics.test_spike_rate is None


def test_a_run_directory_holds_what_it_takes_to_repeat_it(finished: RunResult) -> None:
    run = finished.run
    assert load_experiment(run / "experiment.toml") == finished.experiment
    assert tomllib.loads((run / "experiment.toml").read_text())["training"]["threads"] == 1
    provenance = json.loads((run / "provenance.json").read_text())
    assert torch.__version__.startswith(provenance["packages"]["torch"])
    assert provenance["command"]
    assert len(provenance["data_sha256"]) == 64
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert read_deployment(run).test_accuracy == finished.metrics.test_accuracy
    assert not list(run.rglob("*.ckpt"))


def test_the_same_experiment_gives_the_same_weights(finished: RunResult, tmp_path: Path) -> None:
    again = train(finished.experiment, tmp_path / "again", progress=False)
    assert equal(weights(again.run), weights(finished.run))
    assert again.metrics.test_accuracy == finished.metrics.test_accuracy


def test_products_in_bfloat16_train_other_weights_that_are_measured_in_float32(
    small_experiment: Make, tmp_path: Path
) -> None:
    runs = [
        train(
            load_experiment(
                None,
                small_experiment(
                    system__name="att-neurosc", training__epochs=1, training__precision=precision
                ),
            ),
            tmp_path / precision,
            progress=False,
        )
        for precision in ("fp32", "bf16")
    ]
    exact, rough = (weights(run.run) for run in runs)
    assert {tensor.dtype for tensor in rough.values()} == {tensor.dtype for tensor in exact.values()}
    assert not equal(exact, rough)
    # The first steps differ by the rounding of products alone.
    assert all(torch.allclose(rough[name], exact[name], atol=0.05) for name in exact)
    data = load_events(runs[1].experiment.data)
    rerun = measure(load_system(tmp_path / "bf16", data), data.test, 3)
    assert rerun.accuracy == runs[1].metrics.test_accuracy


def test_another_seed_gives_other_weights(small_experiment: Make, tmp_path: Path) -> None:
    runs = [
        train(
            load_experiment(None, small_experiment(training__epochs=1, training__seed=seed)),
            tmp_path / str(seed),
            progress=False,
        )
        for seed in (1, 2)
    ]
    assert not equal(weights(runs[0].run), weights(runs[1].run))


def test_the_best_epoch_is_kept(finished: RunResult) -> None:
    history = finished.metrics.history
    ranked = max(history, key=lambda epoch: (epoch.validation_accuracy, -(epoch.validation_loss or 0)))
    assert finished.metrics.best_epoch == ranked.epoch
    assert read_tensors(finished.run / "checkpoints" / "best.safetensors")[1]["epoch"] == ranked.epoch


def test_the_reported_accuracy_is_that_of_the_reloaded_system(finished: RunResult) -> None:
    data = load_events(finished.experiment.data)
    system = load_system(finished.run, data)
    measured = measure(system, data.test, finished.experiment.training.seed)
    assert measured.accuracy == finished.metrics.test_accuracy
    assert measured.accuracy_after[-1] == measured.accuracy
    assert measured.decisions.shape == (8, 100)


def test_patience_stops_early(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(training__epochs=30, training__patience=2, training__learning_rate=1e-9)
    metrics = train(load_experiment(None, overrides), tmp_path / "run", progress=False).metrics
    assert metrics.stopped_early
    assert metrics.epochs == metrics.best_epoch + 1 + 2 < 30


def test_without_validation_the_last_epoch_is_kept(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(training__validation_fraction=0.0, training__epochs=2)
    metrics = train(load_experiment(None, overrides), tmp_path / "run", progress=False).metrics
    assert (metrics.best_epoch, metrics.validation_accuracy) == (1, None)


def test_a_finished_run_is_refused_and_untouched(finished: RunResult) -> None:
    before = snapshot(finished.run)
    with pytest.raises(UserError, match="holds a run already") as caught:
        train(finished.experiment, finished.run, progress=False)
    assert "--overwrite" in (caught.value.hint or "")
    assert snapshot(finished.run) == before


def test_resuming_a_finished_run_returns_it_untouched(finished: RunResult) -> None:
    before = snapshot(finished.run)
    assert train(finished.experiment, finished.run, resume=True, progress=False) == finished
    assert snapshot(finished.run) == before


def test_resuming_with_another_experiment_names_the_difference(
    finished: RunResult, small_experiment: Make
) -> None:
    other = load_experiment(None, small_experiment(training__epochs=20, training__learning_rate=1e-3))
    with pytest.raises(ConfigError, match=r"different: training\.learning_rate"):
        train(other, finished.run, resume=True, progress=False)


def test_overwriting_begins_anew_and_leaves_foreign_files(small_experiment: Make, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(load_experiment(None, small_experiment(training__epochs=2)), run, progress=False)
    (run / "notes.txt").write_text("mine")
    result = train(
        load_experiment(None, small_experiment(training__epochs=1)), run, overwrite=True, progress=False
    )
    assert result.metrics.epochs == 1
    assert (run / "notes.txt").read_text() == "mine"


def test_a_directory_with_something_else_is_refused(small_experiment: Make, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    without_data = load_experiment(None, small_experiment(data__path=str(tmp_path / "none.npz")))
    for flags in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UserError, match="not a run directory"):  # before its data is looked for
            train(without_data, tmp_path, progress=False, **flags)
    assert snapshot(tmp_path) == {str(tmp_path / "thesis.tex"): b"mine"}


def test_two_trainings_cannot_share_a_directory(small_experiment: Make, tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process"):
        train(load_experiment(None, small_experiment()), tmp_path / "run", progress=False)


def test_missing_data_leaves_no_directory(small_experiment: Make, tmp_path: Path) -> None:
    experiment = load_experiment(None, small_experiment(data__path=str(tmp_path / "none.npz")))
    with pytest.raises(DataError):
        train(experiment, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_file_for_a_directory_is_refused(small_experiment: Make, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(UserError, match=str(tmp_path / "run")):
        train(load_experiment(None, small_experiment()), tmp_path / "run", progress=False)


def test_a_place_that_cannot_be_written_is_named(small_experiment: Make) -> None:
    with pytest.raises(UserError, match="/proc/nowhere"):
        train(load_experiment(None, small_experiment()), Path("/proc/nowhere"), progress=False)


def test_damaged_weights_are_refused(small_experiment: Make, tmp_path: Path) -> None:
    experiment = load_experiment(None, small_experiment(training__epochs=1))
    run = train(experiment, tmp_path / "run", progress=False).run
    best = run / "checkpoints" / "best.safetensors"
    best.write_bytes(best.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"best\.safetensors"):
        load_system(run, load_events(experiment.data))


def test_other_samples_than_those_of_the_training_are_refused(finished: RunResult, tmp_path: Path) -> None:
    run = shutil.copytree(finished.run, tmp_path / "run")
    told = json.loads((run / "provenance.json").read_text())
    (run / "provenance.json").write_text(json.dumps(told | {"data_sha256": "0" * 64}))
    data = load_events(finished.experiment.data)
    with pytest.raises(DataError, match="other samples than the data set holds now"):
        load_system(run, data)
    (run / "metrics.json").unlink()
    before = snapshot(run)
    with pytest.raises(DataError, match="other samples than the data set holds now"):
        train(finished.experiment, run, resume=True, progress=False)
    assert snapshot(run) == before


def test_diverged_training_says_so(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(
        training__learning_rate=10.0, training__epochs=60, training__schedule="constant"
    )
    experiment = load_experiment(None, overrides | {"training.weight_decay": 1.0})
    with pytest.raises(UserError, match="diverged") as refused:
        train(experiment, tmp_path / "run", progress=False)
    assert "set training.gradient_clip" in str(refused.value.hint)


def test_training_leaves_no_setting_of_torch_behind(finished: RunResult) -> None:
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.distributed.is_initialized()
    assert "LOCAL_RANK" not in os.environ


def test_the_default_experiment_is_valid() -> None:
    assert SpeechExperiment().training.epochs > 0
