"""Encoded sets kept between runs."""

import logging
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import DataConfig, EventData, EventSet
from nsc_deploy.data.load import cache_folder, cache_key, cached


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Builder:
    """Builds a small set and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> EventData:
        self.calls += 1
        chance = np.random.default_rng(5)
        train, test = (
            EventSet((chance.random((count, 7, 5)) < 0.3).astype(np.uint8), chance.integers(0, 3, count))
            for count in (11, 4)
        )
        return EventData(train, test, ("a", "b", "ü"), 0.03)


def assert_same(one: EventData, other: EventData) -> None:
    for part in ("train", "test"):
        np.testing.assert_array_equal(getattr(one, part).events, getattr(other, part).events)
        np.testing.assert_array_equal(getattr(one, part).labels, getattr(other, part).labels)
    assert (one.class_names, one.dt) == (other.class_names, other.dt)


def test_the_second_time_comes_from_the_cache() -> None:
    build = Builder()
    first, second = cached("key", build), cached("key", build)
    assert build.calls == 1
    assert_same(first, second)
    assert second.train.events.dtype == np.uint8


@pytest.mark.parametrize("damage", [b"", b"nonsense", None, "half"])
def test_a_damaged_entry_is_built_again(damage: bytes | str | None, caplog: pytest.LogCaptureFixture) -> None:
    build = Builder()
    first = cached("key", build)
    (entry,) = cache_folder().iterdir()
    whole = entry.read_bytes()
    if damage is None:
        np.savez(entry, shape=np.array([7, 5]), train_events=np.zeros(3, np.uint8))
    else:
        entry.write_bytes(whole[: len(whole) // 2] if isinstance(damage, str) else damage)
    with caplog.at_level(logging.WARNING):
        assert_same(cached("key", build), first)
    assert build.calls == 2
    assert "damaged" in caplog.text
    assert_same(cached("key", build), first)
    assert build.calls == 2


def test_a_cache_that_cannot_be_written_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    cache_folder().parent.mkdir(parents=True)
    cache_folder().write_text("a file where the folder should be")
    build = Builder()
    with caplog.at_level(logging.WARNING):
        assert_same(cached("key", build), build())
    assert "not cached" in caplog.text
    assert "XDG_CACHE_HOME" in caplog.text


def test_the_key_depends_on_what_the_events_depend_on_and_nothing_else() -> None:
    fsdd = DataConfig(dataset="fsdd")
    key = cache_key(fsdd, "content")
    same = [{"path": "elsewhere"}, {"synthesis": {"seed": 4}}, {"binning": {"steps": 9}}]
    other = [
        {"encoding": {"bands": 32}},
        {"encoding": {"kind": "lif"}},
        {"encoding": {"lif_decay": 0.3}},
        {"split": "leave-one-speaker-out", "speaker": "theo"},
        {"split": "leave-one-speaker-out", "speaker": "lucas"},
    ]
    for change in same:
        assert cache_key(DataConfig.model_validate({"dataset": "fsdd"} | change), "content") == key
    keys = {cache_key(DataConfig.model_validate({"dataset": "fsdd"} | change), "content") for change in other}
    assert len(keys | {key, cache_key(fsdd, "other content")}) == len(other) + 2
