"""Exports that are killed, or run into one folder at the same time: nothing lost, nothing left behind."""

import signal
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.forks import forked
from tests.support.lava import random_events, receiver

FEW = 20  # changes on the disk; an export makes more of them


@pytest.fixture
def export(tmp_path: Path) -> list[str]:
    write_network(tmp_path / "receiver.nir", receiver(6, 5, 4))
    events = random_events(np.random.default_rng(0), 5, 3, 6)
    write_recording(tmp_path / "inputs.npz", Recording(events, Signal.EVENTS, 0.03))
    graph, inputs, out = (str(tmp_path / name) for name in ("receiver.nir", "inputs.npz", "out"))
    return ["export", graph, "--inputs", inputs, "--out", out, "--target"]


def look(folder: Path) -> list[str]:
    return ["run", str(folder), "--backend", "twin", "--json"]


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def kill(export: list[str], place: Path, moments: int | None) -> None:
    """Kill an export before so many of its changes on the disk, or all, and inside writes; each kill hits."""
    command, out = [*export, "lava"], place / "out"
    changes = forked("changes", warm=[command], arguments=command, folder=str(place))
    assert changes > FEW
    step = changes // (moments or changes)
    largest = max(path.stat().st_size for path in out.rglob("*") if path.is_file())
    sizes = [largest // share for share in ((2,) if moments else range(2, 20))]
    before = list(range(changes, 0, -step))
    signals = forked(
        "killed", warm=[look(out)], arguments=command, check=look(out),
        folder=str(place), before=before, beyond=sizes,
    )  # fmt: skip
    assert signals == [signal.SIGKILL] * len(before) + [signal.SIGXFSZ] * len(sizes)
    read_lava_deployment(out)
    forked("limited", jobs=[(command, None)])
    assert left(place) == ["inputs.npz", "out", "receiver.nir"]


def test_an_export_killed_leaves_the_earlier_one_whole(export: list[str], tmp_path: Path) -> None:
    kill(export, tmp_path, moments=9)


@pytest.mark.slow
def test_an_export_killed_at_any_moment(export: list[str], tmp_path: Path) -> None:
    kill(export, tmp_path, moments=None)


def test_exports_into_one_folder_at_the_same_time(export: list[str], tmp_path: Path) -> None:
    """Each comes to its end, and the folder is that of one of them, not a mixture."""
    several = [[*export, "lava", "--bits", str(bits)] for bits in (8, 8, 4, 4)]
    for _ in range(2):
        assert forked("together", warm=[several[0]], several=several) == [0] * 4
        deployment = read_lava_deployment(tmp_path / "out")
        assert deployment.manifest.weight_bits in {4, 8}
        assert left(tmp_path) == ["inputs.npz", "out", "receiver.nir"]


def test_the_first_exports_into_a_new_folder_meet_too(export: list[str], tmp_path: Path) -> None:
    """None of them is warm, and the folder is not there when they begin."""
    warm = [[*export[:-2], str(tmp_path / "warm"), "--target", "lava"]]
    several = [[*export, "lava", "--bits", str(bits)] for bits in (8, 4)]
    assert forked("together", warm=warm, several=several) == [0, 0]
    read_lava_deployment(tmp_path / "out")
    assert left(tmp_path) == ["inputs.npz", "out", "receiver.nir", "warm"]
