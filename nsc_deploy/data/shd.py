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
from nsc_deploy.io.sandbox import Tree, read_apart

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
    columns = read_apart(path, read_columns, DataError)
    labels, spikes = columns["labels"], columns["spikes"]
    cuts = np.cumsum(spikes)[:-1]
    times, units = np.split(columns["times"], cuts), np.split(columns["units"], cuts)
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise _not_shd(path, f"labels other than 0 to {CLASSES - 1}")
    events = np.zeros((len(labels), config.steps, config.channels), dtype=np.uint8)
    for sample in range(len(labels)):
        _bin(events[sample], times[sample], units[sample], config, path)
    return EventSet(events, labels.astype(np.int64))


def read_columns(path: Path) -> Tree:
    """What this process would not read itself: see `nsc_deploy.io.sandbox`.

    Returns:
        labels [samples], spikes [samples] (how many each has), times and units [all spikes], end to end.

    Raises:
        DataError: damaged or not of the published form.
    """
    try:
        with h5py.File(path, "r") as file:
            times = _column(file, "spikes/times", ragged="f")
            units = _column(file, "spikes/units", ragged="iu")
            labels = _column(file, "labels")
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, OverflowError, MemoryError) as error:
        raise _not_shd(path, " ".join(str(error).split())) from error
    lengths = np.array([len(sample) for sample in times], dtype=np.int64)
    if not (len(times) == len(units) == len(labels) > 0):
        raise _not_shd(path, "spikes/times, spikes/units and labels do not have one entry per sample")
    if lengths.tolist() != [len(sample) for sample in units]:
        raise _not_shd(path, "a sample has another number of times than of units")
    return {
        "labels": labels,
        "spikes": lengths,
        "times": np.concatenate(times),
        "units": np.concatenate(units),
    }


def _column(file: h5py.File, name: str, ragged: str | None = None) -> NDArray[Any]:
    """One entry per sample: an integer, or as many numbers of the kinds `ragged` as it has spikes.

    Links lead to other files, and sizes are only claimed: both are looked at before anything is read.
    """
    place = file
    for part in name.split("/"):
        inside = isinstance(place, h5py.Group) and isinstance(place.get(part, getlink=True), h5py.HardLink)
        if not inside:
            raise ValueError(f"{name} is not in this file")
        place = place[part]
    if not isinstance(place, h5py.Dataset) or place.external or place.is_virtual or place.ndim != 1:
        raise ValueError(f"{name} is no list of values in this file")
    if len(place) > MAX_SAMPLES:
        raise ValueError(f"{name} claims {len(place)} samples")
    inner = h5py.check_vlen_dtype(place.dtype) if ragged else place.dtype
    if not isinstance(inner, np.dtype) or inner.kind not in (ragged or "iu") or inner.shape:
        raise ValueError(f"{name} holds {place.dtype}")
    column: NDArray[Any] = place[:]
    return column


def _bin(
    events: NDArray[np.uint8],
    times: NDArray[np.floating[Any]],
    units: NDArray[np.integer[Any]],
    config: BinningConfig,
    path: Path,
) -> None:
    if not np.isfinite(times).all() or (times < 0).any():
        raise _not_shd(path, "spike times that are negative or not finite")
    if (units < 0).any() or (units >= SHD_UNITS).any():
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
