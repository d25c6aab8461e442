"""The Spiking Heidelberg Digits, on small files in the published form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nsc_deploy.data import DataConfig, load_events
from nsc_deploy.data.config import BinningConfig
from nsc_deploy.data.shd import read_part
from nsc_deploy.errors import DataError
from nsc_deploy.io.sandbox import Tree

Spikes = list[tuple[np.ndarray, np.ndarray]]


def some_spikes(count: int, seed: int) -> tuple[Spikes, np.ndarray]:
    chance = np.random.default_rng(seed)
    spikes = []
    for _ in range(count):
        size = int(chance.integers(0, 400))
        times = np.sort(chance.uniform(0, 1.2, size)).astype(np.float16)
        spikes.append((times, chance.integers(0, 700, size).astype(np.uint16)))
    return spikes, np.arange(count, dtype=np.uint16) % 20


def write_shd(path: Path, spikes: Spikes, labels: np.ndarray) -> None:
    """Write the groups and types of the published files."""
    with h5py.File(path, "w") as file:
        group = file.create_group("spikes")
        times = group.create_dataset("times", (len(spikes),), h5py.vlen_dtype(np.float16))
        units = group.create_dataset("units", (len(spikes),), h5py.vlen_dtype(np.uint16))
        for sample, (when, which) in enumerate(spikes):
            times[sample], units[sample] = when, which
        file["labels"] = labels
        extra = file.create_group("extra")
        extra["speaker"] = np.zeros(len(labels), np.uint16)
        extra["keys"] = np.array([f"digit {number}".encode() for number in range(20)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 40), ("test", 20)):
        write_shd(tmp_path / f"shd_{part}.h5", *some_spikes(count, seed=count))
    return tmp_path


def test_loaded_in_bins_of_the_default_form(folder: Path) -> None:
    data = load_events(DataConfig(dataset="shd", path=folder))
    assert data.train.events.shape == (40, 15, 700)
    assert data.test.events.shape == (20, 15, 700)
    assert (len(data.class_names), data.dt) == (20, 0.06)
    np.testing.assert_array_equal(data.test.labels, np.arange(20))
    same = load_events(DataConfig(dataset="shd", path=folder / "shd_train.h5"))
    np.testing.assert_array_equal(same.train.events, data.train.events)


def test_a_file_of_another_name_is_refused_by_its_own_name(folder: Path) -> None:
    other = folder / "spikes.h5"
    other.write_bytes((folder / "shd_train.h5").read_bytes())
    with pytest.raises(DataError, match=r"neither shd_train\.h5 nor shd_test\.h5") as caught:
        load_events(DataConfig(dataset="shd", path=other))
    assert caught.value.where == str(other)
    assert "Name the folder" in (caught.value.hint or "")


def test_the_part_that_is_missing_is_named(folder: Path) -> None:
    (folder / "shd_train.h5").unlink()
    with pytest.raises(DataError, match="is missing") as caught:
        load_events(DataConfig(dataset="shd", path=folder / "shd_test.h5"))
    assert caught.value.where == str(folder / "shd_train.h5")


@pytest.mark.parametrize("config", [BinningConfig(), BinningConfig(step_s=0.01, steps=100, pool=3)])
def test_an_event_where_a_channel_has_a_spike_in_a_step(tmp_path: Path, config: BinningConfig) -> None:
    spikes, labels = some_spikes(12, seed=1)
    write_shd(tmp_path / "part.h5", spikes, labels)
    expected = np.zeros((12, config.steps, config.channels), np.uint8)
    for sample, (times, units) in enumerate(spikes):
        for when, which in zip(times, units, strict=True):
            step = int(float(when) // config.step_s)
            if step < config.steps:
                expected[sample, step, int(which) // config.pool] = 1
    np.testing.assert_array_equal(read_part(tmp_path / "part.h5", config).events, expected)


@pytest.mark.parametrize(
    ("times", "units", "label", "reason"),
    [
        ([0.1], [700], 0, "units other than 0 to 699"),
        ([0.1], [5], 20, "labels other than 0 to 19"),
        ([-0.1], [5], 0, "negative or not finite"),
        ([np.nan], [5], 0, "negative or not finite"),
        ([0.1, 0.2], [5], 0, "another number of times"),
    ],
)
def test_values_out_of_range_are_refused(
    tmp_path: Path, times: list[float], units: list[int], label: int, reason: str
) -> None:
    spikes = [(np.array(times, np.float16), np.array(units, np.uint16))]
    write_shd(tmp_path / "part.h5", spikes, np.array([label], np.uint16))
    with pytest.raises(DataError, match=reason):
        read_part(tmp_path / "part.h5", BinningConfig())


@pytest.mark.parametrize("kept", [0, 100, 3000, -1])
def test_a_truncated_file_is_refused(folder: Path, kept: int) -> None:
    path = folder / "shd_test.h5"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError) as caught:
        load_events(DataConfig(dataset="shd", path=folder))
    assert caught.value.where == str(path)


@pytest.mark.parametrize("content", [{}, {"labels": [1]}, {"spikes": [1], "labels": [1]}])
def test_another_hdf5_file_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
    with pytest.raises(DataError, match="not a file of the Spiking Heidelberg Digits"):
        read_part(tmp_path / "other.h5", BinningConfig())


def test_plain_arrays_in_place_of_variable_length_ones_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["spikes/times"], file["spikes/units"], file["labels"] = [0.1], [3], [1]
    with pytest.raises(DataError, match="not a file of the Spiking Heidelberg Digits"):
        read_part(tmp_path / "other.h5", BinningConfig())


def test_a_claimed_size_is_looked_at_before_it_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        for name in ("spikes/times", "spikes/units", "labels"):
            file.create_dataset(name, (10**12,), np.uint16)
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match="claims 1000000000000 samples"):
        read_part(path, BinningConfig())


def test_data_of_another_file_are_not_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(40))
    with h5py.File(folder / "shd_test.h5", "a") as file:
        del file["labels"]
        file.create_dataset("labels", (20,), np.uint16, external=[(secret, 0, 40)])
    with pytest.raises(DataError, match="no list of values in this file"):
        read_part(folder / "shd_test.h5", BinningConfig())


def test_a_missing_part_is_named(folder: Path) -> None:
    (folder / "shd_test.h5").unlink()
    with pytest.raises(DataError, match=r"shd_test\.h5: is missing"):
        load_events(DataConfig(dataset="shd", path=folder))


def _text(file: h5py.File) -> None:
    del file["spikes/times"]
    file.create_dataset("spikes/times", data=["a"] * 20, dtype=h5py.string_dtype())


def _elsewhere(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["x"] = np.full(20, 7, "u2")
    del file["labels"]
    file["labels"] = h5py.ExternalLink("other.h5", "/x")


def _wide(file: h5py.File) -> None:
    del file["labels"]
    file.create_dataset("labels", shape=(20,), dtype=np.dtype(("u2", (10_000_000,))))


def _records(file: h5py.File) -> None:
    del file["spikes/times"]
    file.create_dataset("spikes/times", shape=(20,), dtype=[("a", "f4"), ("b", "f4")])


def _references(file: h5py.File) -> None:
    del file["spikes/units"]
    file.create_dataset("spikes/units", shape=(20,), dtype=h5py.ref_dtype)


@pytest.mark.parametrize("damage", [_text, _elsewhere, _wide, _records, _references])
def test_other_types_and_links_are_refused(folder: Path, damage: Callable[[h5py.File], None]) -> None:
    with h5py.File(folder / "shd_test.h5", "a") as file:
        damage(file)
    with pytest.raises(DataError, match="is not a file of the Spiking Heidelberg Digits"):
        load_events(DataConfig(dataset="shd", path=folder))


def _never(_path: Path) -> Tree:
    while True:
        pass


def test_a_file_that_the_library_never_ends_with_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsc_deploy.data.shd.read_columns", _never)
    with pytest.raises(DataError, match="does not get to its end"):
        read_part(folder / "shd_test.h5", BinningConfig())
