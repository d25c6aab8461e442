"""Small feature systems with weights that make their neurons fire, without training."""

import numpy as np
import torch
from torch import nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.deployment import Deployment, Readout, write_deployment
from nsc_deploy.models.features.codecs import CodecForm, CodecName, build_codec
from nsc_deploy.models.features.export import FeatureSystem, Samples, channel_use, write_parts

IMAGE = (1, 4, 6)
CHANNELS = 16
PLACE = (2, 3)


def system(name="snn-sc", *, channel=None, **fields):
    """A finished system: features of 16 channels and 2 x 3 places, 4 hidden channels, 2 of bits."""
    torch.manual_seed(0)
    device_part = nn.Sequential(
        nn.Conv2d(1, CHANNELS, 3, padding=1), nn.BatchNorm2d(CHANNELS), nn.ReLU(), nn.MaxPool2d(2)
    )
    server_part = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 3))
    form = CodecForm(CodecName(name), CHANNELS, **{"hidden": 4, "bits": 2, "steps": 4, **fields})
    codec = build_codec(form)
    layers = (codec.conv1, codec.conv2, codec.conv3, codec.conv4)
    for layer in layers:
        layer.norm.momentum = 0.3
    sender = BinaryChannel(channel or BinaryChannelConfig(p=0.1))
    images = torch.from_numpy(samples(32).images)
    with torch.no_grad():
        for _ in range(10):
            codec(device_part(images), sender, torch.Generator().manual_seed(1))
        for layer in layers:
            layer.norm.bias.normal_(0.4, 0.3)
    for module in (device_part, codec, server_part):
        module.eval()
    codec.finish()
    return FeatureSystem(device_part, codec, sender, server_part)


def write_run(run, one, count=6):
    """A run directory of a system as `train` leaves it, but for what tells of the training."""
    run.mkdir()
    judged = samples(count)
    parts = write_parts(run, one, judged, samples(4, seed=1), 1e-3, torch.Generator().manual_seed(3))
    write_deployment(
        run,
        Deployment(
            system=one.codec.form.name.value,
            dataset="digits",
            class_names=("zero", "one", "two"),
            dt=1e-3,
            channel=channel_use(one, PLACE),
            readout=Readout(classes=3, group=1),
            parts=parts,
            test_accuracy=0.5,
        ),
    )
    return run


def samples(count, seed=0):
    """Images of noise, labelled in turn."""
    chance = np.random.default_rng(seed)
    return Samples(chance.normal(size=(count, *IMAGE)).astype(np.float32), np.arange(count) % 3)
