"""Linear operators: dense connections, Scale, Delay, convolutions, pooling and Flatten."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.connectivity import Axes, kernel_axes
from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.operators import Builder, Real, Setting


class Dense:
    """y = W x + b over the last dimension; weights with more than two dimensions act on each slice apart."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._weight = np.ascontiguousarray(np.swapaxes(node.parameters.weight, -1, -2), dtype=setting.dtype)
        bias = getattr(node.parameters, "bias", None)
        self._bias = None if bias is None else bias.astype(setting.dtype)

    def run(self, values: Real) -> Real:
        """[T, N, *lead, in] to [T, N, *lead, out]."""
        if self._weight.ndim == 2:
            rows = values.reshape(-1, values.shape[-1]) @ self._weight
            result: Real = rows.reshape(*values.shape[:-1], -1)
        else:
            result = np.matmul(values[..., None, :], self._weight)[..., 0, :]
        if self._bias is not None:
            result += self._bias
        return result


class Scale:
    """y = scale * x."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._scale = node.parameters.scale.astype(setting.dtype)

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to the same shape."""
        scaled: Real = values * self._scale
        return scaled


MAX_STEPS = 2**20


def delay_steps(node: Node, dt: float | None) -> NDArray[np.int64]:
    """Delays of a Delay node in steps, [*shape].

    Raises:
        GraphError: no time step, or a delay that is no whole number of steps.
    """
    where = f"node '{node.name}'"
    seconds: NDArray[Any] = node.parameters.delay.astype(np.float64)
    if dt is None:
        raise GraphError("needs a time step", where=where, hint="Name it: --dt 0.001")
    steps = np.round(seconds / dt)
    if (np.abs(seconds / dt - steps) > 1e-6 * np.maximum(steps, 1)).any():
        odd = seconds[np.abs(seconds / dt - steps) > 1e-6 * np.maximum(steps, 1)].flat[0]
        raise GraphError(
            f"delays by {odd:g} s, no whole number of steps of {dt:g} s",
            where=where,
            hint="Choose a time step that divides every delay; NIR counts delays in seconds.",
        )
    if steps.max(initial=0) > MAX_STEPS:
        raise GraphError(f"delays by {steps.max():g} steps, more than {MAX_STEPS}", where=where)
    return steps.astype(np.int64)


class Delay:
    """y[t] = x[t - steps], 0 before the start."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._steps = delay_steps(node, setting.dt)
        longest = int(self._steps.max(initial=0))
        self._past = np.zeros((longest, setting.samples, *node.output_shape), setting.dtype)

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to the same shape."""
        line = np.concatenate([self._past, values])
        self._past = line[len(values) :]
        return self._tap(line, len(values))

    def emit(self) -> Real:
        """The output [1, N, *shape] of the next step, for a delay of at least one step everywhere."""
        return self._tap(np.concatenate([self._past, self._past[:1]]), 1)

    def _tap(self, line: Real, steps: int) -> Real:
        longest = len(line) - steps
        if (self._steps == longest).all():
            return line[:steps].copy()
        delayed = np.empty((steps, *line.shape[1:]), line.dtype)
        for back in np.unique(self._steps):
            chosen = self._steps == back
            delayed[..., chosen] = line[longest - back : longest - back + steps][..., chosen]
        return delayed


MAX_PATCH_BYTES = 2**26


class Convolution:
    """Cross-correlation over one or two dimensions, one matrix product for each group."""

    def __init__(self, node: Node, setting: Setting) -> None:
        parameters = node.parameters
        self._weight = parameters.weight.astype(setting.dtype)
        self._bias = parameters.bias.astype(setting.dtype)
        self._groups = parameters.groups
        self._axes = kernel_axes(parameters, node.input_shape[1:])
        self._shape = node.output_shape

    def run(self, values: Real) -> Real:
        """[T, N, channels, *space] to [T, N, out_channels, *space]."""
        frames = values.reshape(-1, *values.shape[2:])
        result = np.empty((len(frames), *self._shape), values.dtype)
        chunk = max(1, MAX_PATCH_BYTES // (self._patch_elements() * values.dtype.itemsize))
        for start in range(0, len(frames), chunk):
            result[start : start + chunk] = self._convolve(frames[start : start + chunk])
        return result.reshape(*values.shape[:2], *self._shape)

    def _patch_elements(self) -> int:
        return math.prod((*self._weight.shape[1:], self._groups, *self._shape[1:]))

    def _convolve(self, frames: Real) -> Real:
        windows = _windows(frames, self._axes)
        per_group_in, per_group_out = self._weight.shape[1], len(self._weight) // self._groups
        parts = []
        for group in range(self._groups):
            window = windows[:, group * per_group_in : (group + 1) * per_group_in]
            weight = self._weight[group * per_group_out : (group + 1) * per_group_out]
            parts.append(_correlate(window, weight))
        result = np.concatenate(parts, axis=1)
        result += self._bias.reshape(-1, *([1] * (result.ndim - 2)))
        return result


class Pool:
    """Sum over windows of [channels, height, width], divided by the size of the window for a mean."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._axes = kernel_axes(node.parameters, node.input_shape[1:])
        self._divisor = math.prod(node.parameters.kernel_size) if node.primitive == "AvgPool2d" else 1

    def run(self, values: Real) -> Real:
        """[T, N, channels, height, width] to the pooled shape."""
        frames = values.reshape(-1, *values.shape[2:])
        windows = _windows(frames, self._axes)
        total = windows.sum(axis=(-2, -1), dtype=values.dtype)
        if self._divisor != 1:
            total = total / values.dtype.type(self._divisor)
        result: Real = total.reshape(*values.shape[:2], *total.shape[1:])
        return result


class Reshape:
    """Flatten: the same values in another shape."""

    def __init__(self, node: Node, setting: Setting) -> None:
        self._shape = node.output_shape

    def run(self, values: Real) -> Real:
        """[T, N, *shape] to [T, N, *flattened]."""
        return values.reshape(*values.shape[:2], *self._shape)


def _windows(frames: Real, axes: Axes) -> NDArray[Any]:
    """A view [frames, channels, *positions, *kernel] of the padded frames."""
    padded = np.pad(frames, [(0, 0), (0, 0), *(axis.padding for axis in axes)])
    places = tuple(range(2, 2 + len(axes)))
    view = sliding_window_view(padded, tuple(axis.window for axis in axes), axis=places)
    steps = (*(axis.stride for axis in axes), *(axis.dilation for axis in axes))
    return view[(slice(None), slice(None), *(slice(None, None, step) for step in steps))]


def _correlate(windows: NDArray[Any], weight: Real) -> Real:
    """[frames, in, *positions, *kernel] with [out, in, *kernel] to [frames, out, *positions]."""
    space = weight.ndim - 2
    frames, positions = windows.shape[0], windows.shape[2 : 2 + space]
    order = (0, *range(2, 2 + space), 1, *range(2 + space, 2 + 2 * space))
    rows = windows.transpose(order).reshape(frames * int(np.prod(positions)), -1)
    result = (rows @ weight.reshape(len(weight), -1).T).reshape(frames, *positions, len(weight))
    return np.moveaxis(result, -1, 1)


LINEAR: Mapping[str, Builder] = {
    "Linear": Dense,
    "Affine": Dense,
    "Scale": Scale,
    "Conv1d": Convolution,
    "Conv2d": Convolution,
    "SumPool2d": Pool,
    "AvgPool2d": Pool,
    "Flatten": Reshape,
    "Delay": Delay,
}
"""What makes the operator of a linear primitive."""
