"""How many values of each row are not zero, and the sum of their weights: integers, exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.kernels.jit import kernel

Integers = NDArray[np.int64]


@kernel
def count_nonzero(values: NDArray[Any], numbers: Integers) -> None:
    """Count the values of each row that are not zero.

    Args:
        values: [rows, columns], C-contiguous.
        numbers: filled, [rows].
    """
    for row in range(values.shape[0]):
        total = np.int32(0)
        for column in range(values.shape[1]):
            # A row is shorter than 2^31; a number half as wide makes vectors that hold twice as many.
            total = np.int32(total + np.int32(values[row, column] != 0))
        numbers[row] = total


@kernel
def weigh_nonzero(values: NDArray[Any], weights: NDArray[Any], numbers: Integers, sums: Integers) -> None:
    """Count them, and add up the weights of the columns they stand in, in one pass.

    Args:
        values: [rows, columns], C-contiguous.
        weights: of each column, [columns]; integers of a type that their sum fits.
        numbers: filled, [rows].
        sums: filled, [rows].
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
        numbers[row] = number
        sums[row] = weight
