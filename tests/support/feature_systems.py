"""Small feature systems with weights that make their neurons fire, without training."""

import numpy as np
import torch
from torch import nn

from nsc_deploy.channels.binary import BinaryChannel
from nsc_deploy.channels.config import BinaryChannelConfig
from nsc_deploy.models.features.codecs import CodecForm, CodecName, build_codec
from nsc_deploy.models.features.export import FeatureSystem, Samples

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
    sender = BinaryChannel(channel or BinaryChannelConfig(p=0.1))
    images = torch.from_numpy(samples(64).images)
    with torch.no_grad():
        for _ in range(30):
            codec(device_part(images), sender, torch.Generator().manual_seed(1))
        for norm in (one.norm for one in (codec.conv1, codec.conv2, codec.conv3, codec.conv4)):
            norm.bias.normal_(0.4, 0.3)
    for module in (device_part, codec, server_part):
        module.eval()
    codec.finish()
    return FeatureSystem(device_part, codec, sender, server_part)


def samples(count, seed=0):
    """Images of noise, labelled in turn."""
    chance = np.random.default_rng(seed)
    return Samples(chance.normal(size=(count, *IMAGE)).astype(np.float32), np.arange(count) % 3)
