"""Runs of the papers' VGG16 systems without training, for what they take.

Counts depend on shapes, and on rates that a codec has here from its normalisation alone.

    python examples/features_energy.py DIR
    nsc-deploy energy report DIR/snn-sc DIR/cnn-sc --details
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.deployment import Deployment, Readout, write_deployment
from nsc_deploy.models.features.backbones import build_backbone
from nsc_deploy.models.features.codecs import CodecForm, CodecName, build_codec
from nsc_deploy.models.features.export import FeatureSystem, Samples, channel_use, write_parts

CLASSES, SAMPLES, STEP_SECONDS = 100, 8, 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--steps", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    backbone = build_backbone(options.backbone, CLASSES).eval()
    images, channel = torch.randn(4 * SAMPLES, *backbone.image), BinaryChannel(BinaryChannelConfig(p=0.15))
    channels, *place = backbone.feature_shape()
    with torch.no_grad():
        features = backbone.device_part(images)
    for name in (CodecName.SNN_SC, CodecName.CNN_SC):
        codec, noise = (
            build_codec(CodecForm(name, channels, steps=options.steps)),
            torch.Generator().manual_seed(0),
        )
        with torch.no_grad():
            for _ in range(30):  # the running statistics of the normalisation settle
                codec(features, channel, noise)
        codec.eval().finish()
        system = FeatureSystem(backbone.device_part, codec, channel, backbone.server_part)
        run = options.out / name.value
        run.mkdir(parents=True)
        samples = Samples(images[:SAMPLES].numpy(), np.arange(SAMPLES))
        deployment = Deployment(
            system=name.value,
            dataset="noise",
            class_names=tuple(str(label) for label in range(CLASSES)),
            dt=STEP_SECONDS,
            channel=channel_use(system, (place[0], place[1])),
            readout=Readout(classes=CLASSES, group=1),
            parts=write_parts(run, system, samples, samples, STEP_SECONDS, noise),
            test_accuracy=1 / CLASSES,
        )
        write_deployment(run, deployment)
        print(f"wrote {run}")


if __name__ == "__main__":
    main()
