"""Dense connections: Linear, Affine and the elementwise Scale.

Delay: each element comes out a whole number of steps later.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.operators.base import Real, Setting


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
