"""Fixtures of more than one room: a small data set in the form of FSDD, an experiment on it, and Lava."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from nsc_deploy.exporters.lava.environment import LavaEnvironment
from nsc_deploy.passes.base import CHECK_PASSES
from tests.support.lava import ensure_lava

SAMPLE_RATE = 8000

# Every pass keeps its promise in every test, in the commands that tests start too; an export trusts it.
os.environ[CHECK_PASSES] = "1"

# A verdict is of the code, not of the draw: the same examples every time; HYPOTHESIS_PROFILE=explore has
# others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore")
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# A suite in the background of a script inherits an ignored SIGINT, and so would the commands it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def tone_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten classes of tones as an .npz in the form of FSDD: 200 training and 100 test recordings."""
    chance = np.random.default_rng(7)
    labels, speakers, index = (axis.ravel() for axis in np.indices((10, 2, 15)))
    seconds = np.arange(SAMPLE_RATE * 3 // 10) / SAMPLE_RATE
    pitch = 250 + 330 * labels * chance.uniform(0.97, 1.03, labels.shape)
    swell = np.sin(np.pi * seconds / seconds[-1]) ** 2
    tones = np.sin(2 * np.pi * pitch[:, None] * seconds) * swell + chance.normal(0, 0.05, (300, len(seconds)))
    path = tmp_path_factory.mktemp("digits") / "fsdd_8k_int16.npz"
    np.savez_compressed(
        path,
        audio=(tones * 8000).astype(np.int16).ravel(),
        offsets=np.arange(301, dtype=np.int64) * len(seconds),
        labels=labels.astype(np.int64),
        speakers=speakers.astype(np.int64),
        index=index.astype(np.int64),
        is_test=index < 5,
        speaker_names=np.array(["anna", "bert"]),
        sample_rate=np.array(SAMPLE_RATE),
    )
    return path


@pytest.fixture(scope="session")
def small_experiment(tone_digits: Path) -> Callable[..., dict[str, object]]:
    """Overrides (dotted names) for an experiment that trains in about a second; keywords with __ for dots."""

    def make(**changes: object) -> dict[str, object]:
        values: dict[str, object] = {
            "data.dataset": "fsdd",
            "data.path": str(tone_digits),
            "data.encoding.bands": 12,
            "data.encoding.levels": 2,
            "data.encoding.steps": 8,
            "system.name": "fc",
            "system.hidden": 24,
            "system.symbols": 16,
            "system.group": 2,
            "channel.snr_db": 20.0,
            "channel.kind": "awgn",
            "training.epochs": 3,
            "training.batch_size": 20,
            "training.threads": 1,
            "training.seed": 3,
        }
        return values | {name.replace("__", "."): value for name, value in changes.items()}

    return make


@pytest.fixture(scope="session")
def lava_environment() -> LavaEnvironment:
    """The managed Lava environment, for tests that run the real Lava."""
    return ensure_lava()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoded sets of tests stay out of the user's cache, and are shared within one session."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
