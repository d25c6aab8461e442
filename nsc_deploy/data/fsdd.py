"""The Free Spoken Digit Dataset: real recordings of ten digits at 8 kHz (CC BY-SA 4.0).

Read from one .npz file or from the folder of the original wav files,
`{digit}_{speaker}_{index}.wav` (https://github.com/Jakobovski/free-spoken-digit-dataset).
"""

import hashlib
import logging
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import SAMPLE_RATE, DataConfig
from nsc_deploy.data.recordings import DIGIT_NAMES, Recordings, check_parts, read_wav
from nsc_deploy.errors import DataError
from nsc_deploy.io.npz import load_npz, save_npz
from nsc_deploy.io.text import CONTROL, printable

NPZ_NAME = "fsdd_8k_int16.npz"
# A speaker may have an underscore, as mary_ann: digit and index are what stands first and last.
WAV_NAME = re.compile(r"(?P<digit>[0-9])_(?P<speaker>.+)_(?P<index>[0-9]+)\.wav", re.IGNORECASE)
_SOUND = {".wav", ".wave", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma", ".webm"}
_MOST_ENTRIES = 20_000
_MOST_NAMES = 3
_MOST_DIGITS = 9
log = logging.getLogger(__name__)
OFFICIAL_TEST_INDICES = 5
SELECTION_TEST_INDICES = 10


@dataclass(frozen=True)
class Spoken:
    """Everything the set says about its recordings, before it is split.

    Attributes:
        audio: [total samples] int16, all recordings end to end.
        offsets: [recordings + 1] int64.
        labels: [recordings] int64, the digit.
        speakers: [recordings] str.
        index: [recordings] int64, the number of the recording among those of its speaker and digit.
    """

    audio: NDArray[np.int16]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    index: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> "Spoken":
        """The recordings that `chosen` [recordings] marks, in their order."""
        lengths = np.diff(self.offsets)
        return Spoken(
            self.audio[np.repeat(chosen, lengths)],
            np.concatenate([[0], np.cumsum(lengths[chosen])]).astype(np.int64),
            self.labels[chosen],
            self.speakers[chosen],
            self.index[chosen],
        )


def read_fsdd(path: Path, config: DataConfig) -> Recordings:
    """Read FSDD from an .npz file or a folder of wav files and split it.

    `official` tests on the recordings numbered 0 to 4 of each speaker and digit;
    `leave-one-speaker-out` on all recordings of `config.speaker`; `selection` on those numbered 5 to 9, and
    leaves out the official test part, so that settings can be chosen without it.

    Raises:
        DataError: missing, damaged, another sample rate, an unknown speaker, or an empty part.
    """
    spoken = read_folder(path) if path.is_dir() else read_npz(path)
    if config.split == "selection":
        spoken = spoken.only(spoken.index >= OFFICIAL_TEST_INDICES)
    is_test = _test_part(spoken, config, path)
    recordings = Recordings(
        spoken.audio, spoken.offsets, spoken.labels, spoken.speakers, is_test, DIGIT_NAMES
    )
    return check_parts(recordings, path)


def _test_part(spoken: Spoken, config: DataConfig, path: Path) -> NDArray[np.bool_]:
    if config.split == "official":
        return spoken.index < OFFICIAL_TEST_INDICES
    if config.split == "selection":
        return spoken.index < SELECTION_TEST_INDICES
    names = sorted(set(spoken.speakers.tolist()))
    if config.speaker not in names:
        raise DataError(
            f"has no speaker {config.speaker!r}", where=path, hint=f"Choose one of: {', '.join(names)}."
        )
    return np.asarray(spoken.speakers == config.speaker)


def read_npz(path: Path) -> Spoken:
    """Read the set from one file.

    Raises:
        DataError: missing, damaged, or not this set at 8 kHz.
    """
    arrays = load_npz(path)
    try:
        rate = arrays["sample_rate"].astype(np.float64).item()
        spoken = Spoken(
            audio=_integers(arrays["audio"], np.int16),
            offsets=_integers(arrays["offsets"], np.int64),
            labels=_integers(arrays["labels"], np.int64),
            speakers=_names(arrays["speaker_names"], _integers(arrays["speakers"], np.int64)),
            index=_integers(arrays["index"], np.int64),
        )
    except KeyError as error:
        raise _not_fsdd(path, f"the array {error} is missing") from error
    except (TypeError, ValueError, IndexError, OverflowError) as error:
        raise _not_fsdd(path, str(error)) from error
    if rate != SAMPLE_RATE:
        raise DataError(f"has a sample rate of {rate:g} Hz, not {SAMPLE_RATE} Hz", where=path)
    _check(spoken, path)
    return spoken


def _integers(array: NDArray[Any], dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """The array as `dtype`; refuses anything but integers that fit."""
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"integers expected, {array.dtype} found")
    bounds = np.iinfo(dtype)
    if array.size and (array.min() < bounds.min or array.max() > bounds.max):
        raise ValueError(f"values do not fit in {bounds.dtype}")
    return array.astype(dtype, copy=False)


def _names(names: NDArray[Any], numbers: NDArray[np.int64]) -> NDArray[np.str_]:
    if numbers.size and numbers.min() < 0:
        raise ValueError("speakers other than those in speaker_names")
    spoken = np.asarray(names.astype(np.str_)[numbers])
    if any(CONTROL.search(name) for name in set(spoken.tolist())):
        raise ValueError("names of speakers with control characters")
    return spoken


def _check(spoken: Spoken, path: Path) -> None:
    count = spoken.labels.size
    if count == 0:
        raise _not_fsdd(path, "it holds no recordings")
    of_each = {array.shape for array in (spoken.labels, spoken.speakers, spoken.index)}
    if spoken.offsets.shape != (count + 1,) or of_each != {(count,)}:
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
        hint="Fetch it: nsc-deploy data fetch fsdd",
    )


def read_folder(folder: Path) -> Spoken:
    """Read the wav files of `folder`, in the order of their names; `left_out` says which it does not read.

    Raises:
        DataError: no file of the set, or one that `read_wav` refuses.
    """
    files = sorted(path for path in folder.iterdir() if WAV_NAME.fullmatch(path.name))
    if not files:
        others = left_out(folder, folder)
        raise DataError(
            f"holds no wav files named {_FORM}" + (f", and leaves out {others}" if others else ""),
            where=folder,
            hint=_TAKE_IN
            if others
            else "Name the folder `recordings` of the data set, or fetch it: nsc-deploy data fetch fsdd",
        )
    for file in files:
        _require_plain_name(file)
    sounds = [read_wav(file) for file in files]
    names = [match for file in files if (match := WAV_NAME.fullmatch(file.name))]
    return Spoken(
        audio=np.concatenate(sounds),
        offsets=np.concatenate([[0], np.cumsum([len(sound) for sound in sounds])]).astype(np.int64),
        labels=np.array([int(name["digit"]) for name in names], dtype=np.int64),
        speakers=np.array([name["speaker"] for name in names]),
        index=np.array([int(name["index"]) for name in names], dtype=np.int64),
    )


_FORM = "{digit}_{speaker}_{index}.wav"
_TAKE_IN = f"To take a recording in, keep it directly in the folder as {_FORM}, for example 3_mary_ann_7.wav."


def warn_of_left_out(folder: Path, around: Path) -> None:
    """Warn of the recordings in a folder that are not read: no set is made smaller without a word.

    Args:
        folder: the one that is read.
        around: where it was found, whose other recordings a person may take for part of the set too.
    """
    others = left_out(folder, around)
    if others:
        log.warning("warning: %s: leaves out %s\n%s", printable(str(folder)), others, _TAKE_IN)


def warn_of_others_beside(npz: Path, around: Path) -> None:
    """Warn of recordings in and below `around`, where the one file of the set was found, that it lacks."""
    near = sorted(islice(around.rglob("*"), _MOST_ENTRIES))
    named = [(path, name) for path in near if (name := WAV_NAME.fullmatch(path.name)) is not None]
    if not named:
        return
    spoken = read_npz(npz)
    held = set(zip(spoken.labels.tolist(), spoken.speakers.tolist(), spoken.index.tolist(), strict=True))
    others = [
        printable(str(path.relative_to(around)), 80)
        for path, name in named
        if (int(name["digit"]), name["speaker"], int(name["index"])) not in held
    ]
    if others:
        log.warning(
            "warning: %s: leaves out %s (this file is read alone)\n%s",
            printable(str(npz)),
            _listed(others),
            "To take them in, keep them beside the wav files of the set, and name that folder as data path.",
        )


def left_out(folder: Path, around: Path) -> str:
    """Which sound files in and below `around` are not read with `folder`, and why; empty where all are.

    Of a tree of more than 20,000 entries the first are looked at.
    """
    reasons: dict[str, list[str]] = {}
    for path in sorted(islice(around.rglob("*"), _MOST_ENTRIES)):
        why = _why_left_out(path, folder, around)
        if why is not None:
            reasons.setdefault(why, []).append(printable(str(path.relative_to(around)), 80))
    return "; ".join(f"{_listed(names)} ({why})" for why, names in reasons.items())


def _why_left_out(path: Path, folder: Path, around: Path) -> str | None:
    kind = path.suffix.lower()
    if kind not in _SOUND or not path.is_file():
        return None
    if folder not in path.parents:
        return f"outside it, in {printable(str(around))}"
    if path.parent != folder:
        return "in a sub-folder"
    if kind != ".wav":
        return "no wav file"
    return None if WAV_NAME.fullmatch(path.name) else f"not named {_FORM}"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _require_plain_name(file: Path) -> None:
    name = WAV_NAME.fullmatch(file.name)
    if CONTROL.search(file.name) or name is None or len(name["index"]) > _MOST_DIGITS:
        raise DataError(
            f"is named with control characters, with bytes that are no UTF-8 or with more than "
            f"{_MOST_DIGITS} digits",
            where=file,
            hint="Rename it, or take it away.",
        )


def content_digest(spoken: Spoken) -> str:
    """SHA-256 of the names (`{digit}_{speaker}_{index}`) and samples of all recordings, sorted by name."""
    named = sorted(
        (f"{label}_{speaker}_{index}", number)
        for number, (label, speaker, index) in enumerate(
            zip(spoken.labels, spoken.speakers, spoken.index, strict=True)
        )
    )
    content = hashlib.sha256()
    for name, number in named:
        samples = spoken.audio[spoken.offsets[number] : spoken.offsets[number + 1]]
        content.update(f"{name} {len(samples)}\n".encode())
        content.update(samples.astype("<i2").tobytes())
    return content.hexdigest()


def write_npz(path: Path, spoken: Spoken) -> None:
    """Write the set as the one file that `read_fsdd` reads."""
    names, speakers = np.unique(spoken.speakers, return_inverse=True)
    save_npz(
        path,
        {
            "audio": spoken.audio,
            "offsets": spoken.offsets,
            "labels": spoken.labels.astype(np.uint8),
            "speakers": speakers.astype(np.int64),
            "index": spoken.index,
            "speaker_names": names,
            "sample_rate": np.array(SAMPLE_RATE),
        },
    )
