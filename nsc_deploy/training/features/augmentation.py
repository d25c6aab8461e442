"""Images as tensors, changed a whole batch at a time; every draw comes from the generator that is given."""

import torch
from torch import Generator, Tensor
from torch.nn import functional


def crop_and_flip(images: Tensor, padding: int, generator: Generator, *, flip: bool) -> Tensor:
    """Move each image by up to `padding` pixels either way, and mirror half of them.

    What enters at an edge is the image reflected in it.

    Args:
        images: [B, C, H, W] of any type.
        padding: largest shift in pixels, below H and W.
        generator: on the CPU; the only source of randomness.
        flip: whether to mirror left and right.

    Returns:
        Of the same shape and type.
    """
    samples, channels, height, width = images.shape
    down, right = torch.randint(-padding, padding + 1, (2, samples, 1), generator=generator)
    mirrored = torch.rand(samples, 1, generator=generator) < 0.5
    rows = _reflected(torch.arange(height) + down, height)
    columns = _reflected(torch.arange(width) + right, width)
    if flip:
        columns = torch.where(mirrored, columns.flip(1), columns)
    place = images.device
    return images[
        torch.arange(samples, device=place).view(-1, 1, 1, 1),
        torch.arange(channels, device=place).view(1, -1, 1, 1),
        rows.to(place).view(samples, 1, height, 1),
        columns.to(place).view(samples, 1, 1, width),
    ]


def _reflected(index: Tensor, size: int) -> Tensor:
    """Indices outside 0 to size - 1 mirrored at the first and the last."""
    return size - 1 - (size - 1 - index.abs()).abs()


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """Pixels uint8 [B, C, H, W] as (p / 255 - mean) / deviation of each channel, float32, channels last."""
    shape = (1, -1, 1, 1)
    centre = torch.tensor(mean, device=images.device).view(shape)
    scale = torch.tensor(deviation, device=images.device).view(shape)
    pixels = images.to(torch.float32).to(memory_format=torch.channels_last)
    return (pixels / 255 - centre) / scale


def resized(images: Tensor, size: int) -> Tensor:
    """Images float32 [B, C, H, W] at size x size pixels; the same ones where they have that already."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
