"""No space left: each writing command ends with one message, and what was there stays as it was.

A limit on the size of files stands in for the full disk; both fail in the middle of a write.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.experiment_file import load_experiment, write_experiment
from nsc_deploy.graphs.nir_file import write_network
from nsc_deploy.graphs.recording import Recording, write_recording
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.training.run import train
from tests.lava_support import random_events, receiver

SCRIPT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from nsc_deploy.cli.app import main
main()
"""


def with_files_of_at_most(limit: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", SCRIPT, str(limit), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def assert_one_message(ended: subprocess.CompletedProcess[str]) -> None:
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("error: ") == 1
    assert "(File too large)" in ended.stderr
    assert "ulimit -f" in ended.stderr.splitlines()[-1]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "receiver.nir"
    write_network(path, receiver())
    events = random_events(np.random.default_rng(0), 30, 200, 24)
    write_recording(tmp_path / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    return path


@pytest.mark.parametrize("limit", [2_000, 15_000])
def test_an_export_leaves_the_earlier_one(graph: Path, tmp_path: Path, limit: int) -> None:
    """The smaller limit ends it in the graph, the larger one in a later file."""
    arguments = ("export", graph, "--target=lava", "--inputs", tmp_path / "inputs.npz", "--out")
    assert with_files_of_at_most(2**30, *arguments, tmp_path / "out").returncode == 0
    before = contents(tmp_path)
    ended = with_files_of_at_most(limit, *arguments, tmp_path / "out")
    assert_one_message(ended)
    assert f"error: {tmp_path / 'out'}/" in ended.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize("limit", [3_000, 8_000, 11_000])
def test_training_goes_on_where_space_ran_out(
    small_experiment: Callable[..., dict[str, object]], tmp_path: Path, limit: int
) -> None:
    """The limits end it at its first file, at a checkpoint and at a recording."""
    values = small_experiment(training__epochs=1, system__symbols=2, system__hidden=2)
    experiment = load_experiment(None, values)
    write_experiment(tmp_path / "experiment.toml", experiment)
    run = tmp_path / "run"
    assert_one_message(
        with_files_of_at_most(limit, "train", tmp_path / "experiment.toml", "--out", run, "--quiet")
    )
    assert not (run / "metrics.json").exists()
    train(experiment, run, resume=True, progress=False)
    assert (run / "metrics.json").exists()
