"""Bad input of `nsc-deploy energy`: one message that names the place, exit code 2, nothing on the output.

Counts beyond 64 bits need more input than a file may hold: tests/energy pin them.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.npz import load_npz, save_npz
from tests.robustness.fuzz.worker import fault_of, run_command
from tests.support.lava import random_events, receiver

PROFILE = """
name = "mine"
title = "Mine"
source = "a data sheet"
process = "45 nm"
precision = "int8"
scope = "compute"
basis = "measured"

[prices.ac]
value = 0.1
unit = "pJ"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("energy")
    write_network(folder / "receiver.nir", receiver(6, 5, 4))
    events = random_events(np.random.default_rng(0), 5, 3, 6)
    write_recording(folder / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    real = Recording(np.ones((5, 3, 6), np.float32), Signal.REAL, 0.03)
    write_recording(folder / "real.npz", real)
    return folder


def refused(command: str, place: Path, inputs: Path, *more: object) -> str:
    words = ["energy", command, place / "receiver.nir", "--inputs", inputs, *more]
    code, out, err = run_command([str(word) for word in words])
    assert code == 2, (code, out, err)
    assert not fault_of(code, out, err), err
    return err


Arrays = dict[str, NDArray[np.generic]]


def _shape(*sizes: int) -> Callable[[Arrays], None]:
    def edit(arrays: Arrays) -> None:
        arrays["shape"] = np.array(sizes, np.int64)
        name = "events" if "events" in arrays else "values"
        count = int(np.prod(sizes))
        held = -(-count // 8) if name == "events" else count
        arrays[name] = np.zeros(held, arrays[name].dtype)

    return edit


def _spoil(value: float) -> Callable[[Arrays], None]:
    def edit(arrays: Arrays) -> None:
        spoilt = np.array(arrays["values"])
        spoilt.flat[-1] = value
        arrays["values"] = spoilt

    return edit


def _set(name: str, value: object) -> Callable[[Arrays], None]:
    def edit(arrays: Arrays) -> None:
        arrays[name] = np.asarray(value)

    return edit


RECORDINGS = {
    "no samples": ("inputs.npz", _shape(5, 0, 6), "holds no values: its shape is (5, 0, 6)"),
    "no steps": ("inputs.npz", _shape(0, 3, 6), "holds no values: its shape is (0, 3, 6)"),
    "no channels": ("real.npz", _shape(5, 3, 0), "holds no values: its shape is (5, 3, 0)"),
    "two dimensions": ("inputs.npz", _shape(5, 3), "claims the shape (5, 3)"),
    "other channels": ("inputs.npz", _shape(5, 3, 7), "(5, 3, 7)"),
    "more dimensions": ("inputs.npz", _shape(5, 3, 2, 3), "(5, 3, 2, 3)"),
    "NaN": ("real.npz", _spoil(np.nan), "NaN or infinity"),
    "infinity": ("real.npz", _spoil(np.inf), "NaN or infinity"),
    "real values for events": ("real.npz", lambda arrays: None, "real values are given"),
    "another step": ("inputs.npz", _set("dt", 0.04), "0.04"),
    "no step": ("inputs.npz", _set("dt", 0.0), "a time step of 0 s"),
    "a step that is none": ("inputs.npz", _set("dt", np.nan), "a time step of nan s"),
}


@pytest.mark.parametrize("case", RECORDINGS)
def test_recordings(place: Path, tmp_path: Path, case: str) -> None:
    source, edit, problem = RECORDINGS[case]
    arrays: Arrays = dict(load_npz(place / source))
    edit(arrays)
    save_npz(tmp_path / "bad.npz", arrays)
    told = refused("report", place, tmp_path / "bad.npz")
    assert problem in told
    assert "bad.npz" in told or "receiver.nir" in told


PROFILES = {
    "no unit": ('unit = "pJ"', "", "prices.ac.unit"),
    "an unknown unit": ('"pJ"', '"kWh"', "prices.ac.unit"),
    "a negative price": ("0.1", "-0.1", "prices.ac.value"),
    "a price that is none": ("0.1", "nan", "prices.ac.value"),
    "an endless price": ("0.1", "inf", "prices.ac.value"),
    "a price in words": ("0.1", '"cheap"', "prices.ac.value"),
    "low above the value": ("0.1", "0.1\nlow = 0.2", "low <= value <= high"),
    "no source": ('source = "a data sheet"', "", "source"),
    "an unknown field": ("basis", "colour = 3\nbasis", "colour"),
    "no prices": ('[prices.ac]\nvalue = 0.1\nunit = "pJ"', "[prices]", "ac or for mac"),
    "a terminal's orders": ("a data sheet", "a\\u001b[2Jsheet", "source"),
    "no TOML": ("title", "title title", "TOML"),
}


@pytest.mark.parametrize("case", PROFILES)
def test_profiles(place: Path, tmp_path: Path, case: str) -> None:
    old, new, problem = PROFILES[case]
    file = tmp_path / "mine.toml"
    assert old in PROFILE
    file.write_text(PROFILE.replace(old, new, 1))
    assert problem in refused("report", place, place / "inputs.npz", "--profile", file)
    assert str(file) in refused("report", place, place / "inputs.npz", "--profile", file)


BUDGETS = {
    "nothing": ("", "limits"),
    "no limits": ("[limits]", "field limits: is empty"),
    "an unknown limit": ("[limits]\nwatts = 3", "watts"),
    "a negative limit": ("[limits]\nneurons = -1", "limits.neurons"),
    "a limit that is none": ("[limits]\nneurons = nan", "limits.neurons"),
    "an endless limit": ("[limits]\nneurons = inf", "limits.neurons"),
    "a limit in words": ('[limits]\nneurons = "few"', "limits.neurons"),
    "a truth": ("[limits]\nneurons = true", "limits.neurons"),
    "a statistic that is none": ('over = "p101"\n[limits]\nneurons = 1', "p101"),
    "a side without a part": ('side = "transmitter"\n[limits]\nneurons = 1', "transmitter"),
    "a place without a part": ('place = "chip"\n[limits]\nneurons = 1', "chip"),
    "an unknown column": ('column = "hope"\n[limits]\nneurons = 1', "column"),
}


@pytest.mark.parametrize("case", BUDGETS)
def test_budgets(place: Path, tmp_path: Path, case: str) -> None:
    text, problem = BUDGETS[case]
    file = tmp_path / "budget.toml"
    file.write_text(text)
    assert problem in refused("check", place, place / "inputs.npz", "--budget", file)


@pytest.mark.parametrize("command", ["report", "check"])
def test_missing_files(place: Path, tmp_path: Path, command: str) -> None:
    more = (
        ["--budget", tmp_path / "none.toml"] if command == "check" else ["--profile", tmp_path / "none.toml"]
    )
    assert "none.toml" in refused(command, place, place / "inputs.npz", *more)
    assert "none.npz" in refused("report", place, tmp_path / "none.npz")
