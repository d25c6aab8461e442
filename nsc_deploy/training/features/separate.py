"""Separate coding behind a backbone, which needs no training: its graphs and its accuracy over a channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.config.features import BackboneExperiment
from nsc_deploy.data.images import ImageData, ImageSet
from nsc_deploy.deployment import ChannelUse, Deployment, Readout, write_deployment
from nsc_deploy.models.features.backbones import Backbone
from nsc_deploy.models.features.export import write_separate_parts
from nsc_deploy.models.features.jpeg import Compressed, JpegCodec
from nsc_deploy.training.batches import stream, stream_seed
from nsc_deploy.training.features.evaluate import accuracy_without_channel, spread
from nsc_deploy.training.features.recorded import STEP_SECONDS, recorded

SEPARATE = "jpeg-conv"
"""How tables call JPEG and the convolutional code, which a run of a backbone is evaluated with."""


def write_separate_graphs(
    experiment: BackboneExperiment, backbone: Backbone, images: ImageData, trained_on: ImageSet, run: Path
) -> None:
    """Write both ends of a backbone as graphs, what its features take as JPEG, and deployment.json.

    The recorded features are those of a channel without errors.

    Raises:
        GraphError: a graph does not compute what the torch model computed.
        UserError: the run directory cannot be written.
    """
    seed = experiment.training.seed
    test = recorded(images, images.test, stream_seed(seed, "recorded"))
    calibration = recorded(images, trained_on, stream_seed(seed, "calibration"))
    codec = JpegCodec(backbone.feature_shape())
    device, server = backbone.device_part, backbone.server_part
    written = write_separate_parts(run, device, server, codec, test, calibration, STEP_SECONDS)
    deployment = Deployment(
        system=SEPARATE,
        dataset=experiment.data.dataset,
        class_names=images.class_names,
        dt=STEP_SECONDS,
        channel=ChannelUse(kind="bsc", uses_per_step=round(written.bits), steps=1),
        readout=Readout(classes=images.classes, group=1),
        parts=written.parts,
        coding=written.coding,
        test_accuracy=written.accuracy,
    )
    write_deployment(run, deployment)


@dataclass(frozen=True)
class SeparateMeasurement:
    """What separate coding does over one channel, mean over its draws.

    Attributes:
        accuracy: part of the samples told rightly.
        deviation: its standard deviation over the draws.
        failures: part of the samples whose picture could not be read.
    """

    accuracy: float
    deviation: float
    failures: float


def measure_separate(
    server: nn.Module,
    codec: JpegCodec,
    sent: Sequence[Compressed],
    labels: NDArray[np.int64],
    channel: BinaryChannelConfig,
    seed: int,
    draws: int,
) -> SeparateMeasurement:
    """Send compressed features over a channel and tell what the server makes of what arrives.

    Args:
        server: the backbone from the split.
        codec: that compressed them.
        sent: one for each sample.
        labels: of the samples.
        channel: BSC or BEC.
        seed: of the channel.
        draws: how often each feature is sent.
    """
    different = range(draws if channel.errs else 1)
    tries = [codec.send(sent, BinaryChannel(channel), stream(seed, "test", draw)) for draw in different]
    right = [accuracy_without_channel(server, one.features.astype(np.float32), labels) for one in tries]
    return SeparateMeasurement(
        accuracy=float(np.mean(right)),
        deviation=spread(right),
        failures=float(np.mean([one.failed.mean() for one in tries])),
    )
