"""Dense connections: Linear, Affine and the elementwise Scale."""

import numpy as np

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
