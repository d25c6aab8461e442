"""From sound to binary events: a mel cochleagram in decibels, watched by several levels or neurons a band.

The levels are fixed relative to the loudest point of the same utterance: nothing is learned from data. Where
there is no sound, that point would be the noise of the last bit, so an utterance that quiet makes no events.
"""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import SAMPLE_RATE, EncodingConfig
from nsc_deploy.data.recordings import Recordings


def level_values(config: EncodingConfig) -> NDArray[np.float32]:
    """The levels in decibels, evenly spaced from lowest to highest: [levels]."""
    return np.linspace(config.lowest_level_db, config.highest_level_db, config.levels, dtype=np.float32)


def encode(loudness: NDArray[np.float32], config: EncodingConfig) -> NDArray[np.uint8]:
    """Events of a cochleagram.

    With x[t] the loudness of a band and L one of its levels:

    - level: s[t] = x[t] > L
    - crossing: s[t] = x[t] > L and not x[t-1] > L, where x[-1] is silence
    - first: the first crossing of an utterance alone, so that each channel fires at most once
    - lif: v[t] = decay v[t-1] + (1 - decay) (x[t] + range) / (L + range); s[t] = v[t] > 1;
      v[t] = 0 where s[t]. A neuron driven for long by a band exactly at its level just reaches its threshold.

    Args:
        loudness: [samples, steps, bands] decibels, -range_db to 0.
        config: kind and levels.

    Returns:
        [samples, steps, bands * levels], 0 or 1; channel `band * levels + level`.
    """
    compute = {"level": _above, "crossing": _rising, "first": _first, "lif": _fired}[config.kind]
    events = np.empty((*loudness.shape, config.levels), dtype=np.uint8)
    for level, value in enumerate(level_values(config)):
        events[..., level] = compute(loudness, value, config)
    return events.reshape(*loudness.shape[:2], config.channels)


def _above(loudness: NDArray[np.float32], level: np.float32, _: EncodingConfig) -> NDArray[np.bool_]:
    return np.asarray(loudness > level)


def _rising(loudness: NDArray[np.float32], level: np.float32, config: EncodingConfig) -> NDArray[np.bool_]:
    above = _above(loudness, level, config)
    rising = above.copy()
    rising[:, 1:] &= ~above[:, :-1]
    return rising


def _first(loudness: NDArray[np.float32], level: np.float32, config: EncodingConfig) -> NDArray[np.bool_]:
    above = _above(loudness, level, config)
    first = above.copy()
    first[:, 1:] &= ~np.logical_or.accumulate(above, axis=1)[:, :-1]
    return first


def _fired(loudness: NDArray[np.float32], level: np.float32, config: EncodingConfig) -> NDArray[np.bool_]:
    decay = np.float32(config.lif_decay)
    # A level at the silent end would divide by zero: such a neuron fires on anything audible.
    span = max(float(level) + config.range_db, 1e-3)
    current = (loudness + np.float32(config.range_db)) * np.float32((1 - config.lif_decay) / span)
    fired = np.empty(loudness.shape, dtype=np.bool_)
    potential = np.zeros_like(current[:, 0])
    for step in range(current.shape[1]):
        potential = decay * potential + current[:, step]
        fired[:, step] = potential > 1
        potential[fired[:, step]] = 0
    return fired


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


def is_silent(sound: NDArray[np.int16], config: EncodingConfig) -> bool:
    """Whether a recording holds no sound: all samples within `quietest_db` of full scale around their mean.

    A constant offset, as cheap converters add it, is no sound.
    """
    loudest = np.abs(sound - sound.mean(dtype=np.float64)).max(initial=0.0)
    return bool(loudest < FULL_SCALE * 10 ** (config.quietest_db / 20))


def cochleagram(recordings: Recordings, config: EncodingConfig) -> NDArray[np.float32]:
    """Loudness of every band in every step, relative to the loudest of the same recording.

    The window of step t ends where the step ends, so no step looks ahead. A silent recording (`is_silent`) is
    silence throughout, and so is one of which no window and no band hears anything.

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
    window = config.window
    sounds = np.stack([fit_length(recordings[index], config.steps * step) for index in members])
    padded = np.pad(sounds.astype(np.float32) / FULL_SCALE, ((0, 0), (window, 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window, axis=1)[:, step::step]
    windowed = frames * np.hanning(window).astype(np.float32)
    spectrum = np.fft.rfft(windowed, n=config.spectrum_size, axis=2)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    heard = power @ mel_filters(config, power.shape[2])
    decibels = 10 * np.log10(heard + SMALLEST_POWER)
    relative = decibels - decibels.max(axis=(1, 2), keepdims=True)
    relative[[is_silent(recordings[index], config) for index in members]] = -config.range_db
    # Relative to what was added against the logarithm of 0, everything would be as loud as the loudest.
    relative[heard.max(axis=(1, 2)) <= SMALLEST_POWER] = -config.range_db
    return np.asarray(np.maximum(relative, -config.range_db), dtype=np.float32)
