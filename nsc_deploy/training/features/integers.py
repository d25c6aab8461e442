"""A spiking feature system whose encoder and decoder compute in Lava's integers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.features.graphs import OnServer
from nsc_deploy.models.features.spiking_codec import SpikingCodec
from nsc_deploy.training.features.system import CodedClassifier
from nsc_deploy.training.integers import emulator_of
from nsc_deploy.training.run_directory import read_experiment
from nsc_deploy.verification.runner import Runner

BATCH = 250


def require_chip_parts(run: Path) -> None:
    """Refuse a run that has nothing for a chip.

    Raises:
        ConfigError: it is of no spiking codec.
    """
    experiment = read_experiment(run)
    if not isinstance(experiment, FeaturesExperiment) or not experiment.system.spiking:
        raise ConfigError(
            f"is a run of {experiment.system.name}, which has nothing for a chip",
            where=run,
            hint="Leave --quantise out, or name runs of snn-sc and s-jscc alone.",
        )


@dataclass(frozen=True)
class IntegerCodec:
    """Encoder and decoder in integers, in the emulator of Lava's arithmetic; all else in floating point.

    Attributes:
        codec: the first convolution, the first neurons and the converter are its own.
        encoder: current of the first neurons to bits.
        decoder: received bits to what leaves the decoder's chip.
        on_server: that to scores.
    """

    codec: SpikingCodec
    encoder: Runner
    decoder: Runner
    on_server: OnServer

    @torch.no_grad()
    def encoded(self, features: NDArray[np.float16]) -> Tensor:
        """The bits of all features [n, N, k, h, w] as uint8."""
        pieces = []
        for start in range(0, len(features), BATCH):
            current = self.codec.conv1(torch.from_numpy(features[start : start + BATCH]).float())
            every_step = current.expand(self.codec.form.steps, *current.shape).contiguous()
            pieces.append(self.encoder.run(every_step.numpy()).output.astype(np.uint8))
        return torch.from_numpy(np.concatenate(pieces, 1))

    @torch.no_grad()
    def scores(self, received: Tensor) -> Tensor:
        """Scores [B, classes] of received bits [n, B, k, h, w]."""
        decoded = self.decoder.run(received.numpy().astype(np.uint8)).output.astype(np.float32)
        scores: Tensor = self.on_server(torch.from_numpy(decoded))
        return scores.squeeze(0)


def in_integers(run: Path, classifier: CodedClassifier, bits: int) -> IntegerCodec:
    """The chip parts of a finished run as an export to Lava writes them.

    Args:
        run: of a spiking codec.
        classifier: its best weights, finished.
        bits: of a weight.

    Raises:
        ExportError: Lava does not take a part.
    """
    codec = classifier.codec
    if not isinstance(codec, SpikingCodec):
        raise TypeError(f"a {type(codec).__name__} has nothing for a chip")
    # The first neurons, which take a real current, stay on the host.
    encoder, decoder = (
        emulator_of(run, part, bits, split=part == "transmitter") for part in ("transmitter", "receiver")
    )
    return IntegerCodec(codec, encoder, decoder, OnServer(codec, classifier.server).eval())
