"""`nsc-deploy sweep` with real trainings: what is finished is skipped, what was killed goes on."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomlkit

from nsc_deploy.experiment_file import write_experiment
from nsc_deploy.io.files import locked_folder, write_json
from nsc_deploy.sweep.grid import read_grid

MAKE = Callable[..., dict[str, object]]
NAMES = ["seed=0", "seed=1"]


@pytest.fixture
def grid(small_experiment: MAKE, tmp_path: Path) -> Path:
    document = tomlkit.document()
    document["set"] = small_experiment(training__epochs=2)
    document["grid"] = {"training.seed": [0, 1]}
    del document["set"]["training.seed"]  # type: ignore[union-attr]
    (tmp_path / "grid.toml").write_text(tomlkit.dumps(document))
    return tmp_path / "grid.toml"


def words(grid: Path, *more: object) -> list[str]:
    out = grid.parent / "out"
    return [sys.executable, "-m", "nsc_deploy", "sweep", *map(str, (grid, "--out", out, *more))]


def sweep(grid: Path, *more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words(grid, *more), capture_output=True, text=True, check=False)


def states(grid: Path) -> list[str]:
    return [one["state"] for one in json.loads(sweep(grid, "--status", "--json").stdout)]


def test_nothing_is_trained_to_tell_the_status(grid: Path) -> None:
    done = sweep(grid, "--status")
    assert done.returncode == 0
    assert done.stdout.splitlines() == ["seed=0  waiting", "seed=1  waiting", "2 waiting"]
    assert not (grid.parent / "out").exists()


def test_the_reason_why_runs_have_no_energy_is_told_once(grid: Path) -> None:
    for point in read_grid(grid).points:
        write_experiment(grid.parent / "out" / point.name / "experiment.toml", point.experiment)
        write_json(grid.parent / "out" / point.name / "metrics.json", {"test_accuracy": 0.5})
    done = sweep(grid)
    assert done.returncode == 0
    assert "no energy of seed=0 and 1 more: no graphs to count" in done.stderr


@pytest.mark.slow
def test_a_sweep_is_trained_collected_and_not_trained_again(grid: Path) -> None:
    done = sweep(grid, "--jobs", 2, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [one["state"] for one in answer["runs"]] == ["finished"] * 2
    assert [one["run"] for one in answer["results"]] == NAMES
    assert all(one["energy_uj"] > 0 and 0 <= one["accuracy"] <= 1 for one in answer["results"])
    out = grid.parent / "out"
    assert {"results.json", "results.csv", "results.png"} <= {one.name for one in out.iterdir()}
    written = {name: (out / name / "metrics.json").stat().st_mtime_ns for name in NAMES}
    again = sweep(grid)
    assert again.returncode == 0
    assert "accuracy, %" in again.stdout
    assert {name: (out / name / "metrics.json").stat().st_mtime_ns for name in NAMES} == written


@pytest.mark.slow
def test_a_sweep_that_was_ended_leaves_nothing_running_and_goes_on(grid: Path) -> None:
    process = subprocess.Popen(words(grid, "--jobs", 1), stderr=subprocess.PIPE, text=True)
    out = grid.parent / "out"
    while not (out / "seed=0" / "experiment.toml").is_file():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert not (out / "seed=1").exists()
    assert states(grid)[1] == "waiting"
    done = sweep(grid)
    assert done.returncode == 0, done.stderr
    assert states(grid) == ["finished"] * 2


@pytest.mark.slow
def test_a_second_signal_ends_a_sweep_at_once_and_it_goes_on(grid: Path) -> None:
    process = subprocess.Popen(words(grid, "--jobs", 2), stderr=subprocess.PIPE, text=True)
    out = grid.parent / "out"
    while not all((out / name / "experiment.toml").is_file() for name in NAMES):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait() in {143, -signal.SIGTERM}
    for name in NAMES:
        await_end(out / name)
    done = sweep(grid)
    assert done.returncode == 0, done.stderr
    assert states(grid) == ["finished"] * 2


def await_end(run: Path) -> None:
    """Wait until no process holds the lock of a run."""
    with (run / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_are_collected(grid: Path) -> None:
    blocked = grid.parent / "out" / "seed=0"
    blocked.mkdir(parents=True)
    (blocked / "foreign").touch()
    done = sweep(grid)
    assert done.returncode == 1
    assert "seed=0" in done.stdout
    assert "is not a run directory" in done.stdout
    assert states(grid) == ["failed", "finished"]


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Debian's Slurm on this one machine, without its own accounts and keys."""
    pytest.importorskip("submitit")
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("slurm is not installed (apt-get install slurmctld slurmd slurm-client)")
    folder = tmp_path_factory.mktemp("slurm")
    name = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
    configuration = f"""
ClusterName=one
SlurmctldHost={name}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldPort=26917
SlurmdPort=26918
SlurmdSpoolDir={folder}/spool
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName={name} CPUs={os.cpu_count()} State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 State=UP
"""
    for inner in ("spool", "state"):
        (folder / inner).mkdir()
    (folder / "slurm.conf").write_text(configuration)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    daemons = [subprocess.Popen([f"/usr/sbin/{one}", "-D"]) for one in ("slurmctld", "slurmd")]
    yield
    for daemon in daemons:
        daemon.terminate()
        daemon.wait(30)


@pytest.mark.slow
@pytest.mark.usefixtures("slurm")
def test_slurm_trains_what_is_missing_and_status_reads_folders(grid: Path) -> None:
    done = sweep(grid, "--executor", "slurm", "--jobs", 2)
    assert done.returncode == 0, done.stderr
    assert "submitted 2 runs" in done.stderr
    deadline = time.monotonic() + 300
    while states(grid) != ["finished"] * 2 and time.monotonic() < deadline:
        time.sleep(1)
    assert states(grid) == ["finished"] * 2
    collected = sweep(grid, "--executor", "slurm", "--json")
    assert collected.returncode == 0
    assert [one["run"] for one in json.loads(collected.stdout)["results"]] == NAMES


def test_a_folder_of_another_grid_is_refused_before_anything_is_trained(grid: Path) -> None:
    other = grid.parent / "out" / "seed=1"
    experiment = read_grid(grid).points[1].experiment
    longer = experiment.training.model_copy(update={"epochs": 3})
    write_experiment(other / "experiment.toml", experiment.model_copy(update={"training": longer}))
    assert states(grid) == ["waiting", "other"]
    done = sweep(grid)
    assert done.returncode == 2
    assert "seed=1: holds a run of another experiment (different: training.epochs)" in done.stderr
    assert "Name another --out" in done.stderr
    assert not (grid.parent / "out" / "seed=0").exists()


def test_a_second_sweep_is_kept_out_of_the_folder_of_the_first(grid: Path) -> None:
    out = grid.parent / "out"
    with locked_folder(out, "another sweep"):
        done = sweep(grid)
    assert done.returncode == 2
    assert "another sweep is at work there" in done.stderr
    assert not list(out.glob("seed=*"))


def test_a_number_that_no_run_will_have_is_refused_before_anything_is_trained(grid: Path) -> None:
    grid.write_text(f"metrics = ['test_spike_rat']\n{grid.read_text()}")
    done = sweep(grid)
    assert done.returncode == 2
    assert "no run of it has a number test_spike_rat" in done.stderr
    assert not list((grid.parent / "out").glob("seed=*"))
    for point in read_grid(grid).points:
        write_experiment(grid.parent / "out" / point.name / "experiment.toml", point.experiment)
        (grid.parent / "out" / point.name / "metrics.json").write_text('{"test_accuracy": 0.5}')
    assert sweep(grid).returncode == 2  # nor is a column of nothing shown once all are finished


def test_what_slurm_has_is_neither_submitted_again_nor_trained_here(grid: Path) -> None:
    out = grid.parent / "out"
    write_json(out / "jobs.json", {"seed=0": "17_0", "seed=1": "17_1"})
    assert states(grid) == ["submitted"] * 2
    again = sweep(grid, "--executor", "slurm")
    assert again.returncode == 0, again.stderr
    assert "left out 2 runs that are submitted or being trained" in again.stderr
    assert "submitted 0 runs" in again.stderr
    here = sweep(grid)
    assert here.returncode == 2
    assert "jobs.json: names jobs of Slurm that have not ended, of 2 runs: seed=0 and others" in here.stderr
    assert json.loads((out / "jobs.json").read_text()) == {"seed=0": "17_0", "seed=1": "17_1"}
    assert not list(out.glob("seed=*"))


def test_jobs_of_runs_that_the_grid_no_longer_names_are_kept(grid: Path) -> None:
    jobs = grid.parent / "out" / "jobs.json"
    write_json(jobs, {"seed=0": "17_0", "seed=1": "17_1"})
    before = grid.read_text()
    fields = tomlkit.parse(before)
    fields["grid"] = {"training.seed": [5]}
    fields["set"]["data.path"] = str(grid.parent / "none.npz")  # type: ignore[index]
    grid.write_text(tomlkit.dumps(fields))
    assert sweep(grid).returncode == 1  # its only run fails
    assert json.loads(jobs.read_text()) == {"seed=0": "17_0", "seed=1": "17_1"}
    grid.write_text(before)
    assert states(grid) == ["submitted"] * 2


def test_a_run_that_is_being_trained_is_not_handed_to_slurm(grid: Path) -> None:
    out = grid.parent / "out"
    write_json(out / "jobs.json", {"seed=1": "17_1"})
    with locked_folder(out / "seed=0", "trained"):
        done = sweep(grid, "--executor", "slurm")
    assert done.returncode == 0, done.stderr
    assert "left out 2 runs" in done.stderr


def test_slurm_that_is_not_there_is_an_error_with_a_way_out(grid: Path) -> None:
    nothing = os.environ | {"PATH": str(grid.parent)}
    arguments = words(grid, "--executor", "slurm")
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=nothing)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "nsc-deploy[slurm]" in done.stderr or "--executor local" in done.stderr
