"""Image classifiers that are cut in two: the device computes up to the split, the server from there on.

| Name | Built as | Input | Split behind | Feature |
|---|---|---|---|---|
| vgg16 | VGG16 with batch norm, head 512-4096-4096 | 3 x 32 x 32 | pool4, conv10's | 512 x 2 x 2 |
| resnet50 | stem 3 x 3 without pooling, stages of 3, 4, 6, 3 | 3 x 32 x 32 | block14 | 2048 x 4 x 4 |
| resnet10 | four blocks of 32, 64, 128, 512 filters | 3 x 32 x 32 | block4 | 512 x 4 x 4 |
| cnn8 | three convolutions of 32, 64, 64 filters | 1 x 8 x 8 | conv2 | 64 x 4 x 4 |

The first two, with those splits, are what the SNN-SC and S-JSCC papers send features of (there after
BottleNet++, Shao and Zhang 2020).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from nsc_deploy.errors import ConfigError, did_you_mean
from nsc_deploy.models.features.layers import convolve, is_dense

_HEADS = ("flatten", "mean")
"""Where a map ends: the first block of a head."""


@dataclass(frozen=True)
class Architecture:
    """One kind of backbone.

    Attributes:
        blocks: makes its blocks in order, by name, for an input of so many channels and so many classes.
        image: channels, height and width of the images it takes.
        split: the block whose output is the feature.
    """

    blocks: Callable[[int, int], "OrderedDict[str, nn.Module]"]
    image: tuple[int, int, int]
    split: str


class Backbone(nn.Module):
    """A classifier of images as a chain of named blocks, [B, C, H, W] -> [B, classes].

    Args:
        architecture: what it is built of.
        classes: number of classes.
        split: the last block of the device; None for the architecture's own.

    Raises:
        ConfigError: there is no such block, or it is the last.
    """

    def __init__(self, architecture: Architecture, classes: int, split: str | None = None) -> None:
        super().__init__()
        self.image = architecture.image
        self.blocks = nn.Sequential(architecture.blocks(architecture.image[0], classes))
        self.split = split or architecture.split
        names = self.split_names
        if self.split not in names:
            raise ConfigError(
                f"there is no block {self.split} to split behind{did_you_mean(self.split, names)}",
                where="split",
                hint=f"Choose one of: {', '.join(names)}.",
            )
        self._cut = names.index(self.split) + 1

    @property
    def split_names(self) -> tuple[str, ...]:
        """The blocks that it can be split behind: those that make a map."""
        names = [name for name, _ in self.blocks.named_children()]
        return tuple(names[: min(names.index(head) for head in _HEADS if head in names)])

    @property
    def device_part(self) -> nn.Sequential:
        """What the device computes: images [B, C, H, W] to features."""
        return cast(nn.Sequential, self.blocks[: self._cut])

    @property
    def server_part(self) -> nn.Sequential:
        """What the server computes: features to scores [B, classes]."""
        return cast(nn.Sequential, self.blocks[self._cut :])

    def forward(self, images: Tensor) -> Tensor:
        """Scores [B, classes] of images [B, C, H, W], normalised."""
        scores: Tensor = self.blocks(images)
        return scores

    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the feature."""
        part, training = self.device_part, self.training
        part.eval()
        with torch.no_grad():
            channels, height, width = part(torch.zeros(1, *self.image)).shape[1:]
        part.train(training)
        return channels, height, width


def build_backbone(name: str, classes: int, split: str | None = None) -> Backbone:
    """A backbone with weights drawn from torch's generator.

    Args:
        name: a key of `ARCHITECTURES`.
        classes: number of classes.
        split: the last block of the device; None for the architecture's own.

    Raises:
        ConfigError: there is no such backbone or no such split.
    """
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"there is no backbone {name}{did_you_mean(name, ARCHITECTURES)}",
            where="backbone",
            hint=f"Choose one of: {', '.join(ARCHITECTURES)}.",
        )
    backbone = Backbone(ARCHITECTURES[name], classes, split)
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            # The order in which images come, in which convolutions on a CPU are quickest.
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return backbone


class _Convolution(nn.Conv2d):
    """A 3 x 3 convolution that keeps the size; training is quick on the smallest maps too (`convolve`)."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        if self.training and is_dense(maps):
            return convolve(maps, self.weight, self.bias)
        return super().forward(maps)


def _convolution(inputs: int, outputs: int, *, bias: bool = False) -> nn.Sequential:
    """3 x 3 convolution that keeps the size, batch norm, ReLU."""
    return nn.Sequential(
        _Convolution(inputs, outputs, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


_VGG16 = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)


def _vgg16(channels: int, classes: int) -> "OrderedDict[str, nn.Module]":
    """Simonyan and Zisserman 2015, configuration D, batch norm after each of its 13 convolutions.

    Pools round up, which changes nothing at 32 x 32 and lets training begin on smaller images.
    """
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    convolutions = pools = 0
    for filters in _VGG16:
        if filters is None:
            pools += 1
            blocks[f"pool{pools}"] = nn.MaxPool2d(2, ceil_mode=True)
            continue
        convolutions += 1
        blocks[f"conv{convolutions}"] = _convolution(channels, filters, bias=True)
        channels = filters
    blocks["flatten"] = nn.Flatten()
    blocks["head1"] = nn.Sequential(nn.Linear(512, 4096), nn.ReLU(inplace=True), nn.Dropout())
    blocks["head2"] = nn.Sequential(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout())
    blocks["scores"] = nn.Linear(4096, classes)
    return blocks


class _Residual(nn.Module):
    """A branch beside a shortcut, their sum through ReLU; He et al. 2016.

    The shortcut is a 1 x 1 convolution with batch norm where size or filters change.
    """

    def __init__(self, branch: nn.Sequential, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H / stride, W / stride]."""
        return torch.relu(self.branch(images) + self.shortcut(images))


def _basic(inputs: int, outputs: int, stride: int) -> _Residual:
    branch = nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return _Residual(branch, inputs, outputs, stride)


def _bottleneck(inputs: int, outputs: int, stride: int) -> _Residual:
    """The stride lies in the 3 x 3 convolution."""
    inner = outputs // 4
    branch = nn.Sequential(
        nn.Conv2d(inputs, inner, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
        nn.BatchNorm2d(inner),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return _Residual(branch, inputs, outputs, stride)


class _Mean(nn.Module):
    """Mean over the positions of a map: [B, C, H, W] -> [B, C]."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def _mean_head(blocks: "OrderedDict[str, nn.Module]", filters: int, classes: int) -> None:
    blocks["mean"] = _Mean()
    blocks["scores"] = nn.Linear(filters, classes)


def _resnet50(channels: int, classes: int) -> "OrderedDict[str, nn.Module]":
    blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=_convolution(channels, 64))
    inputs, number = 64, 0
    for stage, (outputs, count) in enumerate(((256, 3), (512, 4), (1024, 6), (2048, 3))):
        for place in range(count):
            number += 1
            blocks[f"block{number}"] = _bottleneck(inputs, outputs, 2 if stage and not place else 1)
            inputs = outputs
    _mean_head(blocks, inputs, classes)
    return blocks


def _resnet10(channels: int, classes: int) -> "OrderedDict[str, nn.Module]":
    blocks: OrderedDict[str, nn.Module] = OrderedDict(stem=_convolution(channels, 32))
    inputs = 32
    for number, outputs in enumerate((32, 64, 128, 512), start=1):
        blocks[f"block{number}"] = _basic(inputs, outputs, 1 if number == 1 else 2)
        inputs = outputs
    _mean_head(blocks, inputs, classes)
    return blocks


def _cnn8(channels: int, classes: int) -> "OrderedDict[str, nn.Module]":
    blocks: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_convolution(channels, 32),
        pool1=nn.MaxPool2d(2),
        conv2=_convolution(32, 64),
        conv3=_convolution(64, 64),
    )
    _mean_head(blocks, 64, classes)
    return blocks


ARCHITECTURES: dict[str, Architecture] = {
    "vgg16": Architecture(_vgg16, (3, 32, 32), "pool4"),
    "resnet50": Architecture(_resnet50, (3, 32, 32), "block14"),
    "resnet10": Architecture(_resnet10, (3, 32, 32), "block4"),
    "cnn8": Architecture(_cnn8, (1, 8, 8), "conv2"),
}
"""The backbones by name; third parties may add theirs."""
