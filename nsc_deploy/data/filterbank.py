"""From sound to a cochleagram: windows in time, bands in frequency, decibels in loudness."""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import EncodingConfig
from nsc_deploy.data.recordings import SAMPLE_RATE, Recordings

BATCH = 256
FULL_SCALE = 32768.0
SMALLEST_POWER = 1e-10


def mel_filters(config: EncodingConfig, bins: int) -> NDArray[np.float32]:
    """Triangular filters, equally spaced on the mel scale, as wide as two neighbours' spacing.

    mel(f) = 2595 log10(1 + f / 700).

    Returns:
        [bins, bands], each band's weights summing to 1; `bins` spans 0 Hz to half the sample rate.
    """
    edges = _hertz(np.linspace(_mel(config.lowest_hz), _mel(config.highest_hz), config.bands + 2))
    frequencies = np.linspace(0, SAMPLE_RATE / 2, bins)[:, None]
    rising = (frequencies - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - frequencies) / np.diff(edges)[1:]
    weights = np.maximum(np.minimum(rising, falling), 0)
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-12), dtype=np.float32)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def fit_length(sound: NDArray[np.int16], length: int) -> NDArray[np.int16]:
    """The `length` samples to encode: a shorter sound is followed by silence, of a longer one the
    stretch with the greatest energy is kept.
    """
    if len(sound) <= length:
        return np.pad(sound, (0, length - len(sound)))
    energy = np.concatenate([[0.0], np.cumsum(sound.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return sound[start : start + length]


def cochleagram(recordings: Recordings, config: EncodingConfig) -> NDArray[np.float32]:
    """Loudness of every band in every step, relative to the loudest of the same recording.

    The window of step t ends where the step ends, so no step looks ahead.

    Returns:
        [recordings, steps, bands] decibels, from -range_db (silence) to 0.
    """
    batches = range(0, len(recordings), BATCH)
    return np.concatenate(
        [
            _loudness(recordings, range(first, min(first + BATCH, len(recordings))), config)
            for first in batches
        ]
    )


def _loudness(recordings: Recordings, members: range, config: EncodingConfig) -> NDArray[np.float32]:
    step = round(config.step_s * SAMPLE_RATE)
    window = round(config.window_s * SAMPLE_RATE)
    sounds = np.stack([fit_length(recordings[index], config.steps * step) for index in members])
    padded = np.pad(sounds.astype(np.float32) / FULL_SCALE, ((0, 0), (window, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, step::step]
    size = max(1024, 1 << (window - 1).bit_length())
    spectrum = np.fft.rfft(frames * np.hanning(window).astype(np.float32), n=size, axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    decibels = 10 * np.log10(power @ mel_filters(config, power.shape[2]) + SMALLEST_POWER)
    relative = decibels - decibels.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.maximum(relative, -config.range_db), dtype=np.float32)
