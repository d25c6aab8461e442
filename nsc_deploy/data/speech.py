"""Speech synthesis with the espeak-ng library that the PyPI package espeakng-loader carries."""

import json
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError

WORKER = Path(__file__).with_name("espeak_worker.py")
START_TIMEOUT_S = 30.0
UTTERANCE_TIMEOUT_S = 0.5
MAX_UTTERANCE_BYTES = 1 << 24
REINSTALL = "Install it again: pip install --force-reinstall espeakng-loader"


@dataclass(frozen=True)
class Utterance:
    """What is said, and how.

    Attributes:
        voice: espeak-ng voice and variant, for example "en-us+f3".
        text: English text.
        rate: words per minute, 80 to 450.
        pitch: 0 to 100, 50 being the voice's own.
        range: how far the pitch moves, 0 to 100, 50 being the voice's own.
    """

    voice: str
    text: str
    rate: int
    pitch: int
    range: int


@dataclass(frozen=True)
class Speech:
    """What was said: one int16 array per utterance, at `sample_rate` hertz."""

    sounds: tuple[NDArray[np.int16], ...]
    sample_rate: int


def speak(
    utterances: Sequence[Utterance], seed: int, *, on_each: Callable[[], None] = lambda: None
) -> Speech:
    """Speak utterances in one fresh process: the same list and seed give the same samples.

    Args:
        utterances: what to say, in order; the sound of one depends on those before it.
        seed: of the synthesiser's own noise, 1 to 2^31 - 1.
        on_each: called after each utterance, for a progress bar.

    Raises:
        DataError: espeakng-loader is not installed, or the synthesiser failed or hung.
    """
    paths = library_paths()
    request = {
        "library": str(paths.library),
        "data": str(paths.voices),
        "seed": seed,
        "utterances": [asdict(said) for said in utterances],
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-I", str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
        timer = threading.Timer(START_TIMEOUT_S + UTTERANCE_TIMEOUT_S * len(utterances), process.kill)
        timer.start()
        try:
            sample_rate, sounds = _converse(process, json.dumps(request).encode(), len(utterances), on_each)
        except (EOFError, OSError) as error:
            process.kill()
            process.wait()
            raise _failed(log, process.returncode) from error
        finally:
            timer.cancel()
            process.kill()
            process.wait()
    return Speech(tuple(sounds), sample_rate)


class LibraryPaths(NamedTuple):
    """Where the synthesiser is installed."""

    library: Path
    voices: Path


def library_paths() -> LibraryPaths:
    """The espeak-ng library and the folder of its voices.

    Raises:
        DataError: espeakng-loader is not installed, or damaged.
    """
    try:
        import espeakng_loader

        paths = LibraryPaths(Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path()))
    except ImportError as error:
        raise DataError(
            "the synthesised digits need espeak-ng, which is not installed",
            where="spoken-digits",
            hint="Install it: pip install nsc-deploy[speech]",
        ) from error
    except RuntimeError as error:
        raise DataError(f"is damaged ({error})", where="espeakng-loader", hint=REINSTALL) from error
    if not paths.library.is_file():
        raise DataError("is missing", where=paths.library, hint=REINSTALL)
    return paths


def _converse(
    process: "subprocess.Popen[bytes]", request: bytes, count: int, on_each: Callable[[], None]
) -> tuple[int, list[NDArray[np.int16]]]:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 both were asked to be pipes
    with process.stdin as stdin, process.stdout as stdout:
        stdin.write(request)
        stdin.close()
        sample_rate = _integer(stdout)
        sounds = []
        for samples in _replies(stdout, count):
            sounds.append(samples)
            on_each()
    return sample_rate, sounds


def _replies(stdout: IO[bytes], count: int) -> Iterator[NDArray[np.int16]]:
    for _ in range(count):
        size = _integer(stdout)
        if not 0 < size <= MAX_UTTERANCE_BYTES or size % 2:
            raise EOFError(f"an utterance of {size} bytes")
        yield np.frombuffer(_exactly(stdout, size), dtype="<i2").astype(np.int16)


def _integer(stdout: IO[bytes]) -> int:
    return int(struct.unpack("<i", _exactly(stdout, 4))[0])


def _exactly(stdout: IO[bytes], size: int) -> bytes:
    content = stdout.read(size)
    if len(content) != size:
        raise EOFError(f"{len(content)} of {size} bytes")
    return content


def _failed(log: IO[bytes], status: int) -> DataError:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else "no message"
    return DataError(
        f"the synthesiser failed (exit status {status}: {reason})",
        where="spoken-digits",
        hint=REINSTALL,
    )
