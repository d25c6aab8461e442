"""A run that is killed and resumed ends with the weights of a run that never was."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nsc_deploy.config.speech import SpeechExperiment
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training import fit
from nsc_deploy.training.checkpoints import StateIO, read_tensors
from nsc_deploy.training.record import SaveState
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import read_metrics, state_of
from tests.support.kill_points import die_before_change

Make = Callable[..., dict[str, object]]
NEVER = 0


def train_and_die(experiment: SpeechExperiment, run: Path, change: int) -> None:
    """Killed before a change of the run directory."""
    die_before_change(change, run)
    train(experiment, run, resume=True, progress=False)


def epochs_finished(run: Path) -> int:
    """Epochs after which a resumed run goes on."""
    last = run / "checkpoints" / "last.safetensors"
    return StateIO().load_checkpoint(last)["epoch"] + 1 if last.exists() else 0


def train_and_terminate(experiment: SpeechExperiment, run: Path) -> None:
    """Sent SIGTERM when the state of the first epoch is on the disk."""

    class Terminate(SaveState):
        def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
            super().on_train_epoch_end(trainer, pl_module)
            os.kill(os.getpid(), signal.SIGTERM)

    fit.SaveState = Terminate  # type: ignore[misc]
    train(experiment, run, progress=False)


@pytest.fixture(scope="module")
def experiment(small_experiment: Make) -> SpeechExperiment:
    """Everything that draws by chance is on."""
    overrides = small_experiment(
        system__name="lstm",
        training__epochs=6,
        training__time_shift=1,
        training__channel_dropout=0.1,
        training__event_dropout=0.1,
        training__gradient_clip=1.0,
        training__warmup_epochs=1.0,
    )
    return load_experiment(None, overrides)


@pytest.fixture(scope="module")
def uninterrupted(experiment: SpeechExperiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(experiment, tmp_path_factory.mktemp("runs") / "whole", progress=False).run


def assert_same_outcome(run: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        one, _ = read_tensors(run / "checkpoints" / name)
        two, _ = read_tensors(other / "checkpoints" / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one), name
    ours, theirs = read_metrics(run), read_metrics(other)
    timeless = {"training_seconds", "history"}
    assert ours.model_dump(exclude=timeless) == theirs.model_dump(exclude=timeless)
    assert [epoch.model_dump(exclude={"seconds"}) for epoch in ours.history] == [
        epoch.model_dump(exclude={"seconds"}) for epoch in theirs.history
    ]


# Changes to the run directory before which one life after the other is killed: at first of the files of the
# experiment, then of the best weights and the state, last of the graphs. A life without an epoch makes more.
KILLS = (2, 19, 23, 24, 27, 31, 29)


def test_kill_9_at_any_moment(experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["nsc_deploy.training.run"])
    run, ends, epochs = tmp_path / "run", [], []
    for change in (*KILLS, NEVER):
        process = processes.Process(target=train_and_die, args=(experiment, run, change))
        process.start()
        process.join()
        ends.append(process.exitcode)
        epochs.append(epochs_finished(run))
    assert ends == [-signal.SIGKILL] * len(KILLS) + [0]
    assert epochs == sorted(epochs)
    assert {*epochs} > {0, 6}  # some lives went on from the middle
    assert_same_outcome(run, uninterrupted)


def test_resuming_after_every_epoch(
    experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each state that a whole run writes, resumed in a directory of its own."""
    run, kept = tmp_path / "run", []

    class KeepEach(SaveState):
        def on_train_epoch_end(self, trainer, pl_module) -> None:  # type: ignore[no-untyped-def]
            super().on_train_epoch_end(trainer, pl_module)
            kept.append(shutil.copytree(run, tmp_path / f"after-{len(kept)}"))

    with monkeypatch.context() as patched:
        patched.setattr("nsc_deploy.training.fit.SaveState", KeepEach)
        train(experiment, run, progress=False)
    assert len(kept) == 6
    for copy in kept:
        train(experiment, copy, resume=True, progress=False)
        assert_same_outcome(copy, uninterrupted)


def test_resuming_a_stopped_run_does_not_train_on(small_experiment: Make, tmp_path: Path) -> None:
    overrides = small_experiment(training__epochs=30, training__patience=1, training__learning_rate=1e-9)
    experiment, run = load_experiment(None, overrides), tmp_path / "run"
    whole = train(experiment, run, progress=False).metrics
    (run / "metrics.json").unlink()  # killed between the last epoch and the end
    assert train(experiment, run, resume=True, progress=False).metrics == whole


def test_resuming_nothing_begins(experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / ".experiment.toml.abc.toml").write_text("half a fi")  # killed while writing the first file
    assert state_of(run) == "empty"
    train(experiment, run, resume=True, progress=False)
    assert_same_outcome(run, uninterrupted)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "weights only"])
def test_a_damaged_state_is_refused_and_kept(
    experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path, damage: str
) -> None:
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    (run / "metrics.json").unlink()
    last = run / "checkpoints" / "last.safetensors"
    content = last.read_bytes()
    middle = len(content) * 3 // 4
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    best = (run / "checkpoints" / "best.safetensors").read_bytes()
    damaged = {"cut": content[:-5], "flipped": flipped, "emptied": b"", "weights only": best}[damage]
    last.write_bytes(damaged)
    with pytest.raises(DataError) as caught:
        train(experiment, run, resume=True, progress=False)
    assert caught.value.where == str(last)
    assert "--overwrite" in (caught.value.hint or "")
    assert last.read_bytes() == damaged


def replaced(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The state with one place changed; a value of None takes the place out."""
    *outer, last = path.split("/")
    place = state
    for name in outer:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return state


FOREIGN = [
    ("callbacks/TrainingRecord/epochs", [{"epoch": "one"}]),
    ("callbacks/TrainingRecord/epochs", 3),
    ("callbacks/TrainingRecord/best", 99),
    ("callbacks/TrainingRecord", {}),
    ("callbacks/TrainingRecord", None),
    ("callbacks", []),
    ("state_dict", {"weight": torch.zeros(2)}),
    ("state_dict", None),
    ("optimizer_states", [{}]),
    ("optimizer_states", None),
    ("lr_schedulers", None),
    ("loops", {"fit_loop": 3}),
    ("loops", None),
    ("pytorch-lightning_version", None),
    ("global_step", None),
]


@pytest.mark.parametrize(("path", "value"), FOREIGN, ids=[f"{path}={value}"[:60] for path, value in FOREIGN])
def test_a_whole_state_of_another_training_is_refused(
    experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path, path: str, value: Any
) -> None:
    """Its container and its digest are right; what it holds is not what this run goes on from."""
    run = shutil.copytree(uninterrupted, tmp_path / "run")
    (run / "metrics.json").unlink()
    last = run / "checkpoints" / "last.safetensors"
    state = StateIO().load_checkpoint(last)
    state["callbacks"]["TrainingRecord"]["epochs"].pop()  # so that there is something to go on with
    state["callbacks"]["TrainingRecord"]["best"] = 0
    StateIO().save_checkpoint(replaced(state, path, value), last)
    with pytest.raises(DataError) as caught:
        train(experiment, run, resume=True, progress=False)
    assert caught.value.where == str(last)
    assert "--overwrite" in (caught.value.hint or "")


def test_resume_and_overwrite_exclude_each_other(
    experiment: SpeechExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the data are read, which may take minutes."""
    loads: list[object] = []
    monkeypatch.setattr("nsc_deploy.training.speech.load_events", lambda *_, **__: loads.append(1))
    with pytest.raises(ConfigError, match="cannot be combined"):
        train(experiment, tmp_path / "run", resume=True, overwrite=True)
    assert not loads


def test_a_terminated_run_says_so_and_goes_on(
    experiment: SpeechExperiment, uninterrupted: Path, tmp_path: Path
) -> None:
    """Batch systems end jobs with SIGTERM, and must not be told that all went well."""
    run = tmp_path / "run"
    process = multiprocessing.get_context("forkserver").Process(
        target=train_and_terminate, args=(experiment, run)
    )
    process.start()
    process.join()
    assert process.exitcode == 128 + signal.SIGTERM
    assert epochs_finished(run) == 1
    train(experiment, run, resume=True, progress=False)
    assert_same_outcome(run, uninterrupted)
