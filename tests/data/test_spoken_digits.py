"""Synthesised digits."""

import sys

import numpy as np
import pytest

from nsc_deploy.data import DataConfig, load_events, speech
from nsc_deploy.data.config import SynthesisConfig
from nsc_deploy.data.speech import Utterance, speak
from nsc_deploy.data.spoken_digits import synthesise
from nsc_deploy.errors import DataError

FEW = {"train": 30, "test": 20}


@pytest.fixture(autouse=True)
def _synthesiser() -> None:
    pytest.importorskip("espeakng_loader", reason="pip install nsc-deploy[speech]")


def test_the_same_seed_gives_the_same_audio_and_another_seed_another() -> None:
    first, second = synthesise(SynthesisConfig(**FEW)), synthesise(SynthesisConfig(**FEW))
    np.testing.assert_array_equal(first.audio, second.audio)
    np.testing.assert_array_equal(first.offsets, second.offsets)
    np.testing.assert_array_equal(first.labels, second.labels)
    other = synthesise(SynthesisConfig(seed=1, **FEW))
    assert other.audio.shape != first.audio.shape or (other.audio != first.audio).any()


def test_every_digit_comes_up_equally_often_as_speech_of_plausible_length() -> None:
    recordings = synthesise(SynthesisConfig(train=40, test=20))
    assert len(recordings) == 60
    np.testing.assert_array_equal(np.bincount(recordings.labels[~recordings.is_test]), np.full(10, 4))
    np.testing.assert_array_equal(np.bincount(recordings.labels[recordings.is_test]), np.full(10, 2))
    seconds = np.diff(recordings.offsets) / 8000
    assert seconds.min() > 0.1
    assert seconds.max() < 1.2
    peaks = [np.abs(recordings[index].astype(int)).max() for index in range(60)]
    assert min(peaks) > 32767 * 10 ** (-21 / 20)
    assert len(set(peaks)) > 40


def test_the_size_of_the_training_part_does_not_change_the_test_part() -> None:
    small, large = (synthesise(SynthesisConfig(train=count, test=10)) for count in (10, 25))
    np.testing.assert_array_equal(small.audio[small.offsets[10] :], large.audio[large.offsets[25] :])


def test_unseen_voices_are_not_heard_in_training() -> None:
    recordings = synthesise(SynthesisConfig(train=120, test=60, unseen_voices=True))
    variants = np.array([speaker.split("+")[1] for speaker in recordings.speakers])
    test = recordings.is_test
    assert not set(variants[test]) & set(variants[~test])
    assert len(set(variants[test])) > 3


def test_loaded_as_events() -> None:
    data = load_events(DataConfig.model_validate({"synthesis": FEW, "encoding": {"steps": 20}}))
    assert data.train.events.shape == (30, 20, 256)
    assert data.test.events.shape == (20, 20, 256)
    assert data.class_names == tuple("0123456789")
    assert 0.03 < data.train.rate < 0.3


def test_without_the_synthesiser_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(DataError, match=r"pip install nsc-deploy\[speech\]"):
        load_events(DataConfig())


def test_a_synthesiser_that_fails_is_reported_with_its_own_words() -> None:
    good = Utterance("en-us", "one", 150, 50, 50)
    with pytest.raises(DataError, match="voice 'xx-none' was refused"):
        speak([good, Utterance("xx-none", "two", 150, 50, 50)], seed=1)


def test_a_synthesiser_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "START_TIMEOUT_S", 0.0)
    monkeypatch.setattr(speech, "UTTERANCE_TIMEOUT_S", 0.0)
    with pytest.raises(DataError, match="the synthesiser failed"):
        speak([Utterance("en-us", "one", 150, 50, 50)], seed=1)
