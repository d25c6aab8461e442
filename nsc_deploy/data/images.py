"""`load_images`: from a configuration to labelled images, whatever the data set."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.data.events import held_out
from nsc_deploy.data.image_config import ImageDataConfig
from nsc_deploy.errors import DataError


@dataclass(frozen=True)
class ImageSet:
    """One part of a data set.

    Attributes:
        pixels: [samples, channels, height, width] uint8.
        labels: [samples] int64, the class of each sample.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.labels.shape != self.pixels.shape[:1]:
            raise DataError(
                f"pixels {self.pixels.shape} and labels {self.labels.shape} do not fit", where="set of images"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.integer]) -> "ImageSet":
        """The samples at `indices`, in that order."""
        return ImageSet(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class ImageData:
    """A data set of images.

    Attributes:
        train: the training part.
        test: the test part, never used to choose anything.
        class_names: the name of each class, in the order of the labels.
        mean: of each colour channel over the training part (of `digits` over the whole set), pixels counted
            from 0 to 1.
        deviation: standard deviation of each channel, likewise.
    """

    train: ImageSet
    test: ImageSet
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, part in (("training", self.train), ("test", self.test)):
            if not part.pixels.size:
                raise DataError(f"its {name} part holds nothing", where="set of images")
            if part.labels.min() < 0 or part.labels.max() >= self.classes:
                raise DataError(
                    f"its {name} part has labels other than 0 to {self.classes - 1}", where="set of images"
                )
        if self.train.pixels.shape[1:] != self.test.pixels.shape[1:]:
            raise DataError("its two parts differ in size", where="set of images")

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def sha256(self) -> str:
        """SHA-256 of pixels and labels, training part then test part."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            for array in (part.pixels, part.labels):
                digest.update(str((array.dtype.str, array.shape)).encode())
                digest.update(array.tobytes())
        return digest.hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width


def load_images(config: ImageDataConfig, *, progress: bool = False) -> ImageData:
    """Load a data set of images.

    Args:
        config: which set, and where it is.
        progress: show a progress bar on stderr while images are unpacked.

    Raises:
        DataError: the data is missing, damaged or of the wrong form.
    """
    if config.dataset == "digits":
        return digits()
    from nsc_deploy.data.catalogue import find_source
    from nsc_deploy.data.cifar100 import read_cifar100

    return read_cifar100(find_source(config), progress=progress)


def split_validation(train: ImageSet, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
    """Cut a validation part from the training part, with the same share of every class.

    Args:
        train: the training part.
        fraction: share to keep for validation, between 0 and 1 (see `events.held_out`).
        seed: the same seed gives the same cut.

    Returns:
        (training rest, validation part), each in the order of `train`.
    """
    chosen = held_out(train.labels, fraction, seed)
    return train.take(np.flatnonzero(~chosen)), train.take(np.flatnonzero(chosen))


_DIGITS_TEST = 0.2
_DIGITS_LEVELS = 16
_DIGITS_SEED = 0


def digits() -> ImageData:
    """The 1797 handwritten digits of 8 x 8 pixels that scikit-learn brings.

    They have no split of their own: a fifth of each class, always the same, is the test part. The 17 grey
    levels 0 to 16 become 0 to 240. Mean and deviation are those of the whole set.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    levels = np.asarray(found.images).astype(np.uint8)
    pixels = (levels * (240 // _DIGITS_LEVELS)).reshape(-1, 1, 8, 8)
    whole = ImageSet(pixels, np.asarray(found.target).astype(np.int64))
    train, test = split_validation(whole, _DIGITS_TEST, _DIGITS_SEED)
    return ImageData(
        train=train,
        test=test,
        class_names=tuple(str(digit) for digit in range(10)),
        mean=(0.2873,),
        deviation=(0.3540,),
    )
