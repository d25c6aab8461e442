"""Which images of a data set a run records on their way through its graphs, and how long a step is there."""

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.data.events import held_out
from nsc_deploy.data.images import ImageData, ImageSet
from nsc_deploy.models.features.export import Samples
from nsc_deploy.training.features.augmentation import normalised

RECORDED = 100
"""Test images whose way through the system is recorded; calibration has as many of the training part."""
STEP_SECONDS = 0.001
"""Length of a step in the graphs: features have no clock of their own, so this one is nominal."""


def recorded(images: ImageData, part: ImageSet, seed: int) -> Samples:
    """Up to `RECORDED` samples of a part, as many of each class as there are, in their order, normalised.

    A class with a single sample in a larger part is left out.
    """
    if len(part) > RECORDED:
        part = part.take(_of_each_class(part.labels, min(0.99, RECORDED / len(part)), seed))
    pixels = normalised(torch.from_numpy(part.pixels), images.mean, images.deviation)
    return Samples(np.ascontiguousarray(pixels.numpy()), part.labels)


def _of_each_class(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    shared = np.flatnonzero(np.bincount(labels)[labels] > 1)
    return shared[held_out(labels[shared], fraction, seed)] if len(shared) else np.arange(RECORDED)
