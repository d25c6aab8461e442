"""No space left: each writing command ends with one message, and what was there stays as it was.

A limit on the size of files stands in for the full disk; both fail in the middle of a write.
"""

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data.events import EventData, EventSet
from nsc_deploy.data.load import cached
from nsc_deploy.experiment_file import load_experiment, write_experiment
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.training.run import train
from tests.robustness.fuzz.worker import run_command
from tests.support.forked_commands import run as in_a_fork
from tests.support.lava import random_events, receiver

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
    assert_says_so(ended.returncode, ended.stderr)


def assert_says_so(code: int, told: str) -> None:
    assert code == 2, told
    assert "Traceback" not in told
    assert told.count("error: ") == 1
    assert "(File too large)" in told
    assert "ulimit -f" in told.splitlines()[-1]


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


def test_every_other_writing_command_leaves_what_was_there(graph: Path, tmp_path: Path) -> None:
    """Each is run without a limit, then again into the same place with one."""
    inputs, results = tmp_path / "inputs.npz", tmp_path / "results"
    lava = ["export", graph, "--target", "lava", "--inputs", inputs, "--out", tmp_path / "lava"]
    exports = [
        ["export", graph, "--target", target, "--inputs", inputs, "--out", results / target]
        for target in ("nir", "onnx", "snntorch", "norse")
    ]
    against = ["--baseline", results / "energy/report.json", "--junit", results / "junit.xml"]
    others = [
        ["energy", "report", graph, "--inputs", inputs, "--samples", 3, "--out", results / "energy"],
        ["energy", "check", graph, "--inputs", inputs, "--samples", 3, *against],
        ["verify", tmp_path / "lava", "--against", "reference", "--out", results / "verify", "--json"],
        ["run", tmp_path / "lava", "--backend", "twin", "--json", "--out", results / "run.npz"],
        ["inspect", graph, "--picture", results / "picture.svg"],
    ]
    commands = [list(map(str, command)) for command in (lava, *exports, *others)]
    for command in commands:
        code, _, told = run_command(command)
        assert code == 0, told
    before = contents(tmp_path)
    limits = {"junit": 100, "run.npz": 300}
    for command in commands[1:]:
        limit = next((limit for name, limit in limits.items() if name in " ".join(command)), 2000)
        assert_says_so(*in_a_fork(command, limit))
        assert contents(tmp_path) == before, command


def test_a_cache_that_cannot_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chance = np.random.default_rng(0)
    parts = [EventSet(random_events(chance, 40, 9, 7), np.zeros(40, np.int64)) for _ in range(2)]
    data = EventData(*parts, ("a",), 0.03)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, usual[1]))
    try:
        assert cached("key", lambda: data) is data
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert "not cached" in caplog.text
    assert not contents(tmp_path)


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
