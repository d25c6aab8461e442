"""The layers of a conventional network in floating point.

Values are flat, [steps, samples, numbers]; an image lies channel by channel, then row by row. A network that
convolves over time takes a sample whole, as an image of one row.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.int8.geometry import Windows

Reals = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FloatDense:
    """y = W x + b, W [outputs, inputs], and perhaps max(y, 0)."""

    name: str
    weight: Reals
    bias: Reals
    relu: bool = False

    @property
    def inputs(self) -> int:
        """Numbers that enter."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Numbers that leave."""
        return len(self.weight)

    def run(self, values: Reals) -> Reals:
        """All steps."""
        return _rectified(values @ self.weight.T + self.bias, self.relu)


@dataclass(frozen=True, eq=False)
class FloatConvolution:
    """The same over windows, W [outputs, channels / groups * taps]."""

    name: str
    weight: Reals
    bias: Reals
    windows: Windows
    groups: int
    relu: bool = False

    @property
    def inputs(self) -> int:
        """Numbers that enter."""
        return self.windows.inputs

    @property
    def outputs(self) -> int:
        """Numbers that leave."""
        rows, columns = self.windows.places
        return len(self.weight) * rows * columns

    def run(self, values: Reals) -> Reals:
        """All steps."""
        return _rectified(convolve(values, self.weight, self.bias, self.windows, self.groups), self.relu)


@dataclass(frozen=True, eq=False)
class FloatMaximum:
    """The largest value of each window."""

    name: str
    windows: Windows

    @property
    def inputs(self) -> int:
        """Numbers that enter."""
        return self.windows.inputs

    @property
    def outputs(self) -> int:
        """Numbers that leave."""
        rows, columns = self.windows.places
        return self.windows.shape[0] * rows * columns

    def run(self, values: Reals) -> Reals:
        """All steps."""
        found: Reals = self.windows.gather(values, -np.inf).max(axis=-1)
        return found.reshape(*values.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class FloatLstm:
    """LSTM cells; rows by gate in ONNX's order: input, output, forget, cell."""

    name: str
    weight: Reals
    recurrent: Reals
    bias: Reals

    @property
    def inputs(self) -> int:
        """Numbers that enter."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Number of cells."""
        return int(self.recurrent.shape[1])

    def run(self, values: Reals) -> Reals:
        """All steps, from rest."""
        shown, cell = np.zeros((2, values.shape[1], self.outputs))
        given = []
        for step in values @ self.weight.T + self.bias:
            let_in, let_out, keep, new = np.split(step + shown @ self.recurrent.T, 4, axis=1)
            cell = _sigmoid(keep) * cell + _sigmoid(let_in) * np.tanh(new)
            shown = _sigmoid(let_out) * np.tanh(cell)
            given.append(shown)
        return np.stack(given)


@dataclass(frozen=True, eq=False)
class FloatGru:
    """Gated recurrent units; rows by gate in ONNX's order: update, reset, new.

    The reset gate acts on the product of the state, with its bias: what torch computes.
    """

    name: str
    weight: Reals
    recurrent: Reals
    bias: Reals
    recurrent_bias: Reals

    @property
    def inputs(self) -> int:
        """Numbers that enter."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Number of units."""
        return int(self.recurrent.shape[1])

    def run(self, values: Reals) -> Reals:
        """All steps, from rest."""
        shown = np.zeros((values.shape[1], self.outputs))
        given = []
        for step in values @ self.weight.T + self.bias:
            keep, reset, new = np.split(step, 3, axis=1)
            own_keep, own_reset, own_new = np.split(shown @ self.recurrent.T + self.recurrent_bias, 3, axis=1)
            kept = _sigmoid(keep + own_keep)
            candidate = np.tanh(new + _sigmoid(reset + own_reset) * own_new)
            shown = kept * shown + (1 - kept) * candidate
            given.append(shown)
        return np.stack(given)


FloatLayer = FloatDense | FloatConvolution | FloatMaximum | FloatLstm | FloatGru


@dataclass(frozen=True)
class Chain:
    """Layers one behind the other.

    Attributes:
        layers: in their order.
        whole: steps of a sample that enters whole, each step a column; None where steps enter one by one.
    """

    layers: tuple[FloatLayer, ...]
    whole: int | None

    def entering(self, values: NDArray[Any]) -> NDArray[Any]:
        """Recorded inputs [steps, samples, *shape] as they enter, [steps or 1, samples, numbers]."""
        return entering(values, self.whole)


def entering(values: NDArray[Any], whole: int | None) -> NDArray[Any]:
    """Recorded inputs [steps, samples, *shape] flat; of a sample that enters whole, channel by channel."""
    flat = values.reshape(*values.shape[:2], -1)
    return flat if whole is None else flat.transpose(1, 2, 0).reshape(1, values.shape[1], -1)


def convolve(
    values: NDArray[Any], weight: NDArray[Any], bias: NDArray[Any], windows: Windows, groups: int
) -> Reals:
    """Images [..., inputs] to [..., outputs]; sums of whole numbers below 2^53 are exact."""
    found = windows.gather(values.astype(np.float64), 0.0)
    channels, places, taps = found.shape[-3:]
    grouped = found.reshape(*values.shape[:-1], groups, channels // groups, places, taps)
    rows = np.moveaxis(grouped, -3, -2).reshape(*values.shape[:-1], groups, places, -1)
    by_group = weight.astype(np.float64).reshape(groups, len(weight) // groups, -1)
    total = rows @ by_group.transpose(0, 2, 1) + bias.reshape(groups, 1, -1)
    summed: Reals = np.moveaxis(total, -1, -2).reshape(*values.shape[:-1], -1)
    return summed


def _rectified(values: Reals, relu: bool) -> Reals:
    return np.maximum(values, 0) if relu else values


def _sigmoid(values: Reals) -> Reals:
    return 1 / (1 + np.exp(-values))
