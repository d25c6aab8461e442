"""States, tables and pictures of a sweep, read from folders."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from nsc_deploy.errors import ConfigError
from nsc_deploy.io.files import write_json
from nsc_deploy.sweep.execute import LOGS, SLURM
from nsc_deploy.sweep.grid import Grid, read_grid
from nsc_deploy.sweep.results import (
    JOBS,
    RESULTS,
    TABLE,
    Result,
    State,
    as_rows,
    collect,
    draw,
    groups,
    progress_of,
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


def finish(run: Path, accuracy: float) -> None:
    write_json(run / "metrics.json", {"test_accuracy": accuracy, "epochs": 7, "history": []})


def test_states_are_those_of_the_folders(grid: Grid, tmp_path: Path) -> None:
    def states() -> list[tuple[State, str]]:
        return [(one.state, one.why) for one in progress_of(grid, tmp_path / "out")]

    out = tmp_path / "out"
    assert states() == [(State.WAITING, "")] * 3
    (out / "e_0").mkdir(parents=True)
    finish(out / "e_0", 0.5)
    (out / "e_1").mkdir()
    (out / "e_1" / "experiment.toml").write_text("")
    (out / LOGS).mkdir()
    (out / LOGS / "e_2.log").write_text("some words\nerror: data: is missing\nFetch it.\n")
    assert states() == [(State.FINISHED, ""), (State.UNFINISHED, ""), (State.FAILED, "data: is missing")]
    write_json(out / JOBS, {"e_1": "7_0", "e_2": "7_1"})
    assert states()[1:] == [(State.SUBMITTED, "job 7_0"), (State.SUBMITTED, "job 7_1")]
    (out / SLURM).mkdir()
    (out / SLURM / "7_1_0_log.err").write_text("Traceback\nFailedJobError: error: no memory\n")
    assert states()[2] == (State.FAILED, "no memory")


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
    with pytest.raises(ConfigError, match="has no number history"):
        collect(replace(grid, metrics=("history",)), out)
    (out / RESULTS).write_text("{}")
    assert len(collect(grid, out)) == 2


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
