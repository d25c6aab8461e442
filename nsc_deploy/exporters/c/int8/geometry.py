"""Windows over images: which values of an image meet which place of a convolution or a pool."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pair = tuple[int, int]


@dataclass(frozen=True)
class Windows:
    """Windows over [channels, rows, columns]; a sequence has one row.

    Attributes:
        shape: of the image.
        kernel: rows and columns of a window.
        stride: from one window to the next.
        before: zeros above and to the left.
        after: zeros below and to the right.
        dilation: from one value of a window to the next.
    """

    shape: tuple[int, int, int]
    kernel: Pair
    stride: Pair = (1, 1)
    before: Pair = (0, 0)
    after: Pair = (0, 0)
    dilation: Pair = (1, 1)

    @property
    def places(self) -> Pair:
        """Rows and columns of windows; below 1 where none fits."""
        return (self._along(0), self._along(1))

    @property
    def taps(self) -> int:
        """Values of a window in one channel."""
        return self.kernel[0] * self.kernel[1]

    @property
    def inputs(self) -> int:
        """Values of the image."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def gather(self, values: NDArray[Any], outside: float) -> NDArray[Any]:
        """Images [..., inputs] as windows [..., channels, places, taps], `outside` where the image ends."""
        full = np.concatenate([values, np.full((*values.shape[:-1], 1), outside, values.dtype)], axis=-1)
        return full[..., self._index]

    def _along(self, axis: int) -> int:
        size = self.shape[1 + axis] + self.before[axis] + self.after[axis]
        return (size - self.dilation[axis] * (self.kernel[axis] - 1) - 1) // self.stride[axis] + 1

    @cached_property
    def _index(self) -> NDArray[np.int64]:
        """[channels, places, taps]: positions in an image, or one behind its end."""
        found = []
        for axis in (0, 1):
            place = np.arange(self.places[axis])[:, None] * self.stride[axis] - self.before[axis]
            found.append(place + np.arange(self.kernel[axis]) * self.dilation[axis])
        rows, columns = found
        inside = (rows >= 0) & (rows < self.shape[1])
        within = (columns >= 0) & (columns < self.shape[2])
        at = rows[:, None, :, None] * self.shape[2] + columns[None, :, None, :]
        there = inside[:, None, :, None] & within[None, :, None, :]
        pixels = self.shape[1] * self.shape[2]
        channel = np.arange(self.shape[0])[:, None, None, None, None] * pixels
        index = np.where(there, channel + at, self.inputs)
        flat: NDArray[np.int64] = index.reshape(self.shape[0], self.places[0] * self.places[1], self.taps)
        return flat
