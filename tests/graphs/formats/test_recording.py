from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nsc_deploy.errors import DataError
from nsc_deploy.graphs.formats.recording import (
    Recording,
    make_recording,
    read_inputs,
    read_recording,
    write_recording,
)
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.npz import load_npz, save_npz

shapes = npst.array_shapes(min_dims=3, max_dims=5, min_side=1, max_side=5)
events = npst.arrays(np.uint8, shapes, elements=st.integers(0, 1))
reals = npst.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))
on_a_folder = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def labels_for(values: np.ndarray) -> np.ndarray:
    return np.arange(values.shape[1], dtype=np.int64)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 2, (5, 4, 3), dtype=np.uint8)
    path = tmp_path / "inputs.npz"
    write_recording(path, Recording(values, Signal.EVENTS, 0.03, labels_for(values)))
    return path


@given(values=events, dt=st.floats(1e-6, 10), with_labels=st.booleans())
@on_a_folder
def test_events_come_back(tmp_path: Path, values: np.ndarray, dt: float, with_labels: bool) -> None:
    comes_back(tmp_path, Recording(values, Signal.EVENTS, dt, labels_for(values) if with_labels else None))


@given(values=reals)
@on_a_folder
def test_real_values_come_back_to_the_bit(tmp_path: Path, values: np.ndarray) -> None:
    comes_back(tmp_path, Recording(values, Signal.REAL, 0.03))
    comes_back(tmp_path, Recording(np.rint(values), Signal.GRADED, 0.03))


@pytest.mark.parametrize("signal", Signal)
def test_sparse_values_come_back_however_well_they_pack(tmp_path: Path, signal: Signal) -> None:
    values = np.zeros((200, 20, 2, 48, 48), np.uint8 if signal is Signal.EVENTS else np.float32)
    values[::50, ::7, 0, 5, 5] = 1
    comes_back(tmp_path, Recording(values, signal, 0.001))


@pytest.mark.parametrize("odd", [0.37, 2.5, -0.5])
def test_graded_values_are_whole_numbers(tmp_path: Path, odd: float) -> None:
    with pytest.raises(DataError, match="no whole numbers"):
        write_recording(tmp_path / "a.npz", Recording(np.full((2, 2, 2), odd), Signal.GRADED, 0.03))


@pytest.mark.parametrize("value", [2**24 + 1, -(2**24) - 1, 2**60])
def test_whole_numbers_that_single_precision_has_not_are_refused(value: int) -> None:
    values = np.full((3, 1, 1), value, np.int64)
    with pytest.raises(DataError, match="not all numbers of single precision"):
        make_recording(values, Signal.GRADED, 0.01, where="it")
    most = make_recording(np.full((3, 1, 1), 2**24, np.int64), Signal.GRADED, 0.01, where="it")
    assert int(most.values.max()) == 2**24


def test_values_beyond_single_precision_are_refused() -> None:
    with pytest.raises(DataError, match=r"holds 1e\+39, beyond 3.4e\+38"):
        make_recording(np.full((3, 1, 1), -1e39), Signal.REAL, 0.01, where="it")


@pytest.mark.parametrize(
    "labels", [[0.0, 0.5], [0, 2**40], [0, 1e30], [0, -1], [np.nan, 1.0], ["a", "b"], [[0, 1], [1, 0]]]
)
def test_labels_are_classes(tmp_path: Path, labels: list[Any]) -> None:
    recording = Recording(np.zeros((2, 2, 2), np.uint8), Signal.EVENTS, 0.03, np.array(labels))
    with pytest.raises(DataError, match="labels"):
        write_recording(tmp_path / "a.npz", recording)
    assert not (tmp_path / "a.npz").exists()


def comes_back(folder: Path, recording: Recording) -> None:
    write_recording(folder / "a.npz", recording)
    loaded = read_recording(folder / "a.npz")
    assert loaded.values.dtype == recording.values.dtype
    np.testing.assert_array_equal(loaded.values, recording.values)
    np.testing.assert_equal(loaded.labels, recording.labels)
    assert (loaded.signal, loaded.dt) == (recording.signal, recording.dt)


def test_events_take_a_bit_each(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (100, 80, 100), dtype=np.uint8)
    write_recording(tmp_path / "a.npz", Recording(noise, Signal.EVENTS, 0.03))
    assert (tmp_path / "a.npz").stat().st_size < 101_000


@pytest.mark.parametrize("odd", [2, 0.5, -1, np.nan])
def test_events_that_are_none_are_refused_not_rounded(tmp_path: Path, odd: float) -> None:
    values = np.zeros((2, 2, 2), np.float32)
    values[1, 0, 1] = odd
    with pytest.raises(DataError, match="other than 0 and 1"):
        write_recording(tmp_path / "a.npz", Recording(values, Signal.EVENTS, 0.03))
    assert not (tmp_path / "a.npz").exists()


def test_first_cuts_samples_and_their_labels(saved: Path) -> None:
    recording = read_recording(saved)
    cut = recording.first(2)
    assert (cut.steps, cut.samples, cut.shape) == (5, 2, (3,))
    np.testing.assert_array_equal(cut.values, recording.values[:, :2])
    assert cut.labels is not None
    assert cut.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shape": None}, "not a recording"),
        ({"signal": None}, "not a recording"),
        ({"events": None}, "not a recording"),
        ({"signal": np.frombuffer(b"spikes", np.uint8)}, "not a recording"),
        ({"signal": np.frombuffer(b"\xff\xfe", np.uint8)}, "not a recording"),
        ({"signal": np.frombuffer(b"real", np.uint8)}, "not a recording"),
        ({"dt": np.array([0.1, 0.2])}, "not a recording"),
        ({"shape": np.array(60)}, "not a recording"),
        ({"dt": np.array("soon")}, "not a recording"),
        ({"dt": np.array(0.0)}, "time step of 0 s"),
        ({"dt": np.array(np.inf)}, "time step of inf s"),
        ({"shape": np.array([5, 4, 4])}, "claims the shape"),
        ({"shape": np.array([2**62, 2**62, 4])}, "claims the shape"),
        ({"shape": np.array([-5, -4, 3])}, "claims the shape"),
        ({"shape": np.array([5, 12])}, "claims the shape"),
        ({"shape": np.array([], np.int64)}, "claims the shape"),
        ({"events": np.zeros(8, np.float32)}, "float32 values"),
        ({"events": np.array(["a"] * 8)}, "values, which no recording has"),
        ({"labels": np.zeros(3, np.int64)}, "labels"),
        ({"labels": np.zeros((4, 1), np.int64)}, "labels"),
        ({"labels": np.array(["a", "b", "c", "d"])}, "labels"),
    ],
)
def test_what_does_not_fit_together_is_named(
    saved: Path, change: dict[str, np.ndarray[Any, Any] | None], problem: str
) -> None:
    arrays: dict[str, np.ndarray[Any, Any] | None] = {**load_npz(saved), **change}
    save_npz(saved, {name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match=problem) as caught:
        read_recording(saved)
    assert caught.value.where == str(saved)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    values = np.full((2, 2, 2), value, np.float32)
    with pytest.raises(DataError, match="NaN or infinity"):
        write_recording(tmp_path / "a.npz", Recording(values, Signal.REAL, 0.03))
    write_recording(tmp_path / "a.npz", Recording(np.zeros((2, 2, 2), np.float32), Signal.REAL, 0.03))
    save_npz(tmp_path / "a.npz", {**load_npz(tmp_path / "a.npz"), "values": values.reshape(-1)})
    with pytest.raises(DataError, match="NaN or infinity"):
        read_recording(tmp_path / "a.npz")


EVENTS = np.random.default_rng(1).integers(0, 2, (5, 4, 3))


def arrays_of(kind: str, folder: Path) -> Path:
    """Plain arrays as programs save them."""
    path = folder / f"plain.{'npy' if kind == 'npy' else 'npz'}"
    if kind == "npy":
        np.save(path, EVENTS.astype(bool))
    elif kind == "alone":
        np.savez(path, EVENTS)
    else:
        np.savez_compressed(path, x=EVENTS.astype(np.float64), y=EVENTS[:, :, :1], labels=np.arange(4))
    return path


@pytest.mark.parametrize("kind", ["npy", "alone", "named"])
def test_plain_arrays_are_read_with_what_they_do_not_say(tmp_path: Path, kind: str) -> None:
    path = arrays_of(kind, tmp_path)
    read = read_inputs(path, signal=Signal.EVENTS, dt=0.002)
    np.testing.assert_array_equal(read.values, EVENTS)
    assert (read.values.dtype, read.dt, read.signal) == (np.uint8, 0.002, Signal.EVENTS)
    assert (read.labels is None) is (kind != "named")
    for signal, dt, missing in ((None, 0.002, "--signal"), (Signal.EVENTS, None, "--dt")):
        with pytest.raises(DataError, match="do not say what they are") as caught:
            read_inputs(path, signal=signal, dt=dt)
        assert missing in str(caught.value.hint)
    with pytest.raises(DataError, match="not a recording of this tool") as caught:
        read_recording(path)
    assert "nsc-deploy record" in str(caught.value.hint)


def test_a_recording_is_read_as_what_it_states(saved: Path) -> None:
    assert read_inputs(saved, signal=Signal.REAL, dt=1.0).signal is Signal.EVENTS


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"a": EVENTS, "b": EVENTS}, "which array is meant"),
        ({"x": EVENTS + 1}, "other than 0 and 1"),
        ({"x": EVENTS[0]}, r"\[steps, samples, ...\] is wanted"),
        ({"x": EVENTS[:0]}, r"\[steps, samples, ...\] is wanted"),
        ({"x": np.array([[["a"]]])}, "numbers are wanted"),
        ({"x": EVENTS, "labels": np.arange(5)}, "labels"),
    ],
)
def test_plain_arrays_that_are_no_recording_are_named(
    tmp_path: Path, arrays: dict[str, Any], problem: str
) -> None:
    np.savez(tmp_path / "plain.npz", **arrays)
    with pytest.raises(DataError, match=problem) as caught:
        read_inputs(tmp_path / "plain.npz", signal=Signal.EVENTS, dt=1.0)
    assert caught.value.where == str(tmp_path / "plain.npz")


@pytest.mark.parametrize("damage", ["cut", "pickled", "text"])
def test_a_damaged_array_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "plain.npy"
    np.save(path, np.array([{}]) if damage == "pickled" else EVENTS, allow_pickle=True)
    if damage != "pickled":
        path.write_bytes(path.read_bytes()[:-3] if damage == "cut" else b"1 2 3")
    with pytest.raises(DataError, match=r"not a valid \.npy file"):
        read_inputs(path, signal=Signal.EVENTS, dt=1.0)


def test_labels_of_each_step_are_taken_for_swapped_axes(tmp_path: Path) -> None:
    values, labels = np.zeros((25, 300, 4), np.uint8), np.zeros(25, np.int64)
    with pytest.raises(DataError, match="300 samples and 25 steps") as caught:
        write_recording(tmp_path / "it.npz", Recording(values, Signal.EVENTS, 1e-3, labels))
    assert "are the first two axes swapped" in (caught.value.hint or "")
