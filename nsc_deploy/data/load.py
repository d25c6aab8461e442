"""`load_events`: from a configuration to events, whatever the data set."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nsc_deploy.data.cache import cache_key, cached
from nsc_deploy.data.config import DataConfig
from nsc_deploy.data.encoding import encode
from nsc_deploy.data.events import EventData, EventSet
from nsc_deploy.data.filterbank import cochleagram
from nsc_deploy.data.recordings import Recordings
from nsc_deploy.data.sources import digest, find_source

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
        return _spoken_digits(config, progress=progress)
    return _fsdd(config) if config.dataset == "fsdd" else _shd(config)


def _spoken_digits(config: DataConfig, *, progress: bool) -> EventData:
    from nsc_deploy.data.speech import library_paths
    from nsc_deploy.data.spoken_digits import synthesise

    def build() -> EventData:
        count = config.synthesis.train + config.synthesis.test
        with _bar("synthesising digits", count, shown=progress) as advance:
            return encode_recordings(synthesise(config.synthesis, on_each=advance), config)

    return cached(cache_key(config, digest(library_paths().library)), build)


def _fsdd(config: DataConfig) -> EventData:
    from nsc_deploy.data.fsdd import read_fsdd

    source = find_source(config)
    return cached(
        cache_key(config, digest(source)), lambda: encode_recordings(read_fsdd(source, config), config)
    )


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
