"""Pass: sum and average pooling goes into the Conv2d, or the Linear or Affine node, behind it.

Between the pooling and a matrix lies the Flatten that makes a vector of an image. Where several nodes read
the pooling, each gets it, or it stays. It stays where a neuron reads it, and where no single convolution
does what the two do: where the convolution pads with zeros what the pooling has left out or summed twice.

The sums change their order with a fold, so it keeps every float32 only where nothing rounds, neither
before nor after it (`exactness`): events through weights on a grid do that, and averages over windows
whose size is a power of two. With `exactly` a pooling for which this does not hold stays. Without, it is
folded, and its note states the error: exact but for the folds noted as inexact. `FoldPooling` ensures that
the nodes are the same but for poolings, none of which could be folded any more.

What is left, `PoolingToConvolution` makes a convolution of each channel by itself, for targets without
pooling. Its taps are summed in another order than the simulator pools in, so it is exact where nothing
rounds: always for sums of events, and for averages of them over windows of a power of two. It ensures that
no pooling is left.

A pooling gives P[u] = sum over a of x[u * step + a - pad], with 0 beyond the borders of x, for each axis;
an average divides by the size of the window.
"""

import math
from dataclasses import dataclass, replace

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.connectivity import KernelAxis, kernel_axes
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.primitives import node_shapes, normalise
from nsc_deploy.graphs.rewrite import (
    bypassable,
    bypassed,
    reparametrised,
    with_nodes,
)
from nsc_deploy.passes.base import UNBYPASSABLE, Fold, Folding, NetworkPass, Note, Obstacle, Rewrite
from nsc_deploy.passes.exactness import Grids, Reals, is_single, single

POOLS = frozenset({"SumPool2d", "AvgPool2d"})
ROUNDING = 2.0**-24


class FoldPooling(Folding):
    """The pass that gives a pooling to the weights behind it."""

    name = "fold-pooling"

    def candidates(self, graph: Network) -> list[Node]:
        """Every pooling, the last first: of two in a row the second has the weights behind it."""
        return [node for node in reversed(graph.nodes) if node.primitive in POOLS]

    def considered(self, node: Node, graph: Network) -> Fold | Obstacle:
        """The fold of a pooling, or why it stays."""
        if not bypassable(graph, node.name):
            return UNBYPASSABLE
        changed: list[Node] = []
        for reader in graph.successors(node.name):
            found = _folded(node, reader, graph)
            if isinstance(found, str):
                return Obstacle(found)
            changed.extend(found)
        return self._fold(node, graph, changed) if changed else Obstacle("nothing reads it")

    def _fold(self, pool: Node, graph: Network, changed: list[Node]) -> Fold | Obstacle:
        weights = [node for node in changed if node.synaptic]
        names = ", ".join(f"'{node.name}'" for node in weights)
        ready = [rounded(node) if node.synaptic else node for node in changed]
        if not all(np.isfinite(node.parameters.weight).all() for node in ready if node.synaptic):
            return Obstacle(f"the weights of {names} would leave the range of float32")
        after = bypassed(with_nodes(graph, ready), pool.name)
        before, behind = Grids(graph), Grids(after)
        if all(
            is_single(node.parameters.weight)
            and before.of(node.name) is not None
            and behind.of(node.name) is not None
            for node in weights
        ):
            return Fold(after, Note("folded", pool.name, f"folded into {names}: no number changes"))
        if self.exactly:
            return Obstacle(f"folding it into {names} would round otherwise")
        error = (max(_terms(node) for node in weights) + 3) * ROUNDING
        text = (
            f"folded into {names}, which sums in another order: by up to {error:.1g} of the sum of all sizes"
        )
        return Fold(after, Note("folded", pool.name, text, exact=False, error=error))


def _terms(weights: Node) -> int:
    """How many products each output is the sum of."""
    return int(weights.parameters.weight[0].size)


def _folded(pool: Node, reader: Node, graph: Network) -> list[Node] | str:
    """The nodes behind a pooling as they are without it, on the way of one reader; or why it stays."""
    if len(reader.inputs) > 1:
        return f"'{reader.name}' adds it to other inputs"
    if reader.primitive == "Conv2d":
        found = one_convolution(pool, reader)
        return found if isinstance(found, str) else [found]
    if reader.primitive == "Flatten" and len(reader.output_shape) == 1:
        return _through(pool, reader, graph)
    return f"'{reader.name}' ({reader.primitive}), which reads it, has no weights"


def _through(pool: Node, flatten: Node, graph: Network) -> list[Node] | str:
    """The Flatten, and every matrix that reads it."""
    changed = [flattened(flatten, pool)]
    for dense in graph.successors(flatten.name):
        if dense.primitive not in {"Linear", "Affine"}:
            return (
                f"'{dense.name}' ({dense.primitive}), which reads it through '{flatten.name}', has no weights"
            )
        if len(dense.inputs) > 1:
            return f"'{dense.name}' adds it to other inputs"
        found = one_matrix(pool, dense)
        if isinstance(found, str):
            return found
        changed.append(found)
    return changed if len(changed) > 1 else f"nothing reads '{flatten.name}'"


MAX_WEIGHTS = 2**26


@dataclass(frozen=True)
class FoldedAxis:
    """One axis of a pooling and of the convolution behind it.

    Attributes:
        pool: of the pooling.
        after: of the convolution.
    """

    pool: KernelAxis
    after: KernelAxis

    @property
    def obstacle(self) -> str | None:
        """Why one convolution cannot do both on this axis, or None."""
        pool, (before, behind) = self.pool, self.after.padding
        if before != behind:
            return "pads its input on one side more than on the other"
        if before and pool.kernel > pool.stride + pool.padding[0]:
            return "pads its input with zeros where windows overlap"
        last = (self.after.outputs - 1) * self.after.stride + self.after.window - 1 - before
        if last >= pool.outputs and pool.outputs * pool.stride - pool.padding[0] < pool.inputs:
            return "pads its input with zeros where the pooling leaves out a border"
        return None

    @property
    def kernel(self) -> int:
        """Taps of the one convolution."""
        return (self.after.window - 1) * self.pool.stride + self.pool.kernel

    def taps(self) -> NDArray[np.float64]:
        """[kernel, self.kernel]: which taps of the one convolution stand for a tap of the given one."""
        return KernelAxis(self.kernel, self.pool.kernel, self.after.dilation * self.pool.stride).covered()


def one_convolution(pool: Node, convolution: Node) -> Node | str:
    """The Conv2d that takes in what the pooling takes in, or why there is none."""
    both = tuple(
        map(
            FoldedAxis,
            kernel_axes(pool.parameters, pool.input_shape[1:]),
            kernel_axes(convolution.parameters, convolution.input_shape[1:]),
        )
    )
    obstacle = next((axis.obstacle for axis in both if axis.obstacle is not None), None)
    if obstacle is not None:
        return f"'{convolution.name}' {obstacle}"
    weight = single(convolution.parameters.weight)
    if math.prod((*weight.shape[:2], both[0].kernel, both[1].kernel)) > MAX_WEIGHTS:
        return f"'{convolution.name}' would become too large"
    spread = np.einsum("oiyx,yh,xw->oihw", weight, both[0].taps(), both[1].taps(), optimize=True)
    changed = reparametrised(
        convolution,
        weight=spread / divisor(pool),
        stride=tuple(axis.after.stride * axis.pool.stride for axis in both),
        padding=tuple(axis.after.padding[0] * axis.pool.stride + axis.pool.padding[0] for axis in both),
        dilation=(1, 1),
        input_shape=pool.input_shape[1:],
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
    high, wide = (axis.covered() for axis in kernel_axes(pool.parameters, pool.input_shape[1:]))
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


class PoolingToConvolution(NetworkPass):
    """The pass that gives a pooling weights of its own: every tap of its kernel is 1, or 1 / window."""

    name = "pooling-to-convolution"

    def rewrite(self, network: Network, /) -> Rewrite[Network]:
        """Exchange every pooling."""
        pools = [node for node in network.nodes if node.primitive in POOLS]
        after = with_nodes(network, [_convolution(node) for node in pools]) if pools else network
        before, behind = Grids(network), Grids(after)
        exact = {
            node.name: before.of(node.name) is not None and behind.of(node.name) is not None for node in pools
        }
        return Rewrite(after, tuple(_note(node, exact=exact[node.name]) for node in pools))

    def leftover(self, network: Network, /) -> str | None:
        """A pooling."""
        return next((f"'{one.name}' is a pooling" for one in network.nodes if one.primitive in POOLS), None)


def _convolution(pool: Node) -> Node:
    parameters = pool.parameters
    channels, *size = pool.input_shape
    weight = np.full((channels, 1, *parameters.kernel_size), 1 / divisor(pool), np.float32)
    convolution = nir.Conv2d(
        input_shape=tuple(size),
        weight=weight,
        stride=parameters.stride,
        padding=parameters.padding,
        dilation=1,
        groups=channels,
        bias=np.zeros(channels, np.float32),
    )
    return replace(pool, primitive="Conv2d", parameters=normalise(convolution))


def _note(pool: Node, *, exact: bool) -> Note:
    text = f"{pool.primitive} becomes a convolution of each channel with equal weights"
    if exact:
        return Note("substituted", pool.name, f"{text}: no number changes")
    error = (math.prod(pool.parameters.kernel_size) + 1) * ROUNDING
    text = f"{text}, which rounds otherwise: by up to {error:.1g} of the sum of all sizes"
    return Note("substituted", pool.name, text, exact=False, error=error)
