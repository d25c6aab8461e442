"""From a cochleagram to binary events: every band is watched by several levels or neurons.

The levels are fixed relative to the loudest point of the same utterance: nothing is learned from data.
"""

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import EncodingConfig


def level_values(config: EncodingConfig) -> NDArray[np.float32]:
    """The levels in decibels, evenly spaced from lowest to highest: [levels]."""
    return np.linspace(config.lowest_level_db, config.highest_level_db, config.levels, dtype=np.float32)


def encode(loudness: NDArray[np.float32], config: EncodingConfig) -> NDArray[np.uint8]:
    """Events of a cochleagram.

    With x[t] the loudness of a band and L one of its levels:

    - level: s[t] = x[t] > L
    - crossing: s[t] = x[t] > L and not x[t-1] > L, where x[-1] is silence
    - lif: v[t] = decay v[t-1] + (1 - decay) (x[t] + range) / (L + range); s[t] = v[t] > 1;
      v[t] = 0 where s[t]. A neuron driven for long by a band exactly at its level just reaches its threshold.

    Args:
        loudness: [samples, steps, bands] decibels, -range_db to 0.
        config: kind and levels.

    Returns:
        [samples, steps, bands * levels], 0 or 1; channel `band * levels + level`.
    """
    compute = {"level": _above, "crossing": _rising, "lif": _fired}[config.kind]
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
