"""`load_events`: from a configuration to events, whatever the data set.

Encoded sets are kept between runs in the user's cache folder.
"""

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numpy.typing import NDArray

from nsc_deploy.data.catalogue import RECORDINGS, digest, find_source
from nsc_deploy.data.config import UNUSED_SECTIONS, DataConfig
from nsc_deploy.data.encoding import cochleagram, encode
from nsc_deploy.data.events import EventData, EventSet
from nsc_deploy.data.recordings import Recordings
from nsc_deploy.errors import DataError, UserError
from nsc_deploy.io.npz import load_npz, save_npz
from nsc_deploy.io.text import counted

Advance = Callable[[], None]


def load_events(config: DataConfig, *, progress: bool = False) -> EventData:
    """Load, split and encode a data set; the second time from the cache.

    Args:
        config: which set, split and encoding.
        progress: show a progress bar on stderr while digits are synthesised, the one slow part.

    Returns:
        Both parts as events [samples, steps, channels].

    Raises:
        DataError: the data is missing, damaged or of the wrong form.
    """
    if config.dataset == "spoken-digits":
        data = _spoken_digits(config, progress=progress)
    else:
        data = _fsdd(config) if config.dataset == "fsdd" else _shd(config)
    _warn_of_silence(data)
    return data


def _warn_of_silence(data: EventData) -> None:
    for part, samples in (("training", data.train), ("test", data.test)):
        silent = int((~samples.events.any(axis=(1, 2))).sum())
        if silent:
            log.warning(
                "warning: %s of the %s part: no event at all, so nothing to decide on. Their recordings are "
                "silence, far quieter than speech (data.encoding.quietest_db), or hold nothing in the "
                "windows and bands that are listened to (window_s, lowest_hz, highest_hz)",
                f"{silent} of {counted(len(samples), 'sample')}",
                part,
            )


def _spoken_digits(config: DataConfig, *, progress: bool) -> EventData:
    from nsc_deploy.data.speech import library_paths
    from nsc_deploy.data.spoken_digits import synthesise

    def build() -> EventData:
        count = config.synthesis.train + config.synthesis.test
        with _bar("synthesising digits", count, shown=progress) as advance:
            return encode_recordings(synthesise(config.synthesis, on_each=advance), config)

    return cached(cache_key(config, digest(library_paths().library)), build)


def _fsdd(config: DataConfig) -> EventData:
    from nsc_deploy.data.fsdd import read_fsdd, warn_of_left_out, warn_of_others_beside

    source = find_source(config)
    if source.is_dir():  # before the cache, which holds what was read and not what was left out
        warn_of_left_out(source, _found_in(config, source))
    elif source != config.path:  # found, and not named alone
        warn_of_others_beside(source, _found_in(config, source))
    return cached(
        cache_key(config, digest(source)), lambda: encode_recordings(read_fsdd(source, config), config)
    )


def _found_in(config: DataConfig, source: Path) -> Path:
    """The folder of a set: the one that was named, else the one that a data folder has for it."""
    if config.path is not None:
        return config.path
    return source if source.is_dir() and source.name != RECORDINGS else source.parent


def _shd(config: DataConfig) -> EventData:
    from nsc_deploy.data.shd import find_parts, read_shd

    parts = find_parts(find_source(config))
    content = "".join(digest(path) for path in parts)
    return cached(cache_key(config, content), lambda: read_shd(parts, config.binning))


def encode_recordings(recordings: Recordings, config: DataConfig) -> EventData:
    """Encode recordings and divide them into their parts."""
    events = encode(cochleagram(recordings, config.encoding), config.encoding)
    test = recordings.is_test
    return EventData(
        train=EventSet(events[~test], recordings.labels[~test]),
        test=EventSet(events[test], recordings.labels[test]),
        class_names=recordings.class_names,
        dt=config.dt,
    )


@contextmanager
def _bar(what: str, count: int, *, shown: bool) -> Iterator[Advance]:
    """A progress bar on stderr; yields the function that moves it on by one."""
    from nsc_deploy.io.progress import progress_bar

    with progress_bar(shown=shown) as progress:
        task = progress.add_task(what, total=count)
        yield lambda: progress.advance(task)


# Raise it with every change to the code that alters what is encoded.
CODE_VERSION = 4
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Where encoded sets are kept; deleting it loses only time."""
    return platformdirs.user_cache_path("nsc-deploy") / "encoded"


def cache_key(config: DataConfig, source: str) -> str:
    """Name of the entry: everything the encoded set depends on.

    Args:
        config: what was asked for; the place of the files (`path`) does not count.
        source: digest of the files it is made from.
    """
    asked = config.model_dump(mode="json", exclude={"path", *UNUSED_SECTIONS[config.dataset]})
    text = json.dumps([CODE_VERSION, source, asked], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def cached(key: str, build: Callable[[], EventData]) -> EventData:
    """The entry `key`, or what `build` makes, which is then kept.

    A damaged entry is built again. A cache that cannot be written is a warning, not an error.
    """
    path = cache_folder() / f"{key}.npz"
    if path.is_file():
        try:
            return _read(path)
        except DataError as error:
            log.warning("encoded again, the cached copy is damaged: %s", error)
    data = build()
    try:
        _write(path, data)
    except UserError as error:
        log.warning("not cached: %s %s; $XDG_CACHE_HOME may name another place", error.where, error.problem)
    return data


def _write(path: Path, data: EventData) -> None:
    save_npz(
        path,
        {
            "train_events": np.packbits(data.train.events.reshape(-1)),
            "train_labels": data.train.labels,
            "test_events": np.packbits(data.test.events.reshape(-1)),
            "test_labels": data.test.labels,
            "shape": np.array(data.train.events.shape[1:], dtype=np.int64),
            "class_names": np.array(data.class_names),
            "dt": np.array(data.dt),
        },
    )


def _read(path: Path) -> EventData:
    arrays = load_npz(path)
    try:
        shape = tuple(int(size) for size in arrays["shape"])
        return EventData(
            train=_part(arrays["train_events"], arrays["train_labels"], shape),
            test=_part(arrays["test_events"], arrays["test_labels"], shape),
            class_names=tuple(str(name) for name in arrays["class_names"]),
            dt=float(arrays["dt"]),
        )
    except DataError as error:
        raise DataError(f"is not a cached set of events ({error.problem})", where=path) from error
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"is not a cached set of events ({error})", where=path) from error


def _part(packed: NDArray[Any], labels: NDArray[Any], shape: tuple[int, ...]) -> EventSet:
    full = (len(labels), *shape)
    count = math.prod(full)
    if min(full) < 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"labels of type {labels.dtype} for {full}")
    if packed.size != -(-count // 8):
        raise ValueError(f"{packed.size} bytes for {full}")
    return EventSet(np.unpackbits(packed, count=count).reshape(full), labels.astype(np.int64))
