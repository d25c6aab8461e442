"""Speaks utterances with espeak-ng; run as a script in a process of its own (see `speech.py`).

espeak-ng keeps global state that no call resets: what it says depends on everything it has said before.
A fresh process with a seed of its own is the only way to have the same sound twice, and it keeps a crash of
the library out of the caller. Only the standard library is imported, so that the process starts at once.

stdin: one JSON object {library, data, seed, utterances: [{voice, text, rate, pitch, range}]}.
stdout: the sample rate as 4 bytes, then for each utterance the number of bytes as 4 bytes and the samples
as int16, all little-endian.
"""

import ctypes
import json
import struct
import sys
from typing import Any, BinaryIO

AUDIO_RETRIEVAL_IN_STEP = 2
BUFFER_MS = 1000
UTF_8 = 1
RATE, PITCH, RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class EspeakError(RuntimeError):
    """espeak-ng refused a call."""


class Espeak:
    """The library, opened once in this process."""

    def __init__(self, library: str, data: str, seed: int) -> None:
        self._library = ctypes.CDLL(library)
        self._chunks: list[bytes] = []
        # Kept as an attribute: ctypes does not keep a callback alive by itself.
        self._callback = _CALLBACK(self._receive)
        self.sample_rate = int(
            self._library.espeak_Initialize(AUDIO_RETRIEVAL_IN_STEP, BUFFER_MS, data.encode(), 0)
        )
        if self.sample_rate <= 0:
            raise EspeakError(f"espeak_Initialize({data!r}) answered {self.sample_rate}")
        self._library.espeak_SetSynthCallback(self._callback)
        # Without it the aspiration noise is seeded from the clock.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    def _receive(self, samples: Any, count: int, _events: object) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, voice: str, text: str, rate: int, pitch: int, pitch_range: int) -> bytes:
        """The samples of one utterance as int16."""
        self._check(self._library.espeak_SetVoiceByName(voice.encode()), f"voice {voice!r}")
        for parameter, value in ((RATE, rate), (PITCH, pitch), (RANGE, pitch_range)):
            self._check(self._library.espeak_SetParameter(parameter, value, 0), f"parameter {parameter}")
        self._chunks.clear()
        content = text.encode() + b"\0"
        status = self._library.espeak_Synth(content, len(content), 0, 1, 0, UTF_8, None, None)
        self._check(status, f"text {text!r}")
        self._check(self._library.espeak_Synchronize(), "espeak_Synchronize")
        return b"".join(self._chunks)

    @staticmethod
    def _check(status: int, what: str) -> None:
        if status != 0:
            raise EspeakError(f"{what} was refused with status {status}")


def serve(request: dict[str, Any], out: BinaryIO) -> None:
    """Speak every utterance of `request` in order and write the samples to `out`."""
    espeak = Espeak(request["library"], request["data"], request["seed"])
    out.write(struct.pack("<i", espeak.sample_rate))
    for said in request["utterances"]:
        samples = espeak.say(said["voice"], said["text"], said["rate"], said["pitch"], said["range"])
        out.write(struct.pack("<i", len(samples)) + samples)
    out.flush()


if __name__ == "__main__":
    serve(json.loads(sys.stdin.buffer.read()), sys.stdout.buffer)
