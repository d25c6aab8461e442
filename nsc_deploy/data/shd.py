"""The Spiking Heidelberg Digits in their published HDF5 form (CC BY 4.0).

`shd_train.h5` and `shd_test.h5`: `spikes/times` (variable-length, seconds), `spikes/units` (variable-length,
0 to 699), `labels` (0 to 19) and `extra/keys` (class names). Cramer et al. 2020,
https://doi.org/10.1109/TNNLS.2020.3044364.
"""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import SHD_UNITS, BinningConfig
from nsc_deploy.data.events import EventData, EventSet
from nsc_deploy.errors import DataError

CLASSES = 20
MAX_SAMPLES = 100_000
# Ten English digits, then ten German ones, in the order of the labels.
CLASS_NAMES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "null", "eins", "zwei", "drei", "vier", "fuenf", "sechs", "sieben", "acht", "neun",
)  # fmt: skip


class PartFiles(NamedTuple):
    """The two files of the set."""

    train: Path
    test: Path


def find_parts(source: Path) -> PartFiles:
    """`shd_train.h5` and `shd_test.h5` in the folder `source`, or the file `source` and the other beside it.

    Raises:
        DataError: `source` is a file of another name, or one of the two is missing.
    """
    folder = source if source.is_dir() else source.parent
    parts = PartFiles(folder / "shd_train.h5", folder / "shd_test.h5")
    if source != folder and source.name not in {path.name for path in parts}:
        raise DataError(
            f"is neither {parts.train.name} nor {parts.test.name}",
            where=source,
            hint="Name the folder that holds these two files, or one of them.",
        )
    for path in parts:
        if not path.is_file():
            raise DataError("is missing", where=path, hint="Fetch it: nsc-deploy data fetch shd")
    return parts


def read_shd(parts: PartFiles, config: BinningConfig) -> EventData:
    """Read both parts and put their spikes into steps.

    Raises:
        DataError: a file is damaged or not of the published form.
    """
    return EventData(
        train=read_part(parts.train, config),
        test=read_part(parts.test, config),
        class_names=CLASS_NAMES,
        dt=config.step_s,
    )


def read_part(path: Path, config: BinningConfig) -> EventSet:
    """Read one file; an event where a channel has at least one spike in a step.

    Spikes after the last step are not used.

    Raises:
        DataError: damaged, not of the published form, or units, times or labels out of range.
    """
    try:
        with h5py.File(path, "r") as file:
            times, units, labels = (
                _column(file, name) for name in ("spikes/times", "spikes/units", "labels")
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        raise _not_shd(path, str(error)) from error
    if not (len(times) == len(units) == len(labels) > 0):
        raise _not_shd(path, "spikes/times, spikes/units and labels do not have one entry per sample")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= CLASSES:
        raise _not_shd(path, f"labels other than 0 to {CLASSES - 1}")
    events = np.zeros((len(labels), config.steps, config.channels), dtype=np.uint8)
    for sample in range(len(labels)):
        _bin(events[sample], times[sample], units[sample], config, path)
    return EventSet(events, labels.astype(np.int64))


def _column(file: h5py.File, name: str) -> NDArray[Any]:
    """One entry per sample. A claimed size is looked at before anything is allocated for it."""
    stored = file[name]
    if not isinstance(stored, h5py.Dataset) or stored.external or stored.is_virtual or stored.ndim != 1:
        raise ValueError(f"{name} is no list of values in this file")
    if len(stored) > MAX_SAMPLES:
        raise ValueError(f"{name} claims {len(stored)} samples")
    column: NDArray[Any] = stored[:]
    return column


def _bin(
    events: NDArray[np.uint8],
    times: NDArray[np.floating[Any]],
    units: NDArray[np.integer[Any]],
    config: BinningConfig,
    path: Path,
) -> None:
    if times.shape != units.shape or times.ndim != 1:
        raise _not_shd(path, "a sample has another number of times than of units")
    if not np.isfinite(times).all() or (times < 0).any():
        raise _not_shd(path, "spike times that are negative or not finite")
    if not np.issubdtype(units.dtype, np.integer) or (units < 0).any() or (units >= SHD_UNITS).any():
        raise _not_shd(path, f"units other than 0 to {SHD_UNITS - 1}")
    # In float64: the times are stored in half precision and would be divided in it.
    steps = np.floor(times.astype(np.float64) / config.step_s)
    within = steps < config.steps
    events[steps[within].astype(np.int64), units[within].astype(np.int64) // config.pool] = 1


def _not_shd(path: Path, reason: str) -> DataError:
    return DataError(
        f"is not a file of the Spiking Heidelberg Digits ({reason})",
        where=path,
        hint="Fetch it again: nsc-deploy data fetch shd",
    )
