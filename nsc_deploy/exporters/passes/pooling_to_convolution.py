"""Pass: a pooling that is left becomes a convolution of each channel by itself, for targets without pooling.

Every tap of its kernel is 1, or 1 / window for an average. Run it behind `fold_pooling`.

The taps are summed in another order than the simulator pools in, so a float32 is kept only where nothing
rounds, before and after: always for sums of events, and for averages over windows of a power of two.

Requires: a network whose parts fit together.
Promises: such a network, the same nodes with a Conv2d in the place of each pooling.
Exact but for the poolings noted as inexact.
"""

import math
from dataclasses import replace

import nir
import numpy as np

from nsc_deploy.exporters.passes.pooled_weights import divisor
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.parameters import checked
from nsc_deploy.graphs.rewrite import broken, require_consistent, with_nodes
from nsc_deploy.passes.base import Lowered, Note
from nsc_deploy.passes.exactness import Grids
from nsc_deploy.passes.fold_pooling import POOLS, ROUNDING


class PoolingToConvolution:
    """The pass."""

    name = "pooling-to-convolution"

    def requires(self, graph: Network, /) -> None:
        """Nodes, shapes and edges that fit together."""
        require_consistent(graph)

    def apply(self, graph: Network, /) -> Lowered[Network]:
        """Exchange every pooling."""
        pools = [node for node in graph.nodes if node.primitive in POOLS]
        after = with_nodes(graph, [_convolution(node) for node in pools]) if pools else graph
        before, behind = Grids(graph), Grids(after)
        exact = {
            node.name: before.of(node.name) is not None and behind.of(node.name) is not None for node in pools
        }
        return Lowered(after, tuple(_note(node, exact=exact[node.name]) for node in pools))

    def broken_promise(self, graph: object, /) -> str | None:
        """Parts that do not fit together, or a pooling."""
        fault = broken(graph)
        if fault is not None or not isinstance(graph, Network):
            return fault
        return next((f"'{node.name}' is a pooling" for node in graph.nodes if node.primitive in POOLS), None)


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
    return replace(pool, primitive="Conv2d", parameters=checked(convolution))


def _note(pool: Node, *, exact: bool) -> Note:
    text = f"{pool.primitive} becomes a convolution of each channel with equal weights"
    if exact:
        return Note("substituted", pool.name, f"{text}: no number changes")
    error = (math.prod(pool.parameters.kernel_size) + 1) * ROUNDING
    text = f"{text}, which rounds otherwise: by up to {error:.1g} of the sum of all sizes"
    return Note("substituted", pool.name, text, exact=False, error=error)
