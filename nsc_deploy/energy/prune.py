"""Taking out of a NIR graph what its outputs do not need: silent neurons and weights that nothing meets."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.recording import Recording
from nsc_deploy.graphs.simulate import simulate_batches
from nsc_deploy.graphs.to_nir import to_nir

Mask = NDArray[np.bool_]
_DENSE = frozenset({"Linear", "Affine"})


@dataclass(frozen=True)
class Activity:
    """What a network did over a recording.

    Attributes:
        active: for each node, the outputs that were ever other than zero, [*output_shape].
        outputs: of the Output node, [T, N, *shape].
    """

    active: Mapping[str, Mask]
    outputs: NDArray[Any]


def observe(network: Network, recording: Recording, batch: int = 64) -> Activity:
    """Run a network and note which of its outputs are ever used."""
    active = {node.name: np.zeros(node.output_shape, dtype=bool) for node in network.nodes}

    def note(name: str, output: NDArray[Any]) -> None:
        active[name] |= (output != 0).any(axis=(0, 1))

    outputs = simulate_batches(network, recording.values, batch=batch, observe=note)
    return Activity(active, outputs[network.output_node.name])


def removable(network: Network, activity: Activity, node: Node) -> Mask | None:
    """Neurons of a layer that never fire, or whose spikes meet no synapse.

    None for a layer where they cannot be taken out: fed by other than dense weights of its own, in a cycle,
    not in one dimension, or one that leads to an output.
    """
    sources = [network.node(name) for name in node.inputs]
    readers = network.successors(node.name)
    if not node.spiking or len(node.output_shape) != 1 or not sources or not readers:
        return None
    if any(one.primitive not in _DENSE or network.successors(one.name) != (node,) for one in sources):
        return None
    if any(one.primitive not in _DENSE or one in sources for one in readers):
        return None
    read = np.any([(one.parameters.weight != 0).any(axis=0) for one in readers], axis=0)
    mask: Mask = ~(activity.active[node.name] & read)
    if mask.all():
        mask[0] = False  # A layer without neurons is no layer.
    return mask if mask.any() else None


def without_neurons(network: Network, removed: Mapping[str, Mask]) -> Network:
    """The network without some neurons.

    Where a reader of the layer has other inputs too, the width has to stay: then the weights to and from the
    neurons are set to zero instead.

    Args:
        network: the graph.
        removed: for each layer, a mask that `removable` gave, or a part of it.
    """
    graph = to_nir(network)
    for name, mask in removed.items():
        readers = network.successors(name)
        narrow = all(one.inputs == (name,) for one in readers)
        for source in network.node(name).inputs:
            _edit(graph.nodes, source, 0, mask, narrow)
        for reader in readers:
            if reader.inputs == (name,):
                _edit(graph.nodes, reader.name, 1, mask, narrow)
        if narrow:
            graph.nodes[name] = _narrowed(graph.nodes[name], ~mask)
    return assemble(graph, dt=network.dt, reset=network.reset)


def unmet(network: Network, activity: Activity, node: Node) -> Mask | None:
    """Inputs of a dense layer that no event ever reaches although they have weights, [inputs].

    None where there are none, or where real values arrive, which use every weight.
    """
    if node.primitive not in _DENSE or len(node.input_shape) != 1:
        return None
    silent: Mask = ~np.any([activity.active[name] for name in node.inputs], axis=0)
    silent &= (node.parameters.weight != 0).any(axis=0)
    return silent if silent.any() else None


def without_weights(network: Network, unused: Mapping[str, Mask]) -> Network:
    """The network with the weights of some inputs of dense layers set to zero."""
    graph = to_nir(network)
    for name, mask in unused.items():
        _edit(graph.nodes, name, 1, mask, narrow=False)
    return assemble(graph, dt=network.dt, reset=network.reset)


def with_weights(network: Network, name: str, weight: NDArray[Any]) -> Network:
    """The network with other weights in one layer."""
    graph = to_nir(network)
    graph.nodes[name] = _changed(graph.nodes[name], {"weight": weight})
    return assemble(graph, dt=network.dt, reset=network.reset)


def _edit(nodes: dict[str, Any], name: str, axis: int, mask: Mask, narrow: bool) -> None:
    """Take rows (axis 0: outputs) or columns (1: inputs) out of a dense layer, or set them to zero."""
    node = nodes[name]
    fields = {"weight": node.weight} | ({"bias": node.bias} if axis == 0 and hasattr(node, "bias") else {})
    changed = {}
    for field, values in fields.items():
        if narrow:
            changed[field] = np.compress(~mask, values, axis=axis)
        else:
            zeroed = np.array(values)
            zeroed[(slice(None),) * axis + (mask,)] = 0
            changed[field] = zeroed
    nodes[name] = _changed(node, changed)


def _changed(node: Any, fields: Mapping[str, NDArray[Any]]) -> Any:
    clean = copy.copy(node)
    for field, values in fields.items():
        setattr(clean, field, values)
    if "weight" in fields:
        outputs, inputs = clean.weight.shape
        clean.input_type = {"input": np.array([inputs])}
        clean.output_type = {"output": np.array([outputs])}
    return clean


def _narrowed(node: Any, kept: Mask) -> Any:
    """A layer of neurons with some of them."""
    clean = copy.copy(node)
    for field, values in vars(node).items():
        if isinstance(values, np.ndarray) and values.shape == kept.shape:
            setattr(clean, field, values[kept])
    size = np.array([int(kept.sum())])
    clean.input_type, clean.output_type = {"input": size}, {"output": size}
    return clean
