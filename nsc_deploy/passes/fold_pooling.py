"""Pass: sum and average pooling goes into the Conv2d, or the Linear or Affine node, behind it.

Between the pooling and a matrix lies the Flatten that makes a vector of an image. Where several nodes read
the pooling, each gets it, or it stays. It stays where a neuron reads it, and where no single convolution
does what the two do: where the convolution pads with zeros what the pooling has left out or summed twice.

The sums change their order with a fold, so it keeps every float32 only where nothing rounds, neither before
nor after it (`exactness`): events through weights on a grid do that, and averages over windows whose size is
a power of two. With `exactly` a pooling for which this does not hold stays. Without, it is folded, and
its note states the error.

Requires: a network whose parts fit together.
Promises: such a network, the same nodes but for poolings, none of which could be folded any more.
Exact with `exactly`; else exact but for the folds noted as inexact.
"""

import numpy as np

from nsc_deploy.exporters.passes.folding import UNBYPASSABLE, Fold, Folding, Obstacle
from nsc_deploy.exporters.passes.pooled_weights import flattened, one_convolution, one_matrix, rounded
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.rewrite import bypassable, bypassed, with_nodes
from nsc_deploy.passes.base import Note
from nsc_deploy.passes.exactness import Grids, is_single

POOLS = frozenset({"SumPool2d", "AvgPool2d"})
ROUNDING = 2.0**-24


class FoldPooling(Folding):
    """The pass.

    Args:
        exactly: leave a pooling where folding it would change a rounding.
    """

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
