"""From a cochleagram to binary events, with levels learned from the training part only."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.config import EncodingConfig
from nsc_deploy.data.filterbank import cochleagram
from nsc_deploy.data.recordings import Recordings

BATCH = 256


@dataclass(frozen=True)
class Encoder:
    """A fitted front end.

    Attributes:
        config: what was asked for.
        levels: [bands, levels] decibels (lif: gains per decibel above silence).
    """

    config: EncodingConfig
    levels: NDArray[np.float32]

    def encode(self, loudness: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Events of a cochleagram [samples, steps, bands]: [samples, steps, bands * levels], 0 or 1."""
        encode = {"level": _above, "crossing": _rising, "lif": self._integrate}[self.config.kind]
        parts = [
            encode(loudness[first : first + BATCH], self.levels) for first in range(0, len(loudness), BATCH)
        ]
        events = np.concatenate(parts).astype(np.uint8)
        return events.reshape(*loudness.shape[:2], self.config.channels)

    def _integrate(self, loudness: NDArray[np.float32], gains: NDArray[np.float32]) -> NDArray[np.bool_]:
        """v[t] = decay v[t-1] + gain (x[t] + range); s[t] = v[t] > 1; v[t] = 0 where s[t]."""
        current = (loudness + self.config.range_db)[..., None] * gains
        spikes = np.zeros(current.shape, dtype=np.bool_)
        potential = np.zeros(current[:, 0].shape, dtype=np.float32)
        for step in range(current.shape[1]):
            potential = np.float32(self.config.lif_decay) * potential + current[:, step]
            spikes[:, step] = potential > 1
            potential[spikes[:, step]] = 0
        return spikes


def _above(loudness: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(loudness[..., None] > levels)


def _rising(loudness: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    above = _above(loudness, levels)
    above[:, 1:] &= ~above[:, :-1]
    return above


def fit_encoder(loudness: NDArray[np.float32], config: EncodingConfig) -> Encoder:
    """Choose the levels of each band from the cochleagrams of the training part.

    Level j of L lies where the share p_j = 2 rate (L - j) / (L + 1), j = 0 .. L - 1, of the band's
    training values is above it, so that kind `level` has the mean event rate `rate`. Silence is above
    no level. The gains of kind `lif` make a neuron that integrates for 1 / (1 - decay) steps reach its
    threshold at the same levels.

    Args:
        loudness: [samples, steps, bands] decibels, training part only.
        config: kind, levels and rate.
    """
    shares = 2 * config.rate * np.arange(config.levels, 0, -1) / (config.levels + 1)
    quantiles = np.quantile(loudness.reshape(-1, config.bands), 1 - shares, axis=0).T
    if config.kind == "lif":
        quantiles = (1 - config.lif_decay) / np.maximum(quantiles + config.range_db, 1e-3)
    return Encoder(config, np.ascontiguousarray(quantiles, dtype=np.float32))


def encode_parts(recordings: Recordings, config: EncodingConfig) -> tuple[NDArray[np.uint8], Encoder]:
    """Encode every recording with levels fitted to the training part.

    Returns:
        events [recordings, steps, channels] and the encoder that made them.
    """
    loudness = cochleagram(recordings, config)
    encoder = fit_encoder(loudness[~recordings.is_test], config)
    return encoder.encode(loudness), encoder
