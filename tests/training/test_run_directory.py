"""What belongs to a run in its directory, and what is the user's own or leads elsewhere."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.experiment_file import load_experiment, write_experiment
from nsc_deploy.training.run import train
from nsc_deploy.training.run_directory import Provenance, RunState, claim, provenance, state_of

Make = Callable[..., dict[str, object]]


@pytest.fixture
def finished(small_experiment: Make, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    train(load_experiment(None, small_experiment(training__epochs=1)), run, progress=False)
    return run


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def test_overwriting_removes_what_the_run_wrote_and_nothing_else(
    finished: Path, small_experiment: Make
) -> None:
    own = (
        "my-spikes.npz",
        "other.nir",
        "checkpoints/mine.safetensors",
        "tensorboard/notes.txt",
        "a.onnx",
    )
    for name in own:
        (finished / name).write_text("mine")
    before = files_of(finished)
    of_the_weights = ("evaluation.json", "accuracy.png", "accuracy.svg", "attention.png")
    for name in of_the_weights:
        (finished / name).write_text("of the run before")
    experiment = load_experiment(None, small_experiment(training__epochs=2))
    assert train(experiment, finished, overwrite=True, progress=False).metrics.epochs == 2
    assert {name: (finished / name).read_text() for name in own} == dict.fromkeys(own, "mine")
    event_files = [name for name in files_of(finished) if "tfevents" in name]
    assert len(event_files) == 1
    assert files_of(finished) - set(event_files) == {name for name in before if "tfevents" not in name}


def test_nothing_is_removed_where_what_a_run_begins_with_is_not_there(
    finished: Path, small_experiment: Make
) -> None:
    def origin() -> Provenance:
        raise DataError("does not exist", where="best.safetensors")

    before = {name: (finished / name).read_bytes() for name in files_of(finished)}
    experiment = load_experiment(None, small_experiment(training__epochs=2))
    with pytest.raises(DataError, match="does not exist"):
        claim(finished, experiment, origin, resume=False, overwrite=True)
    assert {name: (finished / name).read_bytes() for name in files_of(finished)} == before


def test_a_run_that_is_there_is_refused_before_its_data_is_looked_for(
    small_experiment: Make, tmp_path: Path
) -> None:
    experiment = load_experiment(None, small_experiment(data__path=str(tmp_path / "none.npz")))
    claim(tmp_path / "run", experiment, lambda: provenance("0" * 64), resume=False, overwrite=False)
    before = files_of(tmp_path)
    with pytest.raises(UserError, match="holds a run already"):
        train(experiment, tmp_path / "run", progress=False)
    assert files_of(tmp_path) == before


def test_overwriting_leaves_nothing_of_the_logger(small_experiment: Make, tmp_path: Path) -> None:
    def begin(*, overwrite: bool) -> None:
        experiment = load_experiment(None, small_experiment())
        claim(tmp_path, experiment, lambda: provenance("0" * 64), resume=False, overwrite=overwrite)

    begin(overwrite=False)
    (tmp_path / "tensorboard").mkdir()
    for name in ("hparams.yaml", "events.out.tfevents.1.host"):
        (tmp_path / "tensorboard" / name).touch()
    begin(overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"experiment.toml", "provenance.json"}


def test_a_run_does_not_begin_from_one_that_has_lost_its_weights(finished: Path) -> None:
    (finished / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(DataError, match=r"best\.safetensors: cannot be read"):
        provenance("0" * 64, str(finished))


def test_a_folder_with_an_experiment_of_the_user_is_no_run(small_experiment: Make, tmp_path: Path) -> None:
    experiment = load_experiment(None, small_experiment())
    write_experiment(tmp_path / "experiment.toml", experiment)
    before = (tmp_path / "experiment.toml").read_bytes()
    for how in ({"overwrite": True}, {"resume": True}, {}):
        with pytest.raises(UserError, match=r"is not a run directory .*no provenance\.json"):
            train(experiment, tmp_path, progress=False, **how)
    assert (tmp_path / "experiment.toml").read_bytes() == before


def test_a_provenance_of_another_program_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text('{"artist": "unknown"}')
    with pytest.raises(DataError, match="artist"):
        state_of(tmp_path)


def test_a_run_that_has_only_begun_is_begun_anew(finished: Path) -> None:
    (finished / "experiment.toml").unlink()
    assert state_of(finished) is RunState.EMPTY


@pytest.mark.parametrize("resume", [True, False])
def test_a_lock_that_leads_elsewhere_is_not_followed(
    finished: Path, small_experiment: Make, resume: bool
) -> None:
    thesis = finished.parent / "thesis.tex"
    thesis.write_text("my thesis")
    (finished / ".lock").unlink()
    (finished / ".lock").symlink_to(thesis)
    experiment = load_experiment(None, small_experiment(training__epochs=1))
    with pytest.raises(UserError, match=r"\.lock: is a link"):
        train(experiment, finished, resume=resume, overwrite=not resume, progress=False)
    assert thesis.read_text() == "my thesis"


def test_a_pipe_in_place_of_the_lock_does_not_hang(finished: Path, small_experiment: Make) -> None:
    (finished / ".lock").unlink()
    os.mkfifo(finished / ".lock")
    experiment = load_experiment(None, small_experiment(training__epochs=1))
    assert train(experiment, finished, resume=True, progress=False).metrics.epochs == 1


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "transmitter.npz", "deployment.json"])
def test_links_in_a_run_are_not_written_through(finished: Path, small_experiment: Make, name: str) -> None:
    elsewhere = finished.parent / "elsewhere"
    (finished / name).rename(elsewhere)
    (finished / name).symlink_to(elsewhere)
    before = files_of(finished.parent)
    experiment = load_experiment(None, small_experiment(training__epochs=2))
    with pytest.raises(UserError, match="is a link"):
        train(experiment, finished, overwrite=True, progress=False)
    assert files_of(finished.parent) == before


def test_a_path_that_looks_like_a_protocol_is_refused(small_experiment: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'::'"):
        train(load_experiment(None, small_experiment()), tmp_path / "a::error::b", progress=False)
    assert not list(tmp_path.iterdir())


def test_two_runs_leave_the_same_bytes_but_for_their_times(small_experiment: Make, tmp_path: Path) -> None:
    experiment = load_experiment(None, small_experiment(training__epochs=2))
    contents = []
    for name in ("one", "two"):
        train(experiment, tmp_path / name, progress=False)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
    timed = {"metrics.json", "provenance.json", "checkpoints/seconds.json"}
    one, two = ({name: content for name, content in files.items() if name not in timed} for files in contents)
    assert {name for name in one if "tfevents" not in name} == {
        name for name in two if "tfevents" not in name
    }
    assert [name for name in one if "tfevents" not in name and one[name] != two[name]] == []
