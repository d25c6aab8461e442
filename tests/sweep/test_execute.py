"""Runs are handed to submitit as commands: nothing of them is pickled, and they end as folders."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tomlkit

from nsc_deploy.sweep.execute import command, submit
from nsc_deploy.sweep.grid import Point, read_grid
from nsc_deploy.training.run_directory import read_metrics

_HUNG_S = 600.0


@pytest.fixture
def points(small_experiment: Callable[..., dict[str, object]], tmp_path: Path) -> tuple[Point, ...]:
    document = tomlkit.document()
    values = small_experiment(training__epochs=1)
    values.pop("training.seed", None)
    document["set"] = values
    document["grid"] = {"training.seed": [0, 1]}
    (tmp_path / "grid.toml").write_text(tomlkit.dumps(document))
    return read_grid(tmp_path / "grid.toml").points


def test_a_run_is_a_command_that_the_working_folder_has_no_part_in(
    points: tuple[Point, ...], tmp_path: Path
) -> None:
    words = command(points[0], tmp_path / "out")
    assert words[1:5] == ["-P", "-m", "nsc_deploy", "train"]
    assert Path(words[5]).is_absolute()
    assert Path(words[5]).is_file()


@pytest.mark.slow
def test_submitits_local_executor_trains_the_runs(points: tuple[Point, ...], tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    jobs = submit(points, tmp_path / "out", 2, {"timeout_min": 10}, cluster="local")
    assert set(jobs) == {"seed=0", "seed=1"}
    deadline = time.monotonic() + _HUNG_S
    wanted = [tmp_path / "out" / name / "metrics.json" for name in jobs]
    while not all(one.is_file() for one in wanted) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert all(0 <= read_metrics(one.parent).test_accuracy <= 1 for one in wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_runs_end_with_a_sweep_that_is_killed() -> None:
    # A sweep that begins what no training ends, and says its number.
    program = (
        "import os, sys, time\n"
        "from nsc_deploy.sweep.execute import _begin\n"
        "words = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "print(_begin(words, sys.stderr.buffer, os.environ).pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as sweep:
        assert sweep.stdout is not None
        run = int(sweep.stdout.readline())
        sweep.kill()
    deadline = time.monotonic() + _HUNG_S
    while _runs(run) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(run)


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
