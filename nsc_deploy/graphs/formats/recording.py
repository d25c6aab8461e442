"""Recorded inputs of a graph, which every step after training replays instead of the torch model.

An .npz archive: `shape` [3 or more], `signal` (text as uint8), `dt` in seconds, `labels` [samples] where
there are any, and `events` (bits, eight to a byte) or `values` (float32) in the order of `shape`. What such
a file states is looked at on the way in and on the way out. Arrays of any other program, .npy or .npz, are
read too where somebody says what they hold.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.diagnostics import announce
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.npz import load_npy, load_npz, most_unpacked, save_npz

_GRAPHS = frozenset({".nir", ".onnx"})
_HINT = "Name a recording: RUN/receiver.npz for example, or make one of your arrays: nsc-deploy record"
INPUT_NAMES = ("inputs", "events", "values", "x")
OUTPUT_NAMES = ("outputs", "spikes", "y")
LABEL_NAMES = ("labels",)
_MOST_DIMENSIONS = 16
_LONGEST_SIGNAL = 32
_LARGEST_WHOLE = 2**24
_LARGEST = float(np.finfo(np.float32).max)
_LARGEST_CLASS = 2**31 - 1
# Eight events stand in a byte, so that their array is larger than what was stored.
_PLAIN_EVENTS = 512 * 1024**2


class Layout(StrEnum):
    """What the axes of a graph's input are; a recording is fed to it so.

    - `STEPS_FIRST`: [steps, samples, *shape], as recordings are.
    - `BATCH_FIRST`: [samples, steps, *shape].
    - `NO_STEPS`: [samples, *shape]; the recording has a single step.
    """

    STEPS_FIRST = "steps-first"
    BATCH_FIRST = "batch-first"
    NO_STEPS = "no-steps"


@dataclass(frozen=True)
class Recording:
    """Inputs of one graph, time first.

    Attributes:
        values: [steps, samples, *shape]; uint8 for `Signal.EVENTS`, float32 otherwise.
        signal: what the values are.
        dt: length of a step in seconds.
        labels: [samples] int64, the class of each sample, or None.
        plain: whether it was made of an array that does not say what its axes are.
    """

    values: NDArray[Any]
    signal: Signal
    dt: float
    labels: NDArray[np.int64] | None = None
    plain: bool = False

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return int(self.values.shape[0])

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.values.shape[1])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step."""
        return tuple(self.values.shape[2:])

    def first(self, samples: int) -> "Recording":
        """The first `samples` samples."""
        labels = None if self.labels is None else self.labels[:samples]
        return replace(self, values=self.values[:, :samples], labels=labels)


def require_step(recording: Recording, step: float | None, where: object) -> None:
    """Refuse a recording whose steps are not as long as those of a graph: figures a second would be wrong.

    Args:
        recording: of inputs.
        step: of the graph in seconds; None where it has none.
        where: the recording, as the user knows it.

    Raises:
        ConfigError: another length.
    """
    if step is not None and not math.isclose(recording.dt, step, rel_tol=1e-6):
        raise ConfigError(
            f"was recorded with steps of {recording.dt:g} s, the graph has {step:g} s",
            where=where,
            hint="Record with the time step of the graph, or name that of the graph: --dt. Where the step of "
            f"a file is nominal, energy commands take the real one: --step-seconds {recording.dt:g}",
        )


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording as .npz; events are packed eight to a byte.

    Raises:
        DataError: it states what it does not hold: see `check_recording`.
        UserError: the file cannot be written.
    """
    check_recording(recording, path)
    arrays: dict[str, NDArray[Any]] = {
        "shape": np.asarray(recording.values.shape, dtype=np.int64),
        "signal": np.frombuffer(recording.signal.value.encode(), dtype=np.uint8),
        "dt": np.asarray(recording.dt, dtype=np.float64),
    }
    if recording.signal is Signal.EVENTS:
        arrays["events"] = np.packbits(recording.values.astype(bool).reshape(-1))
    else:
        arrays["values"] = recording.values.astype(np.float32)
    if recording.labels is not None:
        arrays["labels"] = recording.labels.astype(np.int64)
    save_npz(path, arrays)


def check_recording(recording: Recording, where: object) -> None:
    """Refuse a recording whose values or labels are not what it says they are.

    Raises:
        DataError: no values, events other than 0 and 1, graded values that are no whole numbers up to 2^24,
            NaN, infinity or more than single precision holds, a step that is no positive number, labels that
            are no classes from 0 on.
    """
    values, labels = recording.values, recording.labels
    if values.ndim < 3 or not values.size:
        raise DataError(
            f"holds values of the shape {values.shape}, and [steps, samples, ...] is wanted",
            where=where,
            hint="Time comes first, then the samples, then the shape of one sample at one step.",
        )
    if not np.isfinite(recording.dt) or recording.dt <= 0:
        raise DataError(
            f"states a time step of {recording.dt:g} s, which is not a positive number", where=where
        )
    if recording.signal is Signal.EVENTS and not ((values == 0) | (values == 1)).all():
        raise DataError(
            "holds events other than 0 and 1",
            where=where,
            hint="Whole numbers are --signal graded, any others --signal real.",
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError("holds NaN or infinity", where=where)
    if recording.signal is Signal.GRADED and not (values == np.rint(values)).all():
        raise DataError(
            "holds graded values that are no whole numbers", where=where, hint="Those are --signal real."
        )
    # Values are kept, and run, in single precision.
    events = recording.signal is Signal.EVENTS
    largest = 1.0 if events else max(float(values.max()), -float(values.min()))
    if recording.signal is Signal.GRADED and largest > _LARGEST_WHOLE:
        raise DataError(
            f"holds the graded value {largest:.17g}, and whole numbers beyond {_LARGEST_WHOLE:,} are not all "
            "numbers of single precision",
            where=where,
            hint="Scale them down, or record them as --signal real.",
        )
    if largest > _LARGEST:
        raise DataError(
            f"holds {largest:g}, beyond {_LARGEST:.3g}, the largest number of single precision", where=where
        )
    if labels is not None:
        _check_labels(labels, values.shape[0], values.shape[1], where)


def _check_labels(labels: NDArray[Any], steps: int, samples: int, where: object) -> None:
    if labels.shape != (samples,) or labels.dtype.kind not in "iuf":
        swapped = labels.shape == (steps,)
        raise DataError(
            f"has {labels.dtype} labels {labels.shape} for {samples} samples and {steps} steps",
            where=where,
            hint="There is a label for each step: are the first two axes swapped? Time is the first."
            if swapped
            else None,
        )
    whole = np.isfinite(labels).all() and np.array_equal(labels, np.rint(labels))
    if not whole or labels.min() < 0 or labels.max() > _LARGEST_CLASS:
        raise DataError(
            f"has labels from {labels.min():g} to {labels.max():g} that are no classes",
            where=where,
            hint=f"Classes are whole numbers from 0 to {_LARGEST_CLASS}; leave samples of no class out.",
        )


def _read_head(arrays: Mapping[str, NDArray[Any]], path: Path) -> tuple[tuple[int, ...], Signal, float]:
    """Shape, signal and time step, each looked at before it is used."""
    missing = [name for name in ("shape", "signal", "dt") if name not in arrays]
    if missing:
        raise _foreign(path, f"it holds no {missing[0]}")
    sizes, text, dt = arrays["shape"], arrays["signal"], arrays["dt"]
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or sizes.size > _MOST_DIMENSIONS:
        raise _foreign(path, f"its shape is {sizes.dtype} {sizes.shape}")
    signal = _signal(text)
    if signal is None:
        raise _foreign(path, f"its signal is none of {', '.join(Signal)}")
    if dt.shape != () or dt.dtype.kind not in "fiu":
        raise _foreign(path, f"its time step is {dt.dtype} {dt.shape}")
    return tuple(int(size) for size in sizes), signal, float(dt)


def _signal(text: NDArray[Any]) -> Signal | None:
    known = {signal.value.encode(): signal for signal in Signal}
    return known.get(text.tobytes()) if text.nbytes < _LONGEST_SIGNAL else None


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(f"is not a recording of this tool ({reason})", where=path, hint=_HINT)


def read_recording(path: Path) -> Recording:
    """Read what `write_recording` wrote.

    Raises:
        DataError: missing, damaged, of another kind, or holding what it does not state.
    """
    if path.suffix == ".npy":
        raise _foreign(path, "it is an array alone")
    return _own(load_npz(path), path)


def read_inputs(
    path: Path, *, signal: Signal | None, dt: float | None, samples_first: bool = False
) -> Recording:
    """Read a recording, or plain arrays of any program with what they do not say.

    Plain are an .npy file, and an .npz file with an array of one of the `INPUT_NAMES`, or with one array
    alone; "labels" are labels. Time is first, then the samples.

    Args:
        path: the file.
        signal: what plain values are.
        dt: seconds a step of plain values.
        samples_first: whether plain values are [samples, steps, *shape].

    Raises:
        DataError: missing, damaged, or holding what it does not state; plain and without a signal or a step.
        ConfigError: `samples_first` of a recording, which has its steps first.
    """
    if path.suffix != ".npy" and not is_plain(arrays := load_npz(path)):
        refuse_samples_first(path, samples_first=samples_first)
        return _own(arrays, path)
    values = read_array(path, INPUT_NAMES)
    labels = None if path.suffix == ".npy" else arrays.get("labels")
    return recording_of_array(values, labels, signal=signal, dt=dt, where=path, samples_first=samples_first)


def refuse_samples_first(where: object, *, samples_first: bool) -> None:
    """Refuse an order of axes that is said of a recording.

    Raises:
        ConfigError: it is.
    """
    if samples_first:
        raise ConfigError(
            "is for plain arrays, and this is a recording, which has its steps first",
            where=f"--samples-first: {where}",
            hint="Leave it out. A recording that was made with the axes swapped is to be made anew: "
            "nsc-deploy record ARRAY --samples-first",
        )


def recording_of_array(
    values: NDArray[Any],
    labels: NDArray[Any] | None = None,
    *,
    signal: Signal | None,
    dt: float | None,
    where: object,
    samples_first: bool = False,
) -> Recording:
    """A recording of plain arrays, [steps, samples, *shape] or samples first, with what they do not say.

    Raises:
        DataError: without a signal or a step, and as `check_recording`.
    """
    if signal is None or dt is None:
        words = {"--signal events (or graded, real)": signal, "--dt SECONDS": dt}
        lacking = " and ".join(word for word, value in words.items() if value is None)
        raise DataError(
            "holds plain arrays, which do not say what they are",
            where=where,
            hint=f"Say it: {lacking}. Or write a recording once: nsc-deploy record",
        )
    if samples_first and values.ndim > 1:
        values = values.swapaxes(0, 1)
    return make_recording(values, signal, dt, labels, where=where, plain=True, turned=samples_first)


def make_recording(
    values: NDArray[Any],
    signal: Signal,
    dt: float,
    labels: NDArray[Any] | None = None,
    *,
    where: object,
    plain: bool = False,
    turned: bool = False,
) -> Recording:
    """A recording of arrays, which are looked at first; what is unlikely of them is told.

    Raises:
        DataError: see `check_recording`.
    """
    if values.dtype.kind not in "biuf":
        raise DataError(f"holds {values.dtype} values, and numbers are wanted", where=where)
    given = Recording(values, signal, dt, labels)
    check_recording(given, where)
    # Recordings that were written here were looked at then.
    from nsc_deploy.graphs.formats.axes import doubts

    for doubt in doubts(values, signal, labels, where, turned=turned):
        announce(doubt)
    kind = np.uint8 if signal is Signal.EVENTS else np.float32
    whole = None if labels is None else labels.astype(np.int64)
    return Recording(values.astype(kind), signal, dt, whole, plain)


def recordings_beside(
    graphs: Sequence[Path], named: Sequence[Path] | None, say: Callable[[str], object]
) -> list[Path]:
    """The recordings of graph files, in their order: those that are named, else those beside all of them.

    A recording lies beside a graph under its name, receiver.npz beside receiver.nir, as in a run.

    Args:
        graphs: what a command was given; runs and deployment folders hold recordings of their own.
        named: the recordings that it was given.
        say: told of each one that was found.
    """
    if named:
        return list(named)
    files = [graph for graph in graphs if graph.suffix in _GRAPHS and graph.is_file()]
    found = [graph.with_suffix(".npz") for graph in files]
    if not all(recording.is_file() for recording in found):
        return []
    for recording in found:
        say(f"inputs: {recording}, which lies beside the graph")
    return found


def stated_signal(path: Path) -> Signal | None:
    """What the values of a recording are; None for plain arrays, which do not say it.

    Raises:
        DataError: missing or damaged.
    """
    stated = None if path.suffix == ".npy" else load_npz(path, only="signal").get("signal")
    return None if stated is None else _signal(stated)


def read_array(path: Path, names: Sequence[str]) -> NDArray[Any]:
    """The array of an .npy file, or the one in an .npz file that bears one of the names or is alone.

    Raises:
        DataError: missing, damaged, or no array is meant for sure.
    """
    if path.suffix == ".npy":
        return load_npy(path)
    arrays = load_npz(path)
    found = [name for name in names if name in arrays] or [name for name in arrays if name not in LABEL_NAMES]
    if len(found) != 1:
        there = ", ".join(arrays) or "nothing"
        raise DataError(
            f"holds {there}, and which array is meant is not clear",
            where=path,
            hint=f"Call it {names[0]}, or keep it alone.",
        )
    return arrays[found[0]]


def is_plain(arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Whether an archive has none of the marks of a recording."""
    return not {"shape", "signal", "dt"} & arrays.keys()


def _own(arrays: Mapping[str, NDArray[Any]], path: Path) -> Recording:
    if is_plain(arrays):
        raise _foreign(path, "it holds plain arrays")
    shape, signal, dt = _read_head(arrays, path)
    name = "events" if signal is Signal.EVENTS else "values"
    if name not in arrays:
        raise _foreign(path, f"it holds no {name}")
    flat = arrays[name]
    if flat.dtype != (np.uint8 if signal is Signal.EVENTS else np.float32):
        raise DataError(f"holds {flat.dtype} values, which no recording has", where=path)
    count = prod(shape)
    expected = -(-count // 8) if signal is Signal.EVENTS else count
    if len(shape) > 2 and min(shape) == 0 and not flat.size:
        raise DataError(f"holds no values: its shape is {shape}", where=path)
    if len(shape) < 3 or min(shape) < 1 or flat.size != expected:
        raise DataError(f"claims the shape {shape} but holds {flat.size} values", where=path)
    if count > most_unpacked(path, plain=_PLAIN_EVENTS):
        raise DataError(f"unpacks to {count} events, far more than its size", where=path)
    if signal is Signal.EVENTS:
        values = np.unpackbits(flat, count=count).reshape(shape)
    else:
        values = flat.reshape(shape)
    labels = arrays.get("labels")
    if labels is not None and labels.dtype != np.int64:
        raise DataError(f"has {labels.dtype} labels {labels.shape} for {shape[1]} samples", where=path)
    found = Recording(values, signal, dt, labels)
    check_recording(found, path)
    return found
