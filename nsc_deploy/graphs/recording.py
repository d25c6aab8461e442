"""Recorded inputs of a graph: what every step after training replays instead of the torch model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError
from nsc_deploy.files import load_npz, save_npz
from nsc_deploy.graphs.signal import Signal


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


def read_recording(path: Path) -> Recording:
    """Read what `write_recording` wrote.

    Raises:
        DataError: missing, damaged, inconsistent shapes, no samples, NaN or infinite values.
    """
    arrays = load_npz(path)
    try:
        shape = tuple(int(size) for size in arrays["shape"])
        signal = Signal(arrays["signal"].tobytes().decode())
        dt = float(arrays["dt"])
        flat = arrays["events"] if signal is Signal.EVENTS else arrays["values"]
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(f"is not a recording of this tool ({error})", where=path) from error
    if flat.dtype != (np.uint8 if signal is Signal.EVENTS else np.float32):
        raise DataError(f"holds {flat.dtype} values, which no recording has", where=path)
    count = int(np.prod(shape, dtype=object)) if shape else 0
    expected = -(-count // 8) if signal is Signal.EVENTS else count
    if len(shape) < 3 or min(shape) < 1 or flat.size != expected:
        raise DataError(f"claims the shape {shape} but holds {flat.size} values", where=path)
    if signal is Signal.EVENTS:
        values = np.unpackbits(flat, count=count).reshape(shape)
    else:
        values = flat.reshape(shape)
    if not np.isfinite(dt) or dt <= 0 or not np.isfinite(values).all():
        raise DataError("holds values or a time step that are not finite", where=path)
    labels = arrays.get("labels")
    if labels is not None and (labels.shape != (shape[1],) or labels.dtype != np.int64):
        raise DataError(f"has {labels.dtype} labels {labels.shape} for {shape[1]} samples", where=path)
    return Recording(values, signal, dt, labels)
