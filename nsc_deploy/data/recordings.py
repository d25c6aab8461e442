"""Sound recordings of one word each, which every source of sound hands to the encoder; reads one wav file."""

import struct
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import SAMPLE_RATE
from nsc_deploy.errors import DataError
from nsc_deploy.io.files import open_regular, unreadable

MAX_SAMPLES = 600 * SAMPLE_RATE
"""A recording holds one word; ten minutes are more than any."""
DIGIT_NAMES = tuple(str(digit) for digit in range(10))


@dataclass(frozen=True)
class Recordings:
    """Recordings end to end, mono, at `SAMPLE_RATE` hertz.

    Attributes:
        audio: [total samples] int16.
        offsets: [recordings + 1] int64; recording i is `audio[offsets[i]:offsets[i + 1]]`.
        labels: [recordings] int64, the class of each.
        speakers: [recordings] str, who or what voice speaks.
        is_test: [recordings] bool, whether it belongs to the test part.
        class_names: the name of each class.
    """

    audio: NDArray[np.int16]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: NDArray[np.str_]
    is_test: NDArray[np.bool_]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> NDArray[np.int16]:
        """The samples of one recording."""
        return self.audio[self.offsets[index] : self.offsets[index + 1]]


def check_parts(recordings: Recordings, where: object) -> Recordings:
    """Return `recordings` if both parts have samples.

    Raises:
        DataError: the training or the test part is empty.
    """
    for part, members in (("training", ~recordings.is_test), ("test", recordings.is_test)):
        if not members.any():
            raise DataError(
                f"has no recording for the {part} part",
                where=where,
                hint="Choose another split or complete the set.",
            )
    return recordings


# What `wave` raises, between its checks, where chunks end elsewhere than they say.
_DAMAGED_WAV = (wave.Error, EOFError, RuntimeError, ValueError, ArithmeticError, struct.error)


def read_wav(path: Path) -> NDArray[np.int16]:
    """Read a mono 16-bit wav file at 8 kHz.

    Raises:
        DataError: unreadable, cut short, empty or in another form.
    """
    try:
        with open_regular(path) as file, wave.open(file, "rb") as stream:
            form = (stream.getnchannels(), stream.getsampwidth(), stream.getframerate())
            promised = stream.getnframes()
            content = stream.readframes(min(promised, MAX_SAMPLES + 1))
    except OSError as error:
        raise unreadable(path, error) from error
    except _DAMAGED_WAV as error:
        raise DataError(
            f"is not a valid wav file ({str(error) or 'a chunk ends beyond the file'})", where=path
        ) from error
    if form != (1, 2, SAMPLE_RATE):
        channels, width, rate = form
        raise DataError(
            f"has {channels} channels, {8 * width} bits and {rate} Hz, not 1, 16 and {SAMPLE_RATE} Hz",
            where=path,
            hint="Convert it, or use the original files of the data set.",
        )
    if promised > MAX_SAMPLES:
        raise DataError(f"claims {promised} samples, more than {MAX_SAMPLES} in a recording", where=path)
    if promised == 0 or len(content) != 2 * promised:
        raise DataError(f"is empty or cut short ({len(content)} of {2 * promised} bytes)", where=path)
    return np.frombuffer(content, dtype="<i2").astype(np.int16)
