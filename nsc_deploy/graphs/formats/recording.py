"""Recorded inputs of a graph, which every step after training replays instead of the torch model.

An .npz archive: `shape` [3 or more], `signal` (text as uint8), `dt` in seconds, `labels` [samples] where
there are any, and `events` (bits, eight to a byte) or `values` (float32) in the order of `shape`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.npz import load_npz, most_unpacked, save_npz

_HINT = "Name a recording: RUN/receiver.npz for example, or make one of your arrays (docs/recordings.md)."
_MOST_DIMENSIONS = 16
_LONGEST_SIGNAL = 32
# Eight events stand in a byte, so that their array is larger than what was stored.
_PLAIN_EVENTS = 512 * 1024**2


@dataclass(frozen=True)
class Recording:
    """Inputs of one graph, time first.

    Attributes:
        values: [steps, samples, *shape]; uint8 for `Signal.EVENTS`, float32 otherwise.
        signal: what the values are.
        dt: length of a step in seconds.
        labels: [samples] int64, the class of each sample, or None.
    """

    values: NDArray[Any]
    signal: Signal
    dt: float
    labels: NDArray[np.int64] | None = None

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
        return Recording(self.values[:, :samples], self.signal, self.dt, labels)


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
        DataError: events other than 0 and 1, which packing would change without a word.
        UserError: the file cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {
        "shape": np.asarray(recording.values.shape, dtype=np.int64),
        "signal": np.frombuffer(recording.signal.value.encode(), dtype=np.uint8),
        "dt": np.asarray(recording.dt, dtype=np.float64),
    }
    if recording.signal is Signal.EVENTS:
        if not ((recording.values == 0) | (recording.values == 1)).all():
            raise DataError("holds events other than 0 and 1", where=path)
        arrays["events"] = np.packbits(recording.values.astype(bool).reshape(-1))
    else:
        arrays["values"] = recording.values.astype(np.float32)
    if recording.labels is not None:
        arrays["labels"] = recording.labels.astype(np.int64)
    save_npz(path, arrays)


def _read_head(arrays: Mapping[str, NDArray[Any]], path: Path) -> tuple[tuple[int, ...], Signal, float]:
    """Shape, signal and time step, each looked at before it is used."""
    missing = [name for name in ("shape", "signal", "dt") if name not in arrays]
    if missing:
        raise _foreign(path, f"it holds no {missing[0]}")
    sizes, text, dt = arrays["shape"], arrays["signal"], arrays["dt"]
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or sizes.size > _MOST_DIMENSIONS:
        raise _foreign(path, f"its shape is {sizes.dtype} {sizes.shape}")
    known = {signal.value.encode(): signal for signal in Signal}
    signal = known.get(text.tobytes()) if text.nbytes < _LONGEST_SIGNAL else None
    if signal is None:
        raise _foreign(path, f"its signal is none of {', '.join(Signal)}")
    if dt.shape != () or dt.dtype.kind not in "fiu":
        raise _foreign(path, f"its time step is {dt.dtype} {dt.shape}")
    return tuple(int(size) for size in sizes), signal, float(dt)


def _foreign(path: Path, reason: str) -> DataError:
    return DataError(f"is not a recording of this tool ({reason})", where=path, hint=_HINT)


def read_recording(path: Path) -> Recording:
    """Read what `write_recording` wrote.

    Raises:
        DataError: missing, damaged, inconsistent shapes, no samples, NaN or infinite values.
    """
    arrays = load_npz(path)
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
    if not np.isfinite(dt) or dt <= 0:
        raise DataError(f"states a time step of {dt:g} s, which is not a positive number", where=path)
    if not np.isfinite(values).all():
        raise DataError("holds NaN or infinity", where=path)
    labels = arrays.get("labels")
    if labels is not None and (labels.shape != (shape[1],) or labels.dtype != np.int64):
        raise DataError(f"has {labels.dtype} labels {labels.shape} for {shape[1]} samples", where=path)
    return Recording(values, signal, dt, labels)
