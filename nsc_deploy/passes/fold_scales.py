"""Pass: Scale nodes go into the weights beside them.

A Scale goes into the weights behind it, where weights alone read it; several Scales in a row become one;
else it goes into the weights before it, where it alone reads those. Flatten and Delay may lie between. A
Scale that no weights lie beside stays, and so does one that differs within the channels of a convolution.

A fold changes no float32 where each product of factor and weight is a float32, and one of these holds:

- Each factor is 0 or a power of two. Products with it do not round, so that each sum has the terms it had,
  in the order they had. (Numbers below 1e-38, which float32 holds with fewer bits, are left out here.)
- What the Scale takes in are spikes, 0 or 1, so that each term is that product or 0, as it was.
- Nothing rounds, neither before nor after the fold (`exactness`).

With `exactly` a Scale for which none holds stays, since its fold would round otherwise than the graph
does. Without, it is folded, and its note states the error.

Requires: a network whose parts fit together.
Promises: such a network, the same nodes but for Scales, none of which could be folded any more.
Exact with `exactly`; else exact but for the folds noted as inexact.
"""

import numpy as np

from nsc_deploy.exporters.passes.folding import UNBYPASSABLE, Fold, Folding, Obstacle
from nsc_deploy.exporters.passes.scale_neighbours import Side, neighbours, scaled, with_scale
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.rewrite import bypassable, bypassed, with_nodes
from nsc_deploy.passes.base import Note
from nsc_deploy.passes.exactness import Grids, Reals, is_single, powers_of_two, single

ERROR = 2.0**-22
"""Two roundings of float32 on the way to each term before a fold, and two others after it."""


class FoldScales(Folding):
    """The pass.

    Args:
        exactly: leave a Scale where folding it would change a rounding.
    """

    name = "fold-scales"

    def candidates(self, graph: Network) -> list[Node]:
        """Every Scale."""
        return [node for node in graph.nodes if node.primitive == "Scale"]

    def considered(self, node: Node, graph: Network) -> Fold | Obstacle:
        """The fold of a Scale, preferably an exact one, or why it stays."""
        if not bypassable(graph, node.name):
            return UNBYPASSABLE
        if (single(node.parameters.scale) == 1).all():
            return Fold(bypassed(graph, node.name), Note("removed", node.name, "removed: it is 1"))
        tried = [self._beside(node, graph, side) for side in Side]
        folds = sorted((one for one in tried if isinstance(one, Fold)), key=lambda one: not one.note.exact)
        reasons = [one.reason for one in tried if isinstance(one, Obstacle)]
        return folds[0] if folds else Obstacle(", and ".join(reasons))

    def _beside(self, scale: Node, graph: Network, side: Side) -> Fold | Obstacle:
        found = neighbours(scale, graph, side)
        return found if isinstance(found, Obstacle) else self._fold(scale, graph, found, side)

    def _fold(self, scale: Node, graph: Network, found: tuple[Node, ...], side: Side) -> Fold | Obstacle:
        fields = [scaled(scale, node, side) for node in found]
        products = [values for one in fields for values in one.values()]
        names = ", ".join(f"'{node.name}'" for node in found)
        if not all(_in_range(values) for values in products):
            return Obstacle(f"its products with the weights of {names} leave the range of float32")
        changed = [with_scale(node, one) for node, one in zip(found, fields, strict=True)]
        after = bypassed(with_nodes(graph, changed), scale.name)
        alike = all(is_single(values) for values in products) and (
            all(_same_terms(scale, graph, node, side) for node in found)
            or _rounds_nowhere(scale, graph, after, found, side)
        )
        if alike:
            return Fold(after, Note("folded", scale.name, f"folded into {names}: no number changes"))
        if self.exactly:
            return Obstacle(f"folding it into {names} would round otherwise")
        text = f"folded into {names}, which rounds otherwise: terms differ by up to {ERROR:.1g} of themselves"
        return Fold(after, Note("folded", scale.name, text, exact=False, error=ERROR))


def _in_range(values: Reals) -> bool:
    """Whether rounding to float32 costs no more than it always does, so nothing overflows or vanishes."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    return bool((np.abs(rounded - values) <= 2.0**-24 * np.abs(values)).all())


def _same_terms(scale: Node, graph: Network, weights: Node, side: Side) -> bool:
    """Whether every sum has the terms it had, in their order."""
    if powers_of_two(single(scale.parameters.scale)).all():
        return True
    if side is Side.BEFORE:
        return False
    if graph.arrives(scale.name) is Signal.EVENTS:
        return True
    return weights.primitive == "Scale" and bool(powers_of_two(single(weights.parameters.scale)).all())


def _rounds_nowhere(scale: Node, graph: Network, after: Network, found: tuple[Node, ...], side: Side) -> bool:
    """Whether all that a fold touches is computed without rounding, before and after."""
    names = [node.name for node in found]
    before, behind = Grids(graph), Grids(after)
    ends = names if side is Side.BEHIND else [scale.name]
    return all(before.of(name) is not None for name in ends) and all(
        behind.of(name) is not None for name in names
    )
