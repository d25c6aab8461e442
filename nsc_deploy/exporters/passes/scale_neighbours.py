"""The weights a Scale could go into, and those weights with the Scale in them."""

from enum import StrEnum
from typing import Any

import numpy as np

from nsc_deploy.exporters.passes.folding import Obstacle
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.rewrite import reparametrised
from nsc_deploy.passes.exactness import Reals, single

_CONVOLUTIONS = frozenset({"Conv1d", "Conv2d"})
_DENSE = frozenset({"Linear", "Affine"})
_PASSING = frozenset({"Flatten", "Delay"})


class Side(StrEnum):
    """Where the weights lie, seen from the Scale."""

    BEHIND = "behind"
    BEFORE = "before"


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
