"""Every command ended by Ctrl-C, SIGTERM and kill -9: nothing runs on, lies about or is lost."""

import functools
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.experiment_file import load_experiment
from nsc_deploy.training.run import train

_ROOT = Path(__file__).parents[2]
_COMMAND = _ROOT / "tests" / "support" / "signalled_command.py"
# Of the clock, for a process that never ends.
_HUNG_S = 300.0
SIGNALS = {signal.SIGINT: {130}, signal.SIGTERM: {143, -signal.SIGTERM}, signal.SIGKILL: {-signal.SIGKILL}}
SHARES = (0.3, 0.7, 0.9, 0.97)

COMMANDS = {
    "train": "train experiment.toml --out new --quiet",
    "train on two": "train experiment.toml --out new --quiet --devices 2",
    "export to lava": "export run --target lava --out new",
    "export to onnx": "export run --target onnx --out new",
    "export to snntorch": "export run --target snntorch --out new",
    "export to c": "export run --target c --out new",
    "run": "run lava --backend twin --json --out new.npz",
    "run in lava": "run lava --backend lava --samples 1",
    "run c": "run c --backend host --samples 2",
    "verify": "verify onnx --against reference --json",
    "verify a module": "verify snntorch --against reference --run-code --out new",
    "energy report": "energy report run --out new --samples 2",
    "energy check": "energy check run --budget budget.toml --junit new.xml --samples 2",
    "energy advise": "energy advise run --samples 2",
    "energy compare": "energy compare run run --samples 2",
    "evaluate": "evaluate run --snr=10 --out new",
    "sweep": "sweep grid.toml --out new",
    "record": "record events.npy --signal events --dt 0.001 --out new.npz",
    "inspect": "inspect run/receiver.nir --picture new.svg",
    "check": "check run/receiver.nir --target loihi2 --json",
    "data": "data info fsdd --path digits.npz --encode",
    "lava": "lava status",
}
USUAL = [("run in lava", signal.SIGTERM, 0.97), ("export to lava", signal.SIGKILL, 0.9)]


@pytest.fixture(scope="module")
def workplace(
    small_experiment: Callable[..., dict[str, object]],
    tone_digits: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with a run, its deployments, a budget, and an experiment to train."""
    place = tmp_path_factory.mktemp("kills")
    values = small_experiment(system__name="att-neurosc", training__epochs=1)
    run = train(load_experiment(None, values), place / "run", progress=False).run
    shutil.copy(run / "experiment.toml", place / "experiment.toml")
    shutil.copy(tone_digits, place / "digits.npz")
    np.save(place / "events.npy", np.eye(4, dtype=np.uint8)[:, None])
    (place / "grid.toml").write_text('experiment = "experiment.toml"\n[grid]\ntraining.seed = [0, 1]\n')
    (place / "budget.toml").write_text("[limits]\nsynops_per_inference = 1e9\n")
    for target in ("lava", "onnx", "snntorch", "c"):
        ended = command(place, ["export", "run", "--target", target, "--out", target])
        assert ended.returncode == 0, ended.stderr
    return place


def command(
    place: Path, arguments: Sequence[str], *, how: signal.Signals | None = None, moment: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """A command in a folder, with its own place for temporary files in there."""
    (place / "tmp").mkdir(exist_ok=True)
    told = {"arguments": arguments, "signal": how, "moment": moment, "said": str(place / "said")}
    own = {"PYTHONPATH": str(_ROOT), "TMPDIR": str(place / "tmp"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-P", str(_COMMAND), json.dumps(told)],
        cwd=place, env={**os.environ, **own}, capture_output=True, text=True, check=False, timeout=_HUNG_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def running(place: Path) -> list[str]:
    """Living processes that were started for this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            told += bytes((entry / "cwd").readlink())
        except OSError:  # it is gone, or not ours
            continue
        if os.fsencode(place / "tmp") in told or told.endswith(os.fsencode(place)):
            found.append(entry.name)
    return found


def contents(place: Path) -> dict[str, str]:
    """What the user has, by name."""
    files = [path for path in place.rglob("*") if path.is_file() and path.name != "said"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def take_away(place: Path) -> None:
    for path in place.glob("new*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@functools.cache
def moments(place: Path, name: str) -> int:
    """Of a whole command; of a second one, for the first may fill the caches of libraries."""
    for _ in range(2):
        whole = command(place, COMMANDS[name].split())
        assert whole.returncode == 0, whole.stderr
        take_away(place)
    return int((place / "said").read_text())


def end_at(place: Path, name: str, how: signal.Signals, share: float) -> None:
    arguments, before = COMMANDS[name].split(), contents(place)
    moment = max(1, int(share * moments(place, name)))
    try:
        ended = command(place, arguments, how=how, moment=moment)
        assert (place / "said").read_text() == "sent"
        assert ended.returncode in SIGNALS[how], (ended.returncode, ended.stderr)
        assert "Traceback" not in ended.stderr
        deadline = time.monotonic() + _HUNG_S
        while running(place) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not running(place)
        if how is signal.SIGKILL:  # the next one sweeps what such an end leaves
            again = [*arguments, "--resume"] if arguments[0] == "train" else arguments
            again_ended = command(place, again)
            assert again_ended.returncode == 0, again_ended.stderr
        assert not list((place / "tmp").iterdir())
        assert not [path for path in place.iterdir() if path.name.startswith(".nsc-deploy")]
        take_away(place)
        assert contents(place) == before
    finally:
        take_away(place)


@pytest.mark.lava
@pytest.mark.usefixtures("lava_environment")
@pytest.mark.parametrize(("name", "how", "share"), USUAL)
def test_a_command_ended(workplace: Path, name: str, how: signal.Signals, share: float) -> None:
    end_at(workplace, name, how, share)


@pytest.mark.slow
@pytest.mark.lava
@pytest.mark.usefixtures("lava_environment")
@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("how", SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ended_at_several_moments(
    workplace: Path, name: str, how: signal.Signals, share: float
) -> None:
    end_at(workplace, name, how, share)
