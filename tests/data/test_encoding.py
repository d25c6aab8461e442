"""The cochlea-like front end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from nsc_deploy.data.config import DataConfig, EncodingConfig
from nsc_deploy.data.encoding import cochleagram, encode, fit_length, is_silent, level_values, mel_filters
from nsc_deploy.data.recordings import DIGIT_NAMES, Recordings

loudness = arrays(np.float32, (3, 9, 4), elements=st.floats(-60, 0, width=32))
SMALL = {"bands": 4, "levels": 3, "steps": 9}


def recordings(*sounds: np.ndarray) -> Recordings:
    count = len(sounds)
    return Recordings(
        audio=np.concatenate(sounds).astype(np.int16),
        offsets=np.cumsum([0, *(len(sound) for sound in sounds)]),
        labels=np.zeros(count, np.int64),
        speakers=np.array(["a"] * count),
        is_test=np.zeros(count, bool),
        class_names=DIGIT_NAMES,
    )


def tone(hertz: float, seconds: float = 0.5, peak: float = 10000) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hertz * np.arange(round(8000 * seconds)) / 8000)


@settings(max_examples=40, deadline=None)
@given(loudness)
def test_level_events_say_which_levels_are_exceeded(values: np.ndarray) -> None:
    config = EncodingConfig(**SMALL)
    events = encode(values, config).reshape(3, 9, 4, 3)
    for sample, step, band, level in np.ndindex(events.shape):
        assert events[sample, step, band, level] == (values[sample, step, band] > level_values(config)[level])


@settings(max_examples=40, deadline=None)
@given(loudness)
def test_first_events_are_the_first_crossing_of_each_channel(values: np.ndarray) -> None:
    crossing = encode(values, EncodingConfig(kind="crossing", **SMALL))
    first = encode(values, EncodingConfig(kind="first", **SMALL))
    assert first.sum(axis=1).max() <= 1
    np.testing.assert_array_equal(first.any(axis=1), crossing.any(axis=1))
    np.testing.assert_array_equal(first.argmax(axis=1), crossing.argmax(axis=1))


@settings(max_examples=40, deadline=None)
@given(loudness)
def test_crossing_events_are_the_first_of_each_run_of_level_events(values: np.ndarray) -> None:
    above = encode(values, EncodingConfig(**SMALL))
    crossing = encode(values, EncodingConfig(kind="crossing", **SMALL))
    before = np.pad(above, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    np.testing.assert_array_equal(crossing, above & (1 - before))


@settings(max_examples=25, deadline=None)
@given(loudness, st.sampled_from([0.0, 0.5, 0.9]))
def test_lif_events_follow_the_equation_neuron_by_neuron(values: np.ndarray, decay: float) -> None:
    config = EncodingConfig(kind="lif", lif_decay=decay, **SMALL)
    events = encode(values, config).reshape(3, 9, 4, 3)
    for level, value in enumerate(level_values(config)):
        gain = np.float32((1 - decay) / (float(value) + 60))
        for sample, band in np.ndindex(3, 4):
            potential = np.float32(0)
            for step in range(9):
                current = (values[sample, step, band] + np.float32(60)) * gain
                potential = np.float32(decay) * potential + current
                assert events[sample, step, band, level] == (potential > 1)
                potential = np.float32(0) if potential > 1 else potential


@pytest.mark.parametrize("kind", ["level", "crossing", "first", "lif"])
def test_silence_makes_no_events(kind: str) -> None:
    config = EncodingConfig.model_validate({"kind": kind, "lowest_level_db": -60.0})
    silent = np.full((1, config.steps, config.bands), -config.range_db, np.float32)
    assert not encode(silent, config).any()


SILENT = {
    "zeros": np.zeros(8000),
    "an offset": np.full(8000, -700),
    "the last bit": np.random.default_rng(4).integers(-1, 2, 8000),
    "an offset and the last bits": 90 + np.random.default_rng(5).integers(-8, 9, 8000),
}


@pytest.mark.parametrize("kind", ["level", "crossing", "first", "lif"])
@pytest.mark.parametrize("silence", SILENT)
def test_a_silent_recording_makes_no_events_beside_one_that_speaks(kind: str, silence: str) -> None:
    config = EncodingConfig.model_validate({"kind": kind})
    heard = encode(cochleagram(recordings(tone(500, peak=400), SILENT[silence]), config), config)
    assert heard[0].any()
    assert not heard[1].any()


def test_silence_is_what_stays_below_the_quietest_sound() -> None:
    at_the_edge = tone(500, peak=32768 / 1000)  # 60 dB below full scale
    for quietest, silent in ((-60.5, False), (-59.5, True)):
        config = EncodingConfig(quietest_db=quietest)
        assert encode(cochleagram(recordings(at_the_edge), config), config).any() != silent


@pytest.mark.parametrize("kind", ["level", "crossing", "first", "lif"])
@pytest.mark.parametrize(
    ("sound", "form"),
    [
        (np.pad(tone(1000, 0.06, 20000), (0, 2720)), {"step_s": 0.1, "steps": 4}),  # before the first window
        (np.tile([9000, -9000], 4000), {"window_s": 0.03, "highest_hz": 1000.0, "bands": 16}),
    ],
    ids=["between windows", "above all bands"],
)
def test_what_no_window_and_no_band_hears_makes_no_events(
    kind: str, sound: np.ndarray, form: dict[str, float]
) -> None:
    config = EncodingConfig.model_validate({"kind": kind} | form)
    assert not is_silent(sound.astype(np.int16), config)
    assert not encode(cochleagram(recordings(sound), config), config).any()


def test_a_constant_sound_at_twice_its_level_fires_a_lif_neuron_regularly() -> None:
    config = EncodingConfig(kind="lif", bands=1, levels=1, lowest_level_db=-30, lif_decay=0.8, steps=100)
    events = encode(np.full((1, 100, 1), 0, np.float32), config)
    # v reaches 2 (1 - 0.8^n) > 1 first at n = 4.
    assert list(np.flatnonzero(events[0, :, 0])[:3]) == [3, 7, 11]


@pytest.mark.parametrize("hertz", [150, 440, 1000, 2000, 3500])
def test_a_tone_is_loudest_in_the_band_that_holds_it(hertz: float) -> None:
    config = EncodingConfig()
    heard = cochleagram(recordings(tone(hertz)), config)[0, 8]
    filters = mel_filters(config, 4001)
    assert abs(int(heard.argmax()) - int(filters[round(hertz)].argmax())) <= 1


def test_every_band_hears_something_and_weights_sum_to_one() -> None:
    for bands in (16, 64, 128):
        filters = mel_filters(EncodingConfig(bands=bands), 513)
        np.testing.assert_allclose(filters.sum(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "form", [{}, {"window_s": 0.2}, {"lowest_hz": 0.0, "highest_hz": 1000.0}, {"lowest_hz": 2000.0}]
)
def test_bands_that_would_hear_nothing_are_refused(form: dict[str, float]) -> None:
    for bands in range(60, 513, 4):
        config = EncodingConfig.model_construct(bands=bands, **form)
        # Weights sum to 1, but for bands in which rounding alone leaves any.
        deaf = int((mel_filters(config, config.spectrum_size // 2 + 1).sum(axis=0) < 0.5).sum())
        if deaf:
            with pytest.raises(ValidationError, match=f"bands {bands} are too many: {deaf} lie between"):
                EncodingConfig(bands=bands, **form)
        else:
            assert EncodingConfig(bands=bands, **form).bands == bands


@pytest.mark.parametrize("step_s", [0.00106, 0.03001, 0.0333])
def test_a_step_of_broken_samples_is_refused(step_s: float) -> None:
    with pytest.raises(ValidationError, match="samples of sound, and a step has whole ones"):
        EncodingConfig(step_s=step_s)


@pytest.mark.parametrize("step_s", [0.01, 0.02, 0.03, 0.045, 0.06, 0.001125, 1.0, 241 / 8000])
def test_a_step_of_whole_samples_is_taken(step_s: float) -> None:
    assert EncodingConfig(step_s=step_s).step_s == step_s


def test_level_of_the_recording_does_not_matter() -> None:
    noise = np.random.default_rng(0).normal(0, 1, 4000) * np.linspace(0.2, 1, 4000)
    quiet, loud = cochleagram(recordings(1000 * noise, 8000 * noise), EncodingConfig())
    # Rounding to integers moves the quiet one's faintest parts.
    assert np.abs(quiet - loud).max() < 0.5
    assert loud.max() == 0


def test_no_step_looks_ahead() -> None:
    first = tone(700)
    changed = first.copy()
    changed[2000:] = tone(1900, peak=2000)[2000:]
    config = EncodingConfig()
    step = round(config.step_s * 8000)
    before = 2000 // step
    one, other = cochleagram(recordings(first, changed), config)
    np.testing.assert_array_equal(one[:before], other[:before])
    assert (one[before + 1] != other[before + 1]).any()


def test_short_sounds_are_followed_by_silence() -> None:
    config = EncodingConfig()
    heard = cochleagram(recordings(tone(500, seconds=0.3)), config)[0]
    assert (heard[:10].max(axis=1) > -20).all()
    assert (heard[12:] == -config.range_db).all()


def test_of_a_long_sound_the_loudest_stretch_is_kept() -> None:
    sound = np.concatenate([np.full(5000, 10), np.full(1000, 900), np.full(4000, 10)]).astype(np.int16)
    kept = fit_length(sound, 1000)
    np.testing.assert_array_equal(kept, np.full(1000, 900))
    np.testing.assert_array_equal(fit_length(sound[:5], 7), [10, 10, 10, 10, 10, 0, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"encoding": {"bands": 0}},
        {"encoding": {"lowest_hz": 3000.0, "highest_hz": 2000.0}},
        {"encoding": {"lowest_level_db": -5.0, "highest_level_db": -40.0}},
        {"encoding": {"lowest_level_db": -70.0}},
        {"encoding": {"band": 3}},
        {"dataset": "fsd"},
        {"dataset": "fsdd", "split": "leave-one-speaker-out"},
        {"dataset": "fsdd", "speaker": "theo"},
        {"dataset": "shd", "split": "leave-one-speaker-out", "speaker": "theo"},
        {"dataset": "spoken-digits", "split": "selection"},
        {"dataset": "fsdd", "split": "selection", "speaker": "theo"},
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DataConfig.model_validate(changes)


def test_every_field_of_the_configuration_is_described() -> None:
    for section in (
        DataConfig,
        *(DataConfig.model_fields[name].annotation for name in ("encoding", "binning", "synthesis")),
    ):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
