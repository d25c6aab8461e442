"""`load_events`: from a configuration to events, whatever the data set."""

from pathlib import Path

from nsc_deploy.data.cache import cache_key, cached
from nsc_deploy.data.config import DataConfig
from nsc_deploy.data.encoding import encode
from nsc_deploy.data.events import EventData, EventSet
from nsc_deploy.data.filterbank import cochleagram
from nsc_deploy.data.recordings import Recordings
from nsc_deploy.data.sources import digest, find_source


def load_events(config: DataConfig, *, progress: bool = False) -> EventData:
    """Load, split and encode a data set; the second time from the cache.

    Args:
        config: which set, split and encoding.
        progress: show a progress bar on stderr.

    Raises:
        DataError: the data is missing, damaged or of the wrong form.
    """
    source = find_source(config)
    return cached(cache_key(config, digest(source)), lambda: _build(config, source))


def _build(config: DataConfig, source: Path) -> EventData:
    from nsc_deploy.data.fsdd import read_fsdd

    return encode_recordings(read_fsdd(source, config), config)


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
