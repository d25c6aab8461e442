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
does. Without, it is folded, and its note states the error: exact but for the folds noted as inexact.

The pass ensures that the nodes are the same but for Scales, none of which could be folded any more.
"""

from enum import StrEnum
from typing import Any

import numpy as np

from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.rewrite import bypassable, bypassed, reparametrised, with_nodes
from nsc_deploy.passes.base import UNBYPASSABLE, Fold, Folding, Note, Obstacle
from nsc_deploy.passes.exactness import Grids, Reals, is_single, powers_of_two, single

ERROR = 2.0**-22
"""Two roundings of float32 on the way to each term before a fold, and two others after it."""


class Side(StrEnum):
    """Where the weights lie, seen from the Scale."""

    BEHIND = "behind"
    BEFORE = "before"


class FoldScales(Folding):
    """The pass."""

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


_CONVOLUTIONS = frozenset({"Conv1d", "Conv2d"})
_DENSE = frozenset({"Linear", "Affine"})
_PASSING = frozenset({"Flatten", "Delay"})


def neighbours(scale: Node, graph: Network, side: Side) -> tuple[Node, ...] | Obstacle:
    """The nodes on one side of a Scale that could take it in, all of them or none."""
    return _behind(scale, graph) if side is Side.BEHIND else _before(scale, graph)


def _behind(scale: Node, graph: Network) -> tuple[Node, ...] | Obstacle:
    """Every reader has to be of weights (or a Scale) and read nothing else."""
    found: list[Node] = []
    readers = list(graph.successors(scale.name))
    while readers:
        reader = readers.pop(0)
        if len(reader.inputs) > 1:
            return Obstacle(f"'{reader.name}' adds it to other inputs")
        if reader.primitive in _PASSING:
            readers.extend(graph.successors(reader.name))
        elif reader.synaptic or (reader.primitive == "Scale" and reader.name != scale.name):
            found.append(reader)
        else:
            return Obstacle(f"'{reader.name}' ({reader.primitive}), which reads it, has no weights")
    return _even_in_channels(scale, tuple(found), Side.BEHIND) if found else Obstacle("nothing reads it")


def _before(scale: Node, graph: Network) -> tuple[Node, ...] | Obstacle:
    """The weights have to be read by the Scale alone."""
    reader = scale
    while len(reader.inputs) == 1:
        source = graph.node(reader.inputs[0])
        if len(graph.successors(source.name)) > 1:
            return Obstacle(f"'{source.name}' is read by others too")
        if source.synaptic:
            return _even_in_channels(scale, (source,), Side.BEFORE)
        if source.primitive not in _PASSING:
            return Obstacle(f"'{source.name}' ({source.primitive}), which feeds it, has no weights")
        reader = source
    return Obstacle(f"'{reader.name}' sums several inputs")


def _even_in_channels(scale: Node, found: tuple[Node, ...], side: Side) -> tuple[Node, ...] | Obstacle:
    for node in found:
        factors = _factors(scale, node, side)
        if node.primitive in _CONVOLUTIONS and (factors != factors[:, :1]).any():
            return Obstacle(f"it differs within the channels of '{node.name}'")
    return found


def scaled(scale: Node, weights: Node, side: Side) -> dict[str, Reals]:
    """The parameters of a neighbour with the Scale in them, in float64 and not yet rounded."""
    factors = _factors(scale, weights, side)
    parameters = weights.parameters
    if weights.primitive == "Scale":
        return {"scale": single(parameters.scale) * factors}
    weight = single(parameters.weight)
    if side is Side.BEHIND:
        return {"weight": weight * _columns(weights, factors)}
    rows = factors[:, 0] if weights.primitive in _CONVOLUTIONS else factors
    spread = rows.reshape(*rows.shape, *[1] * (weight.ndim - rows.ndim))
    fields = {"weight": weight * spread}
    if hasattr(parameters, "bias"):
        fields["bias"] = single(parameters.bias) * rows
    return fields


def with_scale(weights: Node, fields: dict[str, Reals]) -> Node:
    """A neighbour with these parameters, rounded to float32."""
    rounded: dict[str, Any] = {name: values.astype(np.float32) for name, values in fields.items()}
    return reparametrised(weights, **rounded)


def _factors(scale: Node, weights: Node, side: Side) -> Reals:
    """The factors in the shape in which they meet the weights; for convolutions [channels, places]."""
    values = single(scale.parameters.scale)
    shape = weights.input_shape if side is Side.BEHIND else weights.output_shape
    return values.reshape((shape[0], -1) if weights.primitive in _CONVOLUTIONS else shape)


def _columns(weights: Node, factors: Reals) -> Reals:
    """Factors of the inputs of the weights, to be multiplied with their array."""
    if weights.primitive in _DENSE:
        return factors[..., None, :]
    groups, shape = weights.parameters.groups, weights.parameters.weight.shape
    # Output channel o sees the input channels of its group alone.
    by_group = factors[:, 0].reshape(groups, shape[1])
    of_output = np.repeat(by_group, shape[0] // groups, axis=0)
    return of_output.reshape(*of_output.shape, *[1] * (len(shape) - 2))
