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
        total = np.int32(0)
        for column in range(values.shape[1]):
            # A row is shorter than 2^31; a number half as wide makes vectors that hold twice as many.
            total = np.int32(total + np.int32(values[row, column] != 0))
        found[row] = total


@kernel
def weigh_present(values: NDArray[Any], weights: NDArray[Any], found: Integers, weighed: Integers) -> None:
    """Count them, and add up the weights of the columns they stand in, in one pass.

    Args:
        values: [rows, columns], C-contiguous.
        weights: of each column, [columns]; integers of a type that their sum fits.
        found: filled with the numbers, [rows].
        weighed: filled with the sums, [rows].
    """
    integer = weights.dtype.type
    for row in range(values.shape[0]):
        number = integer(0)
        weight = integer(0)
        for column in range(values.shape[1]):
            # A product and no branch: the loop becomes vector instructions.
            there = integer(values[row, column] != 0)
            number = integer(number + there)
            weight = integer(weight + weights[column] * there)
        found[row] = number
        weighed[row] = weight
