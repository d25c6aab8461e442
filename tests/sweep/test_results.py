"""States, tables and pictures of a sweep, read from folders."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import nsc_deploy.energy.pricing
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.experiment_file import load_experiment, write_experiment
from nsc_deploy.io.files import read_json, write_json
from nsc_deploy.sweep.grid import JOBS, LOGS, RESULTS, SLURM, TABLE, Grid, read_grid
from nsc_deploy.sweep.results import (
    Result,
    State,
    as_rows,
    collect,
    draw,
    groups,
    progress_of,
    require_numbers,
)
from tests.support.small_runs import event_run

TEXT = (
    "profile = 'loihi'\nfolder = '{variant}_{training.seed}'\n"
    "[grid]\ntraining.seed = [0, 1, 2]\n[[variants]]\nname = 'e'\n"
)


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    (tmp_path / "grid.toml").write_text(TEXT)
    return read_grid(tmp_path / "grid.toml")


def begin(run: Path) -> None:
    """As the run of `TEXT` whose seed the folder names."""
    write_experiment(run / "experiment.toml", load_experiment(None, {"training.seed": int(run.name[-1])}))


def finish(run: Path, accuracy: float) -> None:
    begin(run)
    write_json(run / "metrics.json", {"test_accuracy": accuracy, "epochs": 7, "history": []})


def test_states_are_those_of_the_folders(grid: Grid, tmp_path: Path) -> None:
    def states() -> list[tuple[State, str]]:
        return [(one.state, one.why) for one in progress_of(grid, tmp_path / "out")]

    out = tmp_path / "out"
    assert states() == [(State.WAITING, "")] * 3
    (out / "e_0").mkdir(parents=True)
    finish(out / "e_0", 0.5)
    (out / "e_1").mkdir()
    write_experiment(out / "e_1" / "experiment.toml", grid.points[1].experiment)
    (out / LOGS).mkdir()
    (out / LOGS / "e_2.log").write_text("some words\nerror: data: is missing\nFetch it.\n")
    assert states() == [(State.FINISHED, ""), (State.UNFINISHED, ""), (State.FAILED, "data: is missing")]
    write_json(out / JOBS, {"e_1": "7_0", "e_2": "7_1"})
    assert states()[1:] == [(State.SUBMITTED, "job 7_0"), (State.SUBMITTED, "job 7_1")]
    (out / SLURM).mkdir()
    (out / SLURM / "7_1_0_log.err").write_text("Traceback\nFailedJobError: error: no memory\n")
    assert states()[2] == (State.FAILED, "no memory")


@pytest.mark.parametrize(
    ("log", "state", "why"),
    [
        (
            'Traceback (most recent call last):\n  File "a.py", line 3, in train\n    train()\n'
            "ValueError: no such [layer]\nThis is a bug of nsc-deploy, not of what you gave it.\n",
            State.FAILED,
            "ValueError: no such [layer]",
        ),
        (
            "Exception ignored in: <function>\nTraceback (most recent call last):\nOSError\n",
            State.WAITING,
            "",
        ),
    ],
)
def test_a_run_that_crashed_has_failed(grid: Grid, tmp_path: Path, log: str, state: State, why: str) -> None:
    (tmp_path / "out" / LOGS).mkdir(parents=True)
    (tmp_path / "out" / LOGS / "e_2.log").write_text(f"epoch 1\n{log}")
    last = progress_of(grid, tmp_path / "out")[2]
    assert (last.state, last.why) == (state, why)


def test_finished_runs_are_collected_once(grid: Grid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for seed, accuracy in ((0, 0.5), (2, 0.7)):
        event_run(out / f"e_{seed}")
        finish(out / f"e_{seed}", accuracy)
    found = collect(grid, out)
    assert [(one.run, one.accuracy) for one in found] == [("e_0", 0.5), ("e_2", 0.7)]
    assert all(one.energy_uj and one.synops for one in found)
    with (out / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["training.seed"] for row in rows] == ["0", "2"]
    assert float(rows[0]["energy_uj"]) == found[0].energy_uj
    # Nothing is counted again: without its graphs the earlier figures stand.
    (out / "e_0" / "deployment.json").unlink()
    assert collect(grid, out) == found
    finish(out / "e_0", 0.6)
    assert collect(grid, out)[0].note == "no graphs to count"
    assert collect(replace(grid, metrics=("epochs",)), out)[0].metrics == {"epochs": 7}
    assert collect(replace(grid, metrics=("history",)), out)[0].metrics == {"history": None}
    (out / RESULTS).write_text("{}")
    assert len(collect(grid, out)) == 2


def test_a_run_of_another_experiment_is_none_of_the_grid(grid: Grid, tmp_path: Path) -> None:
    """A grid file that was edited must not show figures of what it was before."""
    out = tmp_path / "out"
    for point in grid.points[:2]:
        finish(out / point.name, 0.5)
        write_experiment(out / point.name / "experiment.toml", point.experiment)
    config = grid.points[1].experiment.training
    on_two = config.model_copy(update={"threads": 2})  # which the machine offered, and the grid left open
    longer = config.model_copy(update={"epochs": 7})
    for name, changed in (("e_0", on_two), ("e_1", longer)):
        point = next(one for one in grid.points if one.name == name)
        seeded = changed.model_copy(update={"seed": point.experiment.training.seed})
        trained = point.experiment.model_copy(update={"training": seeded})
        write_experiment(out / name / "experiment.toml", trained)
    found = progress_of(grid, out)
    assert [one.state for one in found] == [State.FINISHED, State.OTHER, State.WAITING]
    assert found[1].why == "different: training.epochs"
    assert [one.run for one in collect(grid, out)] == ["e_0"]
    (out / "e_1" / "experiment.toml").write_text("[training]\nepoch = 7\n")
    assert progress_of(grid, out)[1].why == "experiment.toml: there is no field epoch"


def test_figures_are_of_the_prices_and_fields_of_today(grid: Grid, tmp_path: Path) -> None:
    out, text = tmp_path / "out", tmp_path / "mine.toml"
    event_run(out / "e_0")
    finish(out / "e_0", 0.5)
    bundled = Path(nsc_deploy.energy.pricing.__path__[0]) / "profiles" / "horowitz-45nm.toml"
    text.write_text(bundled.read_text())
    (tmp_path / "grid.toml").write_text(TEXT.replace("loihi", "mine.toml"))
    grid = read_grid(tmp_path / "grid.toml")
    [before] = collect(grid, out)
    dearer = bundled.read_text().replace("value = 0.9,", "value = 9.0,")
    assert dearer != bundled.read_text()
    text.write_text(dearer)
    [after] = collect(grid, out)
    assert before.energy_uj is not None
    assert after.energy_uj is not None
    assert after.energy_uj > before.energy_uj
    wider = replace(grid.points[0], fields={"channel.snr_db": 3.0})
    [again] = collect(replace(grid, points=(wider,)), out)
    assert (again.fields, again.energy_uj) == ({"channel.snr_db": 3.0}, after.energy_uj)


def test_a_further_number_is_asked_for_before_training(grid: Grid) -> None:
    require_numbers(replace(grid, metrics=("test_spike_rate", "epochs")))
    for name in ("history", "ones"):
        with pytest.raises(ConfigError, match=f"no run of it has a number {name}"):
            require_numbers(replace(grid, metrics=("epochs", name)))


@pytest.mark.parametrize("damaged", [[], {}, {"test_accuracy": "much"}])
def test_metrics_without_an_accuracy_are_refused(grid: Grid, tmp_path: Path, damaged: object) -> None:
    begin(tmp_path / "out" / "e_0")
    write_json(tmp_path / "out" / "e_0" / "metrics.json", damaged)
    with pytest.raises(DataError, match="holds no test_accuracy"):
        collect(grid, tmp_path / "out")


@pytest.mark.parametrize("damaged", [["7_0"], {"e_0": 7}])
def test_jobs_of_another_form_are_refused(grid: Grid, tmp_path: Path, damaged: object) -> None:
    write_json(tmp_path / "out" / JOBS, damaged)
    with pytest.raises(DataError, match="does not give a job for each run"):
        progress_of(grid, tmp_path / "out")


def test_metrics_of_no_experiment_are_none_of_the_grid(grid: Grid, tmp_path: Path) -> None:
    finish(tmp_path / "out" / "e_1", 0.9)
    (tmp_path / "out" / "e_1" / "experiment.toml").unlink()
    found = progress_of(grid, tmp_path / "out")[1]
    assert (found.state, found.why) == (State.OTHER, "metrics.json of no experiment.toml")
    assert collect(grid, tmp_path / "out") == []


def test_figures_of_some_of_the_seeds_say_of_how_many() -> None:
    results = [
        Result(f"{seed}", {"training.seed": seed}, 0.5, energy, energy, metrics={"lost": energy})
        for seed, energy in enumerate((1.0, None, 3.0))
    ]
    of_two = "2 ± 1.414 (2 of 3)"
    assert as_rows(results)[1] == [["3", "50.0 ± 0.0", of_two, "2 ± 1 (2 of 3)", of_two]]
    assert as_rows(results[:2])[1][0][2:] == ["1 (1 of 2)"] * 3
    assert as_rows(results[1:2])[1][0][2:] == ["-"] * 3


def test_numbers_and_texts_of_one_field_are_drawn_side_by_side(tmp_path: Path) -> None:
    results = [
        Result(f"{value}", {"training.sparsity": value, "channel.snr_db": 0}, 0.5) for value in (0.1, "auto")
    ]
    draw(results, tmp_path / "it.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_are_averaged_and_drawn(tmp_path: Path) -> None:
    results = [
        Result(f"{name}{snr}{seed}", {"variant": name, "channel.snr_db": snr, "training.seed": seed},
               0.5 + snr / 100 + seed / 50, energy, 1000.0, lower_bound=name == "b")
        for name, energy in (("a", 1.0), ("b", 2.0)) for snr in (0, 10) for seed in (0, 1)
    ]  # fmt: skip
    assert [one.label for one in groups(results)][:2] == ["a, snr_db 0", "a, snr_db 10"]
    heads, rows = as_rows(results)
    assert heads == ["variant", "snr_db", "runs", "accuracy, %", "energy, uJ", "SynOps"]
    assert rows[0] == ["a", "0", "2", "51.0 ± 1.4", "1 ± 0", "1,000 ± 0"]
    assert rows[2][4] == "> 2 ± 0"
    draw(results, tmp_path / "it.png")
    draw(results[:1], tmp_path / "one.png")
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")


def test_what_another_version_counted_is_counted_anew(grid: Grid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    event_run(out / "e_0")
    finish(out / "e_0", 0.5)
    [expected] = collect(grid, out)
    [known] = read_json(out / RESULTS)
    assert known["version"] == nsc_deploy.__version__
    for version, energy in ((nsc_deploy.__version__, 7.0), ("0.0.1", expected.energy_uj)):
        write_json(out / RESULTS, [known | {"version": version, "energy_uj": 7.0}])
        assert [one.energy_uj for one in collect(grid, out)] == [energy]


def test_a_run_that_could_not_be_counted_is_counted_once_it_can_be(grid: Grid, tmp_path: Path) -> None:
    out = tmp_path / "out"
    event_run(out / "e_0")
    finish(out / "e_0", 0.5)
    [expected] = collect(grid, out)
    graph = out / "e_0" / "receiver.nir"
    content = graph.read_bytes()
    (out / RESULTS).unlink()
    graph.write_bytes(b"no graph")
    [damaged] = collect(grid, out)
    assert (damaged.energy_uj, damaged.synops) == (None, None)
    assert f"{graph}: " in damaged.note
    graph.write_bytes(content)
    assert collect(grid, out) == [expected]


@pytest.mark.parametrize(
    "damage", [{"accuracy": 7.0}, {"run": []}, {"accuracy": "much"}, {"accuracy": float("nan")}, {"no": 1}]
)
def test_what_was_worked_out_before_is_not_trusted(grid: Grid, tmp_path: Path, damage: object) -> None:
    out = tmp_path / "out"
    finish(out / "e_0", 0.5)
    expected = collect(grid, out)
    [known] = read_json(out / RESULTS)
    assert isinstance(damage, dict)
    (out / RESULTS).write_text(json.dumps([known | damage]))
    assert collect(grid, out) == expected


def test_an_accuracy_that_is_no_number_is_refused(grid: Grid, tmp_path: Path) -> None:
    begin(tmp_path / "out" / "e_0")
    for accuracy in ("NaN", "1e999", "1" + "0" * 400):
        (tmp_path / "out" / "e_0" / "metrics.json").write_text(f'{{"test_accuracy": {accuracy}}}')
        with pytest.raises(DataError, match="holds no test_accuracy"):
            collect(grid, tmp_path / "out")
