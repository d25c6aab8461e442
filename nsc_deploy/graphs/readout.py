"""From the outputs of the last part to a decision."""

import math
from dataclasses import replace
from typing import Any

import nir
import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import ConfigError, DataError, GraphError
from nsc_deploy.graphs.network import Network, Node, Signal
from nsc_deploy.graphs.primitives import normalise
from nsc_deploy.io.text import shown


def with_readout(network: Network, classes: int | None) -> Network:
    """A graph that says how a decision is read from its outputs: for a file that does not.

    Args:
        network: the graph.
        classes: number of classes, each with as many consecutive outputs; None leaves the graph as it is.

    Raises:
        ConfigError: the outputs cannot be shared out among the classes, or the graph says otherwise.
        GraphError: it states what is no number of classes.
    """
    if classes is None:
        return network
    node = network.output_node
    stated, outputs = _stated(node, "classes"), math.prod(node.output_shape)
    if stated is not None and stated != classes:
        raise ConfigError(f"the graph says that it has {stated} classes", where="--classes")
    if classes < 1 or outputs % classes:
        raise ConfigError(
            f"{outputs} outputs cannot be shared out among {classes} classes",
            where="--classes",
            hint="Every class takes as many outputs in a row, the first ones class 0.",
        )
    group = {"classes": classes, "group": outputs // classes}
    metadata = {**node.parameters.metadata, **(group if stated is None else {})}
    named = replace(node, parameters=normalise(nir.Output(np.array(node.output_shape), metadata=metadata)))
    return replace(network, nodes=tuple(named if one is node else one for one in network.nodes))


def readout_of(network: Network) -> tuple[int, int] | None:
    """Classes, and outputs that vote for each, where the graph says how a decision is read from them.

    A graph that states its classes alone shares its outputs out among them.

    Raises:
        GraphError: it states what is no number of classes, or classes that its outputs cannot vote for.
    """
    node = network.output_node
    classes, outputs = _stated(node, "classes"), math.prod(node.output_shape)
    if classes is None:
        return None
    group = _stated(node, "group") or outputs // classes
    if classes * group != outputs:
        each = f" of {group} outputs each" if "group" in node.parameters.metadata else ""
        raise GraphError(
            f"its metadata state {classes} classes{each}, which {outputs} outputs cannot be shared out among",
            where=f"node '{node.name}'",
            hint=_READOUT_HINT,
        )
    return classes, group


_READOUT_HINT = (
    "Take 'classes' and 'group' out of the metadata of the Output, and say how many classes the outputs vote "
    "for with --classes."
)


def _stated(node: Node, name: str) -> int | None:
    """A whole number from 1 in the metadata of an Output; None where it is not there."""
    if name not in node.parameters.metadata:
        return None
    stated = node.parameters.metadata[name]
    value = np.asarray(stated)
    if value.size != 1 or value.dtype.kind not in "fiu" or not 1 <= value.item() < math.inf or value % 1:
        raise GraphError(
            f"its metadata '{name}' is {shown(stated)} where a whole number above 0 is wanted",
            where=f"node '{node.name}'",
            hint=_READOUT_HINT,
        )
    return int(value.item())


def fewest_classes(network: Network, known: int = 1) -> int | None:
    """The fewest classes, at least `known`, that the outputs of a graph could vote for in equal groups.

    Votes are spikes, or the values that a conventional network ends in. None where none leave: potentials,
    outputs that have places, or fewer outputs than classes.
    """
    node = network.output_node
    votes = network.conventional or network.arrives(node.name) is Signal.EVENTS
    if not votes or len(node.output_shape) != 1:
        return None
    (outputs,) = node.output_shape
    return next((classes for classes in range(known, outputs + 1) if outputs % classes == 0), None)


def scores(outputs: NDArray[Any], classes: int, group: int) -> NDArray[np.float64]:
    """Mean over steps and over each group of outputs.

    Args:
        outputs: [T, N, classes * group], the outputs of class 0 first.
        classes: number of classes.
        group: consecutive outputs that vote for one class.

    Returns:
        [N, classes]; exact for binary outputs.

    Raises:
        DataError: the outputs have another shape.
    """
    if outputs.ndim != 3 or outputs.shape[2] != classes * group:
        raise DataError(
            f"outputs of the shape {outputs.shape} where [steps, samples, {classes} * {group}] is wanted"
        )
    steps, samples, _ = outputs.shape
    votes = outputs.sum(axis=0, dtype=np.float64).reshape(samples, classes, group).sum(axis=2)
    mean: NDArray[np.float64] = votes / (steps * group)
    return mean


def decide(outputs: NDArray[Any], classes: int, group: int) -> NDArray[np.int64]:
    """The class with the largest score for each sample [N], the first of equals.

    Args:
        outputs: [T, N, classes * group].
        classes: number of classes.
        group: consecutive outputs that vote for one class.
    """
    labels: NDArray[np.int64] = scores(outputs, classes, group).argmax(axis=1).astype(np.int64)
    return labels


def require_classes(labels: NDArray[np.int64] | None, classes: int) -> None:
    """Refuse labels that no decision can be equal to.

    Raises:
        DataError: one of them is no class from 0 to `classes` - 1.
    """
    if labels is not None and labels.size and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"has labels from {labels.min()} to {labels.max()}, and the graph decides between {classes} "
            "classes, from 0 on",
            where="recorded inputs",
            hint="Number the classes from 0, or name how many there are (--classes).",
        )
