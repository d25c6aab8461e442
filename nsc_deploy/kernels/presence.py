"""How many values of each row are there (not zero), and how much they weigh: sums of integers, exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.kernels.jit import kernel

Integers = NDArray[np.int64]


@kernel
def count_present(values: NDArray[Any], found: Integers) -> None:
    """Count the values of each row that are not zero.

    Args:
        values: [rows, columns], C-contiguous.
        found: filled, [rows].
    """
    for row in range(values.shape[0]):
        total = 0
        for column in range(values.shape[1]):
            total += values[row, column] != 0
        found[row] = total


@kernel
def weigh_present(values: NDArray[Any], weights: Integers, found: Integers, weighed: Integers) -> None:
    """Count them, and add up the weights of the columns they stand in, in one pass.

    Args:
        values: [rows, columns], C-contiguous.
        weights: of each column, [columns].
        found: filled with the numbers, [rows].
        weighed: filled with the sums, [rows].
    """
    for row in range(values.shape[0]):
        number = 0
        weight = 0
        for column in range(values.shape[1]):
            # A product and no branch: the loop becomes vector instructions.
            there = values[row, column] != 0
            number += there
            weight += weights[column] * there
        found[row] = number
        weighed[row] = weight
