"""Spoken digits synthesised on the spot: many voices, rates and pitches, a little noise.

A stand-in that needs no download. Synthetic speech is easier than recorded speech: use it to try the
product, and FSDD to judge a receiver.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import SAMPLE_RATE, SynthesisConfig
from nsc_deploy.data.recordings import DIGIT_NAMES, Recordings
from nsc_deploy.data.speech import Speech, Utterance, speak

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en", "en-us", "en-us-nyc", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp")
# espeak-ng's variants that sound like a person: no whisper, no croak, no robots.
VARIANTS = (
    "Alex", "Alicia", "Andrea", "Annie", "Denis", "Lee", "Michael", "adam", "aunty", "belinda", "f1", "f2",
    "f3", "f4", "f5", "grandma", "linda", "m1", "m2", "m3", "m4", "m5", "m7", "m8", "steph", "victor",
)  # fmt: skip
# With `unseen_voices`, every fourth variant is kept for the test part.
KEPT_BACK = 4
PARTS = ("train", "test")


def synthesise(config: SynthesisConfig, *, on_each: Callable[[], None] = lambda: None) -> Recordings:
    """Synthesise both parts; the same configuration gives the same samples.

    Every digit comes up equally often in either part (to within one). Accent, variant, rate (120 to 240
    words a minute), pitch and pitch range, level, noise (30 to 50 dB below the speech) and start (0 to
    80 ms) are drawn at random from `config.seed`. The parts are drawn and spoken apart, so the size of
    one does not change the other.

    Args:
        config: sizes, seed and whether the parts share voices.
        on_each: called after each utterance, for a progress bar.

    Raises:
        DataError: no synthesiser, or it failed.
    """
    sounds: list[NDArray[np.int16]] = []
    digits: list[NDArray[np.int64]] = []
    speakers: list[str] = []
    for number, part in enumerate(PARTS):
        generator = np.random.default_rng([config.seed, number])
        chosen = generator.permutation(np.arange(getattr(config, part)) % len(WORDS))
        said = [_draw(generator, int(digit), _variants(part, config)) for digit in chosen]
        speech = speak(said, int(generator.integers(1, 2**31)), on_each=on_each)
        sounds += [_vary(sound, generator) for sound in _at_rate(speech)]
        digits.append(chosen)
        speakers += [utterance.voice for utterance in said]
    return Recordings(
        audio=np.concatenate(sounds),
        offsets=np.concatenate([[0], np.cumsum([len(sound) for sound in sounds])]).astype(np.int64),
        labels=np.concatenate(digits).astype(np.int64),
        speakers=np.array(speakers),
        is_test=np.repeat([False, True], [config.train, config.test]),
        class_names=DIGIT_NAMES,
    )


def _variants(part: str, config: SynthesisConfig) -> tuple[str, ...]:
    if not config.unseen_voices:
        return VARIANTS
    kept_back = VARIANTS[::KEPT_BACK]
    return kept_back if part == "test" else tuple(name for name in VARIANTS if name not in kept_back)


def _draw(generator: np.random.Generator, digit: int, variants: tuple[str, ...]) -> Utterance:
    return Utterance(
        voice=f"{generator.choice(ACCENTS)}+{generator.choice(variants)}",
        text=WORDS[digit],
        rate=int(generator.integers(120, 241)),
        pitch=int(generator.integers(25, 76)),
        range=int(generator.integers(20, 81)),
    )


def _at_rate(speech: Speech) -> list[NDArray[np.float64]]:
    """The sounds at `SAMPLE_RATE`, from -1 to 1, without the silence around them."""
    from scipy.signal import resample_poly

    divisor = np.gcd(SAMPLE_RATE, speech.sample_rate)
    up, down = SAMPLE_RATE // divisor, speech.sample_rate // divisor
    return [_trim(resample_poly(sound.astype(np.float64) / 32768, up, down)) for sound in speech.sounds]


def _trim(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    return sound[loud[0] : loud[-1] + 1] if loud.size else sound


def _vary(sound: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int16]:
    """What happens to an utterance after it is spoken: its level, noise and start."""
    peak_db, snr_db, start_s = (generator.uniform(*ends) for ends in ((-20, -1), (30, 50), (0, 0.08)))
    padded = np.pad(sound, (round(start_s * SAMPLE_RATE), 0))
    noise = np.sqrt(np.mean(sound**2)) * 10 ** (-snr_db / 20)
    noisy = padded + noise * generator.standard_normal(len(padded))
    scaled = noisy / np.abs(noisy).max() * 10 ** (peak_db / 20)
    return np.asarray(np.round(32767 * scaled), dtype=np.int16)
