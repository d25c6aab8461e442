"""From the outputs of the last part to a decision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError


def scores(outputs: NDArray[Any], classes: int, group: int) -> NDArray[np.float64]:
    """Mean over steps and over each group of outputs.

    Args:
        outputs: [T, N, classes * group], the outputs of class 0 first.
        classes: number of classes.
        group: consecutive outputs that vote for one class.

    Returns:
        [N, classes]; exact for binary outputs.

    Raises:
        DataError: the outputs have another shape.
    """
    if outputs.ndim != 3 or outputs.shape[2] != classes * group:
        raise DataError(
            f"outputs of the shape {outputs.shape} where [steps, samples, {classes} * {group}] is wanted"
        )
    steps, samples, _ = outputs.shape
    votes = outputs.sum(axis=0, dtype=np.float64).reshape(samples, classes, group).sum(axis=2)
    mean: NDArray[np.float64] = votes / (steps * group)
    return mean


def decide(outputs: NDArray[Any], classes: int, group: int) -> NDArray[np.int64]:
    """The class with the largest score for each sample [N], the first of equals.

    Args:
        outputs: [T, N, classes * group].
        classes: number of classes.
        group: consecutive outputs that vote for one class.
    """
    labels: NDArray[np.int64] = scores(outputs, classes, group).argmax(axis=1).astype(np.int64)
    return labels
