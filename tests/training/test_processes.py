"""Data-parallel training: real processes that meet over gloo."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from nsc_deploy.errors import ConfigError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.processes import WORKER, Job, node_rank, workers_beside
from nsc_deploy.training.run import train

Make = Callable[..., dict[str, object]]


@pytest.mark.slow
def test_two_devices_train_like_one_and_resume(small_experiment: Make, tmp_path: Path) -> None:
    """Half the batch each; noise differs from process to process, so the channel has none to speak of."""
    weights = []
    for devices in (1, 2):
        overrides = small_experiment(channel__snr_db=300.0, training__devices=devices)
        experiment, run = load_experiment(None, overrides), tmp_path / str(devices)
        assert train(experiment, run, progress=False).metrics.epochs == 3
        weights.append(read_tensors(run / "checkpoints" / "last.safetensors")[0])
    one, two = weights
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=2e-5, msg=name)

    for name in ("metrics.json", "checkpoints/last.safetensors", "checkpoints/best.safetensors"):
        (run / name).unlink()  # killed before the first epoch had ended
    train(experiment, run, resume=True, progress=False)
    again = read_tensors(run / "checkpoints" / "last.safetensors")[0]
    assert all(torch.equal(two[name], again[name]) for name in two)


def test_several_machines_need_a_meeting_point(small_experiment: Make, tmp_path: Path) -> None:
    experiment = load_experiment(None, small_experiment(training__nodes=2))
    with pytest.raises(ConfigError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK"):
        train(experiment, tmp_path / "run", progress=False)


def test_a_worker_that_fails_is_reported_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text("import sys; sys.exit('this is the reason')")
    monkeypatch.setattr("nsc_deploy.training.processes.WORKER", failing)
    with (
        pytest.raises(UserError, match="process 1 of the data-parallel run failed: this is the reason"),
        workers_beside("", tmp_path, devices=2, nodes=1),
    ):
        pass


DIES_BEFORE_THE_GROUP_FORMS = """
import os
print("ready", flush=True)
os.kill(os.getpid(), 9)
"""
DIES_IN_THE_GROUP = """
import os, torch
from nsc_deploy.training.processes import READY, group
print(READY, flush=True)
with group(3, 1):
    torch.distributed.barrier()
    if os.environ["LOCAL_RANK"] == "2":
        os.kill(os.getpid(), 9)
    torch.distributed.barrier()
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has other code run in the place of workers; and nobody tells of the dead by losing patience."""
    monkeypatch.setattr("nsc_deploy.training.processes._PATIENCE_WITH_OTHERS", timedelta(hours=1))

    def write(code: str) -> None:
        (tmp_path / "stand_in.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
        monkeypatch.setattr("nsc_deploy.training.processes.WORKER", tmp_path / "stand_in.py")

    return write


def test_a_worker_killed_before_the_group_has_formed_is_told(
    worker: Callable[[str], None], tmp_path: Path
) -> None:
    worker(DIES_BEFORE_THE_GROUP_FORMS)
    with (
        pytest.raises(UserError, match="process 1 of the data-parallel run failed: killed by signal 9"),
        workers_beside("", tmp_path, devices=2, nodes=1),
    ):
        pytest.fail("there is no group")


def test_the_worker_that_was_killed_is_told_not_those_that_lost_it(
    worker: Callable[[str], None], tmp_path: Path
) -> None:
    worker(DIES_IN_THE_GROUP)
    with (
        pytest.raises(UserError, match="process 2 of the data-parallel run failed: killed by signal 9"),
        workers_beside("", tmp_path, devices=3, nodes=1),
    ):
        torch.distributed.barrier()
        torch.distributed.barrier()
    assert not torch.distributed.is_initialized()


def test_machines_that_do_not_come_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsc_deploy.training.processes._PATIENCE_WITH_OTHERS", timedelta(seconds=0.5))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    for name, value in {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "NODE_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(UserError, match=f"127.0.0.1:{port}: a process of the data-parallel run is gone or"),
        workers_beside("", tmp_path, devices=1, nodes=2),
    ):
        pytest.fail("there is no group")


def test_a_worker_ends_with_the_process_that_started_it(
    small_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the others to meet, inside torch, and nobody comes."""
    for name, value in {
        "LOCAL_RANK": "1", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    experiment = load_experiment(None, small_experiment(training__devices=2))
    command = [sys.executable, "-P", str(WORKER), "worker", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(Job(experiment=experiment, resume=False).model_dump_json().encode() + b"\n")
        worker.stdin.flush()
        assert worker.stdout.readline() == b"ready\n"
        worker.stdin.close()
        assert worker.wait() == 3


def test_a_worker_watches_before_it_imports_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch takes seconds to import, minutes where the machine is busy."""
    (tmp_path / "nsc_deploy").mkdir()
    (tmp_path / "nsc_deploy" / "__init__.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [sys.executable, "-P", str(WORKER), "worker", str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as worker:
        worker.communicate(b"{}\n")
    assert worker.returncode == 3


def test_code_in_the_working_folder_is_not_run(
    small_experiment: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.py").write_text("raise SystemExit('torch.py of the working folder was run')")
    experiment = load_experiment(None, small_experiment(training__devices=2, training__epochs=1))
    assert train(experiment, Path("run"), progress=False).metrics.epochs == 1


def test_a_node_rank_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "first")
    with pytest.raises(ConfigError, match="'first'"):
        node_rank()
