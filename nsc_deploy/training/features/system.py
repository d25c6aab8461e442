"""The system of a codec behind a backbone: features in, scores out, with the channel between."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.config.features import FeaturesExperiment
from nsc_deploy.errors import DataError
from nsc_deploy.graphs.network import Reset
from nsc_deploy.models.features.backbones import Backbone
from nsc_deploy.models.features.codecs import (
    BitOrder,
    Codec,
    CodecForm,
    Coded,
    LastNeuron,
    build_codec,
)
from nsc_deploy.models.features.codecs import CodecName as Name
from nsc_deploy.training.batches import stream_seed
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, HINT, read_tensors

_TARGETS = {Name.SNN_SC: 1.0, Name.S_JSCC: 0.5}


class CodedClassifier(nn.Module):
    """A codec, and what the server computes of the features that it gives back.

    Args:
        codec: trained or not.
        server: the part of the backbone behind the split.
    """

    def __init__(self, codec: Codec, server: nn.Module) -> None:
        super().__init__()
        self.codec = codec
        self.server = server

    def forward(
        self, features: Tensor, channel: BinaryChannel, generator: torch.Generator
    ) -> tuple[Tensor, Coded]:
        """Scores [B, classes] of features [B, C, h, w], and what was sent for them."""
        coded = self.codec(features, channel, generator)
        return self.server(coded.features), coded

    def scores(self, received: Tensor) -> Tensor:
        """Scores [B, classes] of received bits [n, B, k, h, w]."""
        scores: Tensor = self.server(self.codec.decode(received))
        return scores


def form_of(experiment: FeaturesExperiment, channels: int) -> CodecForm:
    """The codec that an experiment asks for, for features of so many channels.

    Raises:
        ConfigError: no channels are left of an eighth or a 64th of them.
    """
    system, name = experiment.system, Name(experiment.system.name)
    return CodecForm(
        name=name,
        channels=channels,
        hidden=system.hidden,
        bits=system.bits,
        steps=system.steps,
        last=LastNeuron(system.last),
        threshold=system.threshold,
        slope=system.slope,
        reset=Reset(system.reset),
        target=_TARGETS.get(name, 1.0) if system.target is None else system.target,
        target_weight=system.target_weight,
        order=BitOrder.GRAY if system.gray else BitOrder.NATURAL,
        gain=system.gain,
        framework=experiment.training.framework,
    )


def new_classifier(experiment: FeaturesExperiment, backbone: Backbone) -> CodedClassifier:
    """A codec with weights drawn from the seed, before the server part of a trained backbone."""
    channels = backbone.feature_shape()[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(experiment.training.seed, "weights"))
        codec = build_codec(form_of(experiment, channels))
    return CodedClassifier(codec, backbone.server_part)


def finished_classifier(experiment: FeaturesExperiment, backbone: Backbone, run: Path) -> CodedClassifier:
    """The best weights of a run, normalisation folded, for evaluation.

    Raises:
        DataError: they are missing, damaged, or of another system.
    """
    classifier = new_classifier(experiment, backbone)
    tensors, _ = read_tensors(run / DIRECTORY / BEST)
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError("holds weights of another system", where=run / DIRECTORY / BEST, hint=HINT) from error
    classifier.eval()
    classifier.codec.finish()
    return classifier
