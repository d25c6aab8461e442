"""Reading one wav file."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.recordings import SAMPLE_RATE
from nsc_deploy.errors import DataError
from nsc_deploy.io.files import unreadable


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
        raise unreadable(path, error) from error
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
