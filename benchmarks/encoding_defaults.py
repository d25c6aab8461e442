"""Compare encodings by cross-validation inside the training part of FSDD: the source of the defaults.

The test part is never looked at. Two proxies for a receiver, both kernel ridge regression on the events of
the whole utterance (linear, and Gaussian with the median distance as width), are scored in two ways:
five-fold (every speaker in every fold) and leave-one-speaker-out over the six speakers.

    python benchmarks/encoding_defaults.py --path fsdd_8k_int16.npz
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from nsc_deploy.data.catalogue import find_source
from nsc_deploy.data.config import DataConfig, EncodingConfig
from nsc_deploy.data.encoding import cochleagram, encode
from nsc_deploy.data.fsdd import read_fsdd
from nsc_deploy.data.recordings import Recordings

RIDGE = 0.03
FOLDS = 5
CLASSES = 10

# One setting at a time around the defaults, and a few combinations of as many channels.
VARIANTS: tuple[dict[str, object], ...] = (
    {},
    {"kind": "crossing"},
    {"kind": "lif"},
    {"kind": "lif", "lif_decay": 0.5},
    {"lowest_level_db": -45.0},
    {"lowest_level_db": -50.0},
    {"lowest_level_db": -30.0},
    {"highest_level_db": -10.0},
    {"levels": 1, "lowest_level_db": -25.0},
    {"levels": 2},
    {"levels": 8},
    {"bands": 16},
    {"bands": 32},
    {"bands": 32, "levels": 8},
    {"bands": 128},
    {"bands": 128, "levels": 2},
    {"step_s": 0.01, "steps": 90},
    {"step_s": 0.02, "steps": 45},
    {"step_s": 0.045, "steps": 20, "window_s": 0.045},
    {"step_s": 0.06, "steps": 15, "window_s": 0.06},
    {"steps": 20},
    {"steps": 40},
    {"window_s": 0.02},
    {"window_s": 0.05},
    {"lowest_hz": 200.0},
)


@dataclass(frozen=True)
class Scores:
    """Accuracies in per cent and the share of (step, channel) places with an event."""

    rate: float
    linear: tuple[float, float]
    gaussian: tuple[float, float]


def training_part(path: Path | None) -> tuple[Recordings, NDArray[np.int64]]:
    """The training recordings of the official split, and the speaker of each as a number."""
    config = DataConfig(dataset="fsdd", path=path)
    official = read_fsdd(find_source(config), config)
    keep = np.flatnonzero(~official.is_test)
    sounds = [official[int(index)] for index in keep]
    part = replace(
        official,
        audio=np.concatenate(sounds),
        offsets=np.concatenate([[0], np.cumsum([len(sound) for sound in sounds])]).astype(np.int64),
        labels=official.labels[keep],
        speakers=official.speakers[keep],
        is_test=official.is_test[keep],
    )
    return part, np.unique(part.speakers, return_inverse=True)[1]


def stratified_folds(labels: NDArray[np.int64], speakers: NDArray[np.int64]) -> NDArray[np.int64]:
    """A fold for each recording; every fold has as many of each speaker and digit."""
    generator = np.random.default_rng(0)
    folds = np.zeros(len(labels), dtype=np.int64)
    for group in np.unique(speakers * CLASSES + labels):
        members = np.flatnonzero(speakers * CLASSES + labels == group)
        folds[generator.permutation(members)] = np.arange(len(members)) % FOLDS
    return folds


def accuracy(kernel: NDArray[np.float32], labels: NDArray[np.int64], folds: NDArray[np.int64]) -> float:
    """Cross-validated accuracy of kernel ridge regression, in per cent."""
    targets = np.eye(CLASSES, dtype=np.float32)[labels] * 2 - 1
    right = np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        train, held_out = folds != fold, folds == fold
        system = kernel[np.ix_(train, train)] + RIDGE * np.eye(int(train.sum()), dtype=np.float32)
        weights = cho_solve(cho_factor(system, overwrite_a=True), targets[train])
        right[held_out] = (kernel[np.ix_(held_out, train)] @ weights).argmax(axis=1) == labels[held_out]
    return 100 * float(right.mean())


def measure(part: Recordings, speakers: NDArray[np.int64], config: EncodingConfig) -> Scores:
    """Score one encoding."""
    events = encode(cochleagram(part, config), config)
    flat = events.reshape(len(events), -1).astype(np.float32)
    products = flat @ flat.T
    norms = np.diag(products)
    distances = norms[:, None] + norms - 2 * products
    folds = (stratified_folds(part.labels, speakers), speakers)
    linear, gaussian = products / norms.mean(), np.exp(-distances / np.median(distances))
    return Scores(
        rate=100 * float(events.mean()),
        linear=(accuracy(linear, part.labels, folds[0]), accuracy(linear, part.labels, folds[1])),
        gaussian=(accuracy(gaussian, part.labels, folds[0]), accuracy(gaussian, part.labels, folds[1])),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare encodings inside the training part of FSDD.")
    parser.add_argument("--path", type=Path, default=None, help="FSDD: .npz file or folder of wav files")
    part, speakers = training_part(parser.parse_args().path)
    print("| Changed from the defaults | Channels x steps | Events | Linear, 5-fold | Linear, new speaker "
          "| Gaussian, 5-fold | Gaussian, new speaker |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for changes in VARIANTS:
        config = EncodingConfig.model_validate(changes)
        scores = measure(part, speakers, config)
        name = ", ".join(f"{field} = {value}" for field, value in changes.items()) or "(defaults)"
        figures = " | ".join(f"{value:.1f} %" for value in (scores.rate, *scores.linear, *scores.gaussian))
        print(f"| {name} | {config.channels} x {config.steps} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
