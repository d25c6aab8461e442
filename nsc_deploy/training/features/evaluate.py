"""How well a codec sends: accuracy over a channel, after the first steps, and what its bits tell."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.models.features.codecs import entropy, entropy_per_position
from nsc_deploy.training.batches import stream
from nsc_deploy.training.features.system import CodedClassifier

BATCH = 250
Scores = Callable[[Tensor], Tensor]
"""Scores [B, classes] of received bits [n, B, k, h, w]."""


@dataclass(frozen=True)
class CodecMeasurement:
    """What a codec does on a set of samples over one channel.

    Attributes:
        accuracy: part of the samples told rightly, mean over the draws of the channel.
        deviation: standard deviation over the draws (by n - 1); 0 of a single one.
        ones: part of the bits sent that are 1.
        entropy: of the frequency of ones in a step, in bits, mean over the steps.
        entropy_per_position: the same of each bit on its own.
    """

    accuracy: float
    deviation: float
    ones: float
    entropy: float
    entropy_per_position: float


@torch.no_grad()
def measure_codec(
    classifier: CodedClassifier,
    features: NDArray[np.float16],
    labels: NDArray[np.int64],
    channel: BinaryChannelConfig,
    seed: int,
    *,
    draws: int = 1,
    purpose: str = "test",
) -> CodecMeasurement:
    """Send features over a channel, in order, and tell what the server makes of them.

    Args:
        classifier: finished, in evaluation mode.
        features: [N, C, h, w].
        labels: [N].
        channel: BSC or BEC.
        seed: of the channel.
        draws: how often each feature is sent.
        purpose: names the noise; the same purpose and seed give the same noise.
    """
    bits = encoded(classifier, features)
    return measure_bits(classifier, bits, labels, channel, seed, draws=draws, purpose=purpose)


@torch.no_grad()
def measure_bits(
    classifier: CodedClassifier,
    bits: Tensor,
    labels: NDArray[np.int64],
    channel: BinaryChannelConfig,
    seed: int,
    *,
    draws: int = 1,
    purpose: str = "test",
    scores: Scores | None = None,
) -> CodecMeasurement:
    """The same with the bits of the features, as `encoded` gives them: over one channel after another.

    With `scores`, that is what becomes of received bits, in the place of the classifier's decoder.
    """
    decide = scores or classifier.scores
    different = range(draws if channel.errs else 1)
    accuracies = [
        _accuracy(decide, bits, labels, BinaryChannel(channel), stream(seed, purpose, draw))
        for draw in different
    ]
    sent = bits.float()
    return CodecMeasurement(
        accuracy=float(np.mean(accuracies)),
        deviation=spread(accuracies),
        ones=float(sent.mean()),
        entropy=float(entropy(sent)),
        entropy_per_position=float(entropy_per_position(sent)),
    )


def spread(values: Sequence[float]) -> float:
    """Standard deviation of what a few draws were drawn from, by n - 1; 0 of a single one."""
    return stdev(values) if len(values) > 1 else 0.0


@torch.no_grad()
def encoded(classifier: CodedClassifier, features: NDArray[np.float16]) -> Tensor:
    """The bits of all features [n, N, k, h, w] as uint8."""
    pieces = [
        classifier.codec.encode(torch.from_numpy(features[start : start + BATCH]).float()).to(torch.uint8)
        for start in range(0, len(features), BATCH)
    ]
    return torch.cat(pieces, 1)


def _accuracy(
    decide: Scores,
    bits: Tensor,
    labels: NDArray[np.int64],
    channel: BinaryChannel,
    noise: torch.Generator,
    steps: int | None = None,
) -> float:
    right = 0
    for start in range(0, len(labels), BATCH):
        received = channel(bits[:, start : start + BATCH].float(), noise)
        scores = decide(received[:steps])
        right += int((scores.argmax(1).numpy() == labels[start : start + BATCH]).sum())
    return right / len(labels)


@torch.no_grad()
def accuracy_after(
    classifier: CodedClassifier,
    bits: Tensor,
    labels: NDArray[np.int64],
    channel: BinaryChannelConfig,
    seed: int,
    *,
    draws: int = 1,
) -> tuple[float, ...]:
    """Accuracy of a spiking codec when only the first 1, 2, ..., T of the steps have arrived.

    Over the draws of `measure_bits`, so that the last one is what that gives.
    """
    sender, different = BinaryChannel(channel), range(draws if channel.errs else 1)

    def after(steps: int) -> float:
        noises = [stream(seed, "test", draw) for draw in different]
        each = [_accuracy(classifier.scores, bits, labels, sender, noise, steps) for noise in noises]
        return float(np.mean(each))

    return tuple(after(steps) for steps in range(1, len(bits) + 1))


@torch.no_grad()
def accuracy_without_channel(
    server: nn.Module, features: NDArray[np.floating], labels: NDArray[np.int64]
) -> float:
    """What the server makes of the features themselves: what no codec is expected to exceed by much."""
    server.eval()
    right = 0
    for start in range(0, len(features), BATCH):
        scores = server(torch.from_numpy(features[start : start + BATCH]).float())
        right += int((scores.argmax(1).numpy() == labels[start : start + BATCH]).sum())
    return right / len(features)
