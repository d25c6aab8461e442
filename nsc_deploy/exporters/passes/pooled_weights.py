"""The weights behind a pooling, with the pooling in them: they read what the pooling read.

A pooling gives P[u] = sum over a of x[u * step + a - pad], with 0 beyond the borders of x, for each axis;
an average divides by the size of the window.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.rewrite import reparametrised
from nsc_deploy.graphs.shapes import node_shapes, padding_pairs
from nsc_deploy.passes.exactness import Reals, single

MAX_WEIGHTS = 2**26


@dataclass(frozen=True)
class Axis:
    """One axis of a pooling and of the convolution behind it.

    Attributes:
        size: of what is pooled.
        pooled: of what comes out of the pooling.
        window: of the pooling.
        step: of the pooling.
        pad: zeros on either side of what is pooled.
        kernel: taps of the convolution.
        stride: of the convolution.
        dilation: of the convolution.
        zeros: before and behind what the convolution takes in.
    """

    size: int
    pooled: int
    window: int
    step: int
    pad: int
    kernel: int
    stride: int
    dilation: int
    zeros: tuple[int, int]

    @property
    def obstacle(self) -> str | None:
        """Why one convolution cannot do both on this axis, or None."""
        before, behind = self.zeros
        if before != behind:
            return "pads its input on one side more than on the other"
        if before and self.window > self.step + self.pad:
            return "pads its input with zeros where windows overlap"
        reach = self.dilation * (self.kernel - 1) + 1
        outputs = (self.pooled + before + behind - reach) // self.stride + 1
        last = (outputs - 1) * self.stride + reach - 1 - before
        if last >= self.pooled and self.pooled * self.step - self.pad < self.size:
            return "pads its input with zeros where the pooling leaves out a border"
        return None

    @property
    def width(self) -> int:
        """Taps of the one convolution."""
        return (self.kernel - 1) * self.dilation * self.step + self.window

    def taps(self) -> NDArray[np.float64]:
        """[kernel, width]: which taps of the one convolution stand for a tap of the given one."""
        found = np.zeros((self.kernel, self.width))
        for index in range(self.kernel):
            start = index * self.dilation * self.step
            found[index, start : start + self.window] = 1
        return found


def axes(pool: Node, convolution: Node) -> tuple[Axis, ...]:
    """Both axes of a pooling and the Conv2d behind it."""
    pooling, parameters = pool.parameters, convolution.parameters
    kernel = parameters.weight.shape[2:]
    zeros = padding_pairs(parameters.padding, kernel, parameters.dilation)
    return tuple(
        Axis(
            size=pool.input_shape[1 + axis],
            pooled=pool.output_shape[1 + axis],
            window=pooling.kernel_size[axis],
            step=pooling.stride[axis],
            pad=pooling.padding[axis],
            kernel=kernel[axis],
            stride=parameters.stride[axis],
            dilation=parameters.dilation[axis],
            zeros=zeros[axis],
        )
        for axis in range(2)
    )


def one_convolution(pool: Node, convolution: Node) -> Node | str:
    """The Conv2d that takes in what the pooling takes in, or why there is none."""
    both = axes(pool, convolution)
    obstacle = next((axis.obstacle for axis in both if axis.obstacle is not None), None)
    if obstacle is not None:
        return f"'{convolution.name}' {obstacle}"
    weight = single(convolution.parameters.weight)
    if math.prod((*weight.shape[:2], both[0].width, both[1].width)) > MAX_WEIGHTS:
        return f"'{convolution.name}' would become too large"
    spread = np.einsum("oiyx,yh,xw->oihw", weight, both[0].taps(), both[1].taps(), optimize=True)
    changed = reparametrised(
        convolution,
        weight=spread / divisor(pool),
        stride=tuple(axis.stride * axis.step for axis in both),
        padding=tuple(axis.zeros[0] * axis.step + axis.pad for axis in both),
        dilation=(1, 1),
        input_shape=tuple(axis.size for axis in both),
    )
    return replace(changed, input_shape=pool.input_shape)


def one_matrix(pool: Node, dense: Node) -> Node | str:
    """The Linear or Affine node that takes in, flattened, what the pooling takes in, or why there is none."""
    weight = single(dense.parameters.weight)
    size = math.prod(pool.input_shape)
    if weight.ndim != 2:
        return f"'{dense.name}' has weights with more than two dimensions"
    if len(weight) * size > MAX_WEIGHTS:
        return f"'{dense.name}' would become too large"
    channels = pool.input_shape[0]
    rows = weight.reshape(len(weight), channels, *pool.output_shape[1:])
    high, wide = (_windows(pool, axis) for axis in range(2))
    spread = np.einsum("ocuv,uh,vw->ochw", rows, high, wide, optimize=True)
    changed = reparametrised(dense, weight=spread.reshape(len(weight), size) / divisor(pool))
    return replace(changed, input_shape=(size,))


def flattened(flatten: Node, pool: Node) -> Node:
    """The Flatten behind a pooling, taking in what the pooling takes in."""
    size = math.prod(pool.input_shape)
    changed = reparametrised(
        flatten,
        input_type={"input": np.array(pool.input_shape)},
        output_type={"output": np.array([size])},
        start_dim=0,
        end_dim=len(pool.input_shape) - 1,
    )
    return replace(changed, input_shape=pool.input_shape, output_shape=(size,))


def rounded(node: Node) -> Node:
    """The node with its weights in float32, and its shapes worked out."""
    weight: Reals = node.parameters.weight
    changed = reparametrised(node, weight=weight.astype(np.float32))
    _, output = node_shapes(node.primitive, changed.parameters, node.input_shape)
    return replace(changed, output_shape=output)


def divisor(pool: Node) -> int:
    """By what a pooling divides its sums: an average by the whole window, at the borders too."""
    return math.prod(pool.parameters.kernel_size) if pool.primitive == "AvgPool2d" else 1


def _windows(pool: Node, axis: int) -> NDArray[np.float64]:
    """[pooled, size]: which places each window covers."""
    starts = np.arange(pool.output_shape[1 + axis]) * pool.parameters.stride[axis]
    places = np.arange(pool.input_shape[1 + axis]) + pool.parameters.padding[axis]
    inside = places - starts[:, None]
    covered: NDArray[np.bool_] = (inside >= 0) & (inside < pool.parameters.kernel_size[axis])
    return covered.astype(np.float64)
