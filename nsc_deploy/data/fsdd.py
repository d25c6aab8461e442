"""The Free Spoken Digit Dataset: real recordings of ten digits at 8 kHz (CC BY-SA 4.0).

Read from one .npz file or from the folder of the original wav files,
`{digit}_{speaker}_{index}.wav` (https://github.com/Jakobovski/free-spoken-digit-dataset).
"""

import re
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import DataConfig
from nsc_deploy.data.recordings import DIGIT_NAMES, SAMPLE_RATE, Recordings, check_parts
from nsc_deploy.errors import DataError
from nsc_deploy.files import load_npz

NPZ_NAME = "fsdd_8k_int16.npz"
WAV_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)\.wav")
OFFICIAL_TEST_INDICES = 5


@dataclass(frozen=True)
class _Spoken:
    """Everything the set says about its recordings; arrays have one entry per recording."""

    audio: NDArray[np.int16]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    index: NDArray[np.int64]


def read_fsdd(path: Path, config: DataConfig) -> Recordings:
    """Read FSDD from an .npz file or a folder of wav files and split it.

    `official` tests on the recordings numbered 0 to 4 of each speaker and digit;
    `leave-one-speaker-out` on all recordings of `config.speaker`.

    Raises:
        DataError: missing, damaged, another sample rate, an unknown speaker, or an empty part.
    """
    spoken = _read_folder(path) if path.is_dir() else _read_npz(path)
    is_test = _test_part(spoken, config, path)
    recordings = Recordings(
        spoken.audio, spoken.offsets, spoken.labels, spoken.speakers, is_test, DIGIT_NAMES
    )
    return check_parts(recordings, path)


def _test_part(spoken: _Spoken, config: DataConfig, path: Path) -> NDArray[np.bool_]:
    if config.split == "official":
        return spoken.index < OFFICIAL_TEST_INDICES
    names = sorted(set(spoken.speakers.tolist()))
    if config.speaker not in names:
        raise DataError(
            f"has no speaker {config.speaker!r}", where=path, remedy=f"Choose one of: {', '.join(names)}."
        )
    return np.asarray(spoken.speakers == config.speaker)


def _read_npz(path: Path) -> _Spoken:
    arrays = load_npz(path)
    try:
        rate = int(arrays["sample_rate"])
        spoken = _Spoken(
            audio=_integers(arrays["audio"], np.int16),
            offsets=_integers(arrays["offsets"], np.int64),
            labels=_integers(arrays["labels"], np.int64),
            speakers=arrays["speaker_names"].astype(np.str_)[_integers(arrays["speakers"], np.int64)],
            index=_integers(arrays["index"], np.int64),
        )
    except KeyError as error:
        raise _not_fsdd(path, f"the array {error} is missing") from error
    except (TypeError, ValueError, IndexError) as error:
        raise _not_fsdd(path, str(error)) from error
    if rate != SAMPLE_RATE:
        raise DataError(f"has a sample rate of {rate} Hz, not {SAMPLE_RATE} Hz", where=path)
    _check(spoken, path)
    return spoken


def _integers(array: NDArray[Any], dtype: type) -> NDArray[Any]:
    """The array as `dtype`; refuses anything but integers that fit."""
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"integers expected, {array.dtype} found")
    return array.astype(dtype, copy=False)


def _check(spoken: _Spoken, path: Path) -> None:
    count = len(spoken.labels)
    if count == 0:
        raise _not_fsdd(path, "it holds no recordings")
    if spoken.offsets.shape != (count + 1,) or len(spoken.speakers) != count or len(spoken.index) != count:
        raise _not_fsdd(path, "its arrays do not have one entry per recording")
    ends_fit = spoken.offsets[0] == 0 and spoken.offsets[-1] == spoken.audio.size
    if spoken.audio.ndim != 1 or not ends_fit or (np.diff(spoken.offsets) <= 0).any():
        raise _not_fsdd(path, "its offsets do not divide its audio into recordings")
    if spoken.labels.min() < 0 or spoken.labels.max() >= len(DIGIT_NAMES):
        raise _not_fsdd(path, "it has labels other than 0 to 9")


def _not_fsdd(path: Path, reason: str) -> DataError:
    return DataError(
        f"is not the Free Spoken Digit Dataset ({reason})",
        where=path,
        remedy="Fetch it: nsc-deploy data fetch fsdd",
    )


def _read_folder(folder: Path) -> _Spoken:
    """Read the wav files of `folder`, in the order of their names; other files are not looked at."""
    files = sorted(path for path in folder.iterdir() if WAV_NAME.fullmatch(path.name))
    if not files:
        raise DataError(
            "holds no wav files named {digit}_{speaker}_{index}.wav",
            where=folder,
            remedy="Name the folder `recordings` of the data set, or fetch it: nsc-deploy data fetch fsdd",
        )
    sounds = [read_wav(file) for file in files]
    names = [match for file in files if (match := WAV_NAME.fullmatch(file.name))]
    return _Spoken(
        audio=np.concatenate(sounds),
        offsets=np.concatenate([[0], np.cumsum([len(sound) for sound in sounds])]).astype(np.int64),
        labels=np.array([int(name["digit"]) for name in names], dtype=np.int64),
        speakers=np.array([name["speaker"] for name in names]),
        index=np.array([int(name["index"]) for name in names], dtype=np.int64),
    )


def read_wav(path: Path) -> NDArray[np.int16]:
    """Read a mono 16-bit wav file at 8 kHz.

    Raises:
        DataError: unreadable, cut short, empty or in another form.
    """
    try:
        with wave.open(str(path), "rb") as stream:
            form = (stream.getnchannels(), stream.getsampwidth(), stream.getframerate())
            promised = stream.getnframes()
            content = stream.readframes(promised)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=path) from error
    except (wave.Error, EOFError) as error:
        raise DataError(f"is not a valid wav file ({error or 'it ends early'})", where=path) from error
    if form != (1, 2, SAMPLE_RATE):
        channels, width, rate = form
        raise DataError(
            f"has {channels} channels, {8 * width} bits and {rate} Hz, not 1, 16 and {SAMPLE_RATE} Hz",
            where=path,
            remedy="Convert it, or use the original files of the data set.",
        )
    if promised == 0 or len(content) != 2 * promised:
        raise DataError(f"is empty or cut short ({len(content)} of {2 * promised} bytes)", where=path)
    return np.frombuffer(content, dtype="<i2").astype(np.int16)
