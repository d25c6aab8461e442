"""Data-parallel training: real processes that meet over gloo."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from nsc_deploy.errors import ConfigError, UserError
from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.checkpoints import read_tensors
from nsc_deploy.training.processes import node_rank, workers_beside
from nsc_deploy.training.run import train

Make = Callable[..., dict[str, object]]


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


def test_a_worker_that_fails_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nsc_deploy.training.processes.WORKER", "json.tool")  # a process that fails at once
    with (
        pytest.raises(UserError, match="process 1 of the data-parallel run failed: Expecting property name"),
        workers_beside("{", devices=2, nodes=1),
    ):
        pass


def test_a_node_rank_that_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "first")
    with pytest.raises(ConfigError, match="'first'"):
        node_rank()
