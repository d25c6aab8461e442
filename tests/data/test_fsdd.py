"""FSDD: the one file, the folder of wav files, the splits, and everything that can be wrong with them."""

import os
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import DataConfig, load, load_events
from nsc_deploy.data.catalogue import find_source
from nsc_deploy.data.fetch import FSDD
from nsc_deploy.data.fsdd import (
    NPZ_NAME,
    content_digest,
    left_out,
    read_folder,
    read_fsdd,
    read_npz,
    write_npz,
)
from nsc_deploy.data.load import encode_recordings
from nsc_deploy.errors import DataError
from tests.support.speed import scaled

OFFICIAL = DataConfig(dataset="fsdd")


def write_wav(
    path: Path, samples: np.ndarray, *, rate: int = 8000, channels: int = 1, width: int = 2
) -> None:
    with wave.open(str(path), "wb") as stream:
        stream.setnchannels(channels)
        stream.setsampwidth(width)
        stream.setframerate(rate)
        stream.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Wav files of ten digits, two speakers and seven recordings each, of different lengths."""
    chance = np.random.default_rng(3)
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    for digit in range(10):
        for speaker in ("ada", "bo"):
            for index in range(7):
                samples = chance.normal(0, 3000, int(chance.integers(900, 3000)))
                write_wav(recordings / f"{digit}_{speaker}_{index}.wav", samples)
    (recordings / "notes.txt").write_text("not a recording")
    return recordings


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as loaded:
        return dict(loaded)


def test_folder_and_file_hold_the_same_recordings(folder: Path, tmp_path: Path) -> None:
    spoken = read_folder(folder)
    file = tmp_path / NPZ_NAME
    write_npz(file, spoken)
    again = read_npz(file)
    assert content_digest(again) == content_digest(spoken)
    one, other = read_fsdd(folder, OFFICIAL), read_fsdd(file, OFFICIAL)
    np.testing.assert_array_equal(one.audio, other.audio)
    np.testing.assert_array_equal(one.is_test, other.is_test)
    np.testing.assert_array_equal(one.speakers, other.speakers)
    with wave.open(str(folder / "7_bo_6.wav")) as stream:
        expected = np.frombuffer(stream.readframes(10_000), "<i2")
    found = [index for index in range(len(one)) if (one.labels[index], one.speakers[index]) == (7, "bo")]
    np.testing.assert_array_equal(one[found[6]], expected)


def test_content_digest_notices_one_sample_and_one_name(folder: Path) -> None:
    spoken = read_folder(folder)
    before = content_digest(spoken)
    spoken.audio[123] += 1
    changed = content_digest(spoken)
    spoken.audio[123] -= 1
    spoken.index[0] += 50
    assert len({before, changed, content_digest(spoken)}) == 3


def test_official_split_tests_on_the_first_five_of_each(folder: Path) -> None:
    recordings = read_fsdd(folder, OFFICIAL)
    assert (len(recordings), int(recordings.is_test.sum())) == (140, 100)
    for speaker in ("ada", "bo"):
        assert int(recordings.is_test[recordings.speakers == speaker].sum()) == 50


def test_selection_never_sees_the_official_test_part(folder: Path, tmp_path: Path) -> None:
    spoken = read_folder(folder)
    spoken.index[:] += 4  # numbered 4 to 10
    path = tmp_path / "later.npz"
    write_npz(path, spoken)
    recordings = read_fsdd(path, DataConfig(dataset="fsdd", split="selection"))
    assert (len(recordings), int(recordings.is_test.sum())) == (120, 100)
    kept = spoken.index > 4
    np.testing.assert_array_equal(recordings.labels, spoken.labels[kept])
    np.testing.assert_array_equal(recordings.is_test, spoken.index[kept] < 10)
    for place, number in enumerate(np.flatnonzero(kept)):
        whole = spoken.audio[spoken.offsets[number] : spoken.offsets[number + 1]]
        np.testing.assert_array_equal(recordings[place], whole)


def test_leave_one_speaker_out_keeps_the_speaker_out_of_training(folder: Path) -> None:
    config = DataConfig(dataset="fsdd", split="leave-one-speaker-out", speaker="bo")
    recordings = read_fsdd(folder, config)
    assert set(recordings.speakers[recordings.is_test]) == {"bo"}
    assert set(recordings.speakers[~recordings.is_test]) == {"ada"}


def test_names_that_say_digit_speaker_and_number_are_read(folder: Path) -> None:
    for name in ("4_mary_ann_7.wav", "5_zoe_8.WAV", "6_d_e_f_9.Wav"):
        write_wav(folder / name, np.full(100, 7))
    spoken = read_folder(folder)
    found = set(zip(spoken.labels.tolist(), spoken.speakers.tolist(), spoken.index.tolist(), strict=True))
    assert {(4, "mary_ann", 7), (5, "zoe", 8), (6, "d_e_f", 9)} <= found
    assert (len(spoken.labels), left_out(folder, folder)) == (143, "")


def test_recordings_that_are_left_out_are_told_with_the_reason_each_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (folder / "zoe").mkdir()
    for number in range(5):
        write_wav(folder / "zoe" / f"{number}_zoe_1.wav", np.ones(100))
    write_wav(folder / "3-eve-7.wav", np.ones(100))
    (folder / "3_eve_7.flac").write_bytes(b"fLaC")
    for _ in range(2):  # the second time the events come from the cache
        caplog.clear()
        data = load_events(DataConfig(dataset="fsdd", path=folder))
        assert len(data.train) + len(data.test) == 140
        [told] = caplog.messages
        assert "3-eve-7.wav (not named {digit}_{speaker}_{index}.wav)" in told
        assert "3_eve_7.flac (no wav file)" in told
        assert "zoe/0_zoe_1.wav, zoe/1_zoe_1.wav, zoe/2_zoe_1.wav and 2 more (in a sub-folder)" in told
        assert "notes.txt" not in told


def test_recordings_beside_the_one_file_are_told_unless_it_holds_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    held = folder.parent / "fsdd_8k_int16.npz"
    write_npz(held, read_folder(folder))
    load_events(DataConfig(dataset="fsdd", path=folder.parent))
    assert not caplog.messages
    write_wav(held.parent / "3_zoe_7.wav", np.ones(100))
    write_wav(folder / "4_zoe_7.wav", np.ones(100))
    load_events(DataConfig(dataset="fsdd", path=held))  # named alone
    assert not caplog.messages
    load_events(DataConfig(dataset="fsdd", path=folder.parent))
    [told] = caplog.messages
    assert f"leaves out 3_zoe_7.wav, {folder.name}/4_zoe_7.wav (this file is read alone)" in told


@pytest.mark.parametrize("form", ["wav", "npz"])
@pytest.mark.parametrize("named", [True, False])
def test_recordings_above_what_is_read_are_told(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    form: str,
    named: bool,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = tmp_path / "own"
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(own))
    (own / "fsdd").mkdir(parents=True)
    if form == "wav":
        read = folder.rename(own / "fsdd" / "recordings")
    else:
        read = own / "fsdd" / "fsdd_8k_int16.npz"
        write_npz(read, read_folder(folder))
    config = DataConfig(dataset="fsdd", path=own if named else None)
    load_events(config)
    assert not caplog.messages
    write_wav(own / "fsdd" / "3_zoe_7.wav", np.ones(100))
    write_wav(
        own / "4_zoe_7.wav", np.ones(100)
    )  # of a data folder with several sets, that of this set counts
    load_events(config)
    [told] = caplog.messages
    assert told.startswith(f"warning: {read}: leaves out ")
    assert ("4_zoe_7.wav, fsdd/3_zoe_7.wav (" if named else "out 3_zoe_7.wav (") in told
    assert ("this file is read alone" if form == "npz" else f"outside it, in {own}") in told


def test_a_folder_with_recordings_in_sub_folders_alone_says_so(folder: Path) -> None:
    with pytest.raises(DataError, match=r"leaves out recordings/0_ada_0.wav, .* \(in a sub-folder\)"):
        read_folder(folder.parent)


def test_silent_recordings_are_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("3_ada_0.wav", "3_ada_6.wav", "4_ada_6.wav"):
        write_wav(folder / name, np.zeros(4000))
    load_events(DataConfig(dataset="fsdd", path=folder))
    told = "\n".join(caplog.messages)
    assert "2 of 40 samples of the training part: no event" in told
    assert "1 of 100 samples of the test part: no event" in told


def test_unknown_speaker_names_the_known_ones(folder: Path) -> None:
    config = DataConfig(dataset="fsdd", split="leave-one-speaker-out", speaker="zoe")
    with pytest.raises(DataError, match=r"no speaker 'zoe'\n.*ada, bo"):
        read_fsdd(folder, config)


def test_a_part_without_recordings_is_refused(folder: Path) -> None:
    for file in folder.glob("*_bo_*.wav"):
        file.unlink()
    config = DataConfig(dataset="fsdd", split="leave-one-speaker-out", speaker="ada")
    with pytest.raises(DataError, match="no recording for the training part"):
        read_fsdd(folder, config)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no wav files"):
        read_fsdd(tmp_path, OFFICIAL)


def test_a_data_folder_may_be_named_as_well_as_what_is_in_it(tmp_path: Path) -> None:
    held = tmp_path / "fsdd_8k_int16.npz"
    held.touch()
    assert find_source(DataConfig(dataset="fsdd", path=tmp_path)) == held
    assert find_source(DataConfig(dataset="fsdd", path=held)) == held


def test_missing_file_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="nsc-deploy data fetch fsdd"):
        load_events(DataConfig(dataset="fsdd", path=tmp_path / "gone.npz"))
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    with pytest.raises(DataError, match="nsc-deploy data fetch fsdd"):
        load_events(OFFICIAL)


def test_found_through_the_environment(tone_digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NSC_DEPLOY_DATA", str(tone_digits.parent))
    data = load_events(OFFICIAL)
    assert data.train.events.shape == (200, 30, 256)
    assert data.test.events.shape == (100, 30, 256)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"audio": None}, "'audio' is missing"),
        ({"speaker_names": None}, "'speaker_names' is missing"),
        ({"sample_rate": np.array(16000)}, "sample rate of 16000 Hz"),
        ({"audio": np.zeros(720_000, np.float32)}, "integers expected, float32 found"),
        ({"audio": np.zeros(10, np.int16)}, "offsets do not divide"),
        ({"audio": np.full(720_000, 100_000, np.int32)}, "do not fit in int16"),
        ({"labels": np.full(300, 12)}, "labels other than 0 to 9"),
        ({"labels": np.zeros(299, np.int64)}, "one entry per recording"),
        ({"labels": np.zeros((300, 1), np.int64)}, "one entry per recording"),
        ({"index": np.zeros(3, np.int64)}, "one entry per recording"),
        ({"speakers": np.full(300, 7)}, "out of bounds"),
        ({"speakers": np.full(300, -1)}, "speakers other than"),
        ({"offsets": np.zeros(301, np.int64)}, "offsets do not divide"),
    ],
)
def test_wrong_arrays_are_named(
    tone_digits: Path, tmp_path: Path, change: dict[str, np.ndarray | None], reason: str
) -> None:
    arrays = {name: value for name, value in (arrays_of(tone_digits) | change).items() if value is not None}
    path = tmp_path / NPZ_NAME
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=reason) as caught:
        read_fsdd(path, OFFICIAL)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("kept", [0, 10, 1000, -1])
def test_a_truncated_file_is_refused(tone_digits: Path, tmp_path: Path, kept: int) -> None:
    path = tmp_path / NPZ_NAME
    path.write_bytes(tone_digits.read_bytes()[:kept])
    with pytest.raises(DataError):
        load_events(DataConfig(dataset="fsdd", path=path))


@pytest.mark.parametrize(
    ("form", "reason"),
    [({"rate": 16000}, "16000 Hz"), ({"channels": 2}, "2 channels"), ({"width": 1}, "8 bits")],
)
def test_a_wav_file_in_another_form_is_refused(folder: Path, form: dict[str, int], reason: str) -> None:
    write_wav(folder / "3_ada_0.wav", np.zeros(800), **form)
    with pytest.raises(DataError, match=reason) as caught:
        read_folder(folder)
    assert caught.value.where == str(folder / "3_ada_0.wav")


@pytest.mark.parametrize("kept", [0, 20, 44, 500])
def test_a_wav_file_cut_short_is_refused(folder: Path, kept: int) -> None:
    path = folder / "3_ada_0.wav"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError) as caught:
        read_folder(folder)
    assert caught.value.where == str(path)


def real_file() -> Path:
    places = [Path(os.environ.get("NSC_DEPLOY_DATA", "")), Path(__file__).parents[3] / "shared" / "data"]
    for place in places:
        if (place / NPZ_NAME).is_file():
            return place / NPZ_NAME
    pytest.skip(f"{NPZ_NAME} is not here: name its folder in NSC_DEPLOY_DATA")


def test_the_real_recordings_are_those_that_fetching_expects() -> None:
    assert content_digest(read_npz(real_file())) == FSDD.content


def test_the_real_recordings_are_encoded_sparsely_fast_and_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config, encodings = DataConfig(dataset="fsdd", path=real_file()), []
    monkeypatch.setattr(load, "encode_recordings", lambda *of: encodings.append(1) or encode_recordings(*of))
    started = time.process_time()
    data = load_events(config)
    assert time.process_time() - started < 15 * scaled()
    assert data.train.events.shape == (2700, 30, 256)
    assert data.test.events.shape == (300, 30, 256)
    assert 0.02 < data.train.rate < 0.13
    np.testing.assert_array_equal(np.bincount(data.test.labels), np.full(10, 30))
    again = load_events(config)
    assert len(encodings) == 1  # what takes the time; the second load reads the cache
    np.testing.assert_array_equal(again.train.events, data.train.events)
    np.testing.assert_array_equal(again.test.labels, data.test.labels)
