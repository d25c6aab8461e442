"""Separate source and channel coding of features: JPEG, and the convolutional code of rate 1/3.

The maps of a feature are tiled into one grey picture of 8 bits, from the least to the largest value of the
feature, which JPEG compresses and the convolutional code protects. The two ends of the range go beside it,
two floats of 32 bits that arrive without an error and are counted; so is all of the JPEG stream, with its
headers and tables. A picture that cannot be read becomes a feature of zeros, and is counted as a failure.
"""

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.channels.coding.convolutional import MEMORY, RATE, Bits, decode, encode
from nsc_deploy.models.features.codecs import BitChannel

RANGE_BITS = 64
QUALITY = 50
_BLOCK = 8
Feature = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Compressed:
    """What is sent for one feature.

    Attributes:
        coded: bits for the channel.
        low: value of a black pixel.
        high: value of a white one.
    """

    coded: Bits
    low: float
    high: float

    @property
    def bits(self) -> int:
        """Bits on the channel, the range included."""
        return len(self.coded) + RANGE_BITS

    @property
    def message_bits(self) -> int:
        """Bits that the convolutional code protects."""
        return len(self.coded) // RATE - MEMORY


@dataclass(frozen=True, eq=False)
class Restored:
    """What arrived of several features.

    Attributes:
        features: [B, C, h, w], zeros for those that could not be read.
        failed: whether a picture could not be read [B].
    """

    features: Feature
    failed: NDArray[np.bool_]


@dataclass(frozen=True)
class JpegCodec:
    """Features [C, h, w] as coded bits and back.

    Attributes:
        shape: C, h, w.
        quality: of JPEG, 1 to 95.
    """

    shape: tuple[int, int, int]
    quality: int = QUALITY

    @property
    def blocks(self) -> int:
        """Blocks of 8 x 8 pixels of a picture, the last ones filled up."""
        height, width = picture_shape(self.shape)
        return -(-height // _BLOCK) * -(-width // _BLOCK)

    def compress(self, feature: Feature) -> Compressed:
        """The coded bits of a feature.

        Raises:
            ModuleNotFoundError: Pillow is not installed (the extra `coding` brings it).
        """
        from PIL import Image

        low, high = float(feature.min()), float(feature.max())
        grey = np.rint((feature - low) * (255 / (high - low) if high > low else 0.0))
        stream = io.BytesIO()
        Image.fromarray(tiled(grey.astype(np.uint8))).save(stream, "JPEG", quality=self.quality)
        return Compressed(encode(np.unpackbits(np.frombuffer(stream.getvalue(), np.uint8))), low, high)

    def decompress(self, sent: Compressed) -> Feature:
        """The feature that arrives where no bit is wrong."""
        feature = self.restore(sent, sent.coded)
        if feature is None:
            raise RuntimeError("a picture that was just written cannot be read")
        return feature

    def restore(self, sent: Compressed, received: Bits) -> Feature | None:
        """The feature in received bits; None where they hold no picture of its size.

        Args:
            sent: for the range, which arrives without an error.
            received: coded bits as they arrived.
        """
        picture = _read(np.packbits(decode(received)).tobytes(), picture_shape(self.shape))
        if picture is None:
            return None
        grey = untiled(picture, self.shape).astype(np.float32)
        return grey * np.float32((sent.high - sent.low) / 255) + np.float32(sent.low)

    def send(self, sent: Sequence[Compressed], channel: BitChannel, generator: torch.Generator) -> Restored:
        """Features over a channel, one behind the other, for streams differ in length."""
        features = np.zeros((len(sent), *self.shape), np.float32)
        failed = np.zeros(len(sent), bool)
        for index, one in enumerate(sent):
            bits = torch.from_numpy(one.coded.astype(np.float32)).view(1, 1, -1)
            received = channel(bits, generator).view(-1).numpy().astype(np.uint8)
            feature = self.restore(one, received)
            if feature is None:
                failed[index] = True
            else:
                features[index] = feature
        return Restored(features, failed)


def grid(channels: int) -> tuple[int, int]:
    """Rows and columns of maps, as near to a square as `channels` divides: 2048 -> 32 x 64."""
    rows = next(rows for rows in range(math.isqrt(channels), 0, -1) if channels % rows == 0)
    return rows, channels // rows


def picture_shape(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width in pixels of the picture of a feature of shape C, h, w."""
    rows, columns = grid(shape[0])
    return rows * shape[1], columns * shape[2]


def tiled(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Maps [C, h, w] side by side, row by row of the grid, as one picture."""
    rows, columns = grid(len(maps))
    split = maps.reshape(rows, columns, *maps.shape[1:])
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3).reshape(picture_shape(maps.shape)))


def untiled(picture: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The maps [C, h, w] of a picture."""
    rows, columns = grid(shape[0])
    split = picture.reshape(rows, shape[1], columns, shape[2])
    return split.transpose(0, 2, 1, 3).reshape(shape)


def _read(stream: bytes, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The grey picture in a stream that may be damaged anywhere; None where there is none of this shape."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size that a damaged header claims
            opened = Image.open(io.BytesIO(stream), formats=["JPEG"])
        with opened as picture:
            # Looked at before the pixels are: a damaged header may ask for any amount of memory.
            if picture.mode != "L" or (picture.height, picture.width) != shape:
                return None
            return np.asarray(picture)
    except Exception:
        return None
