"""NIR graphs without what their outputs do not need: silent neurons, weights that no event reaches."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.formats.nir import to_nir
from nsc_deploy.graphs.formats.recording import Recording
from nsc_deploy.graphs.network import Network, Node
from nsc_deploy.graphs.simulate import simulate_batches

Mask = NDArray[np.bool_]
_DENSE = frozenset({"Linear", "Affine"})
_CONVOLUTIONS = frozenset({"Conv1d", "Conv2d"})
_CARRIERS = frozenset({"Flatten", "SumPool2d", "AvgPool2d"})


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
    """Neurons of a layer that never fire, or whose spikes reach no synapse; of feature maps, whole channels.

    None for a layer where they cannot be taken out: fed by other than weights of its own, in a cycle, or one
    that leads to an output. Convolutions in groups are left as they are.

    Returns:
        [neurons] or [channels], the first axis of the layer.
    """
    sources = [network.node(name) for name in node.inputs]
    readers = readers_of(network, node)
    if not node.spiking or not sources or not readers:
        return None
    if any(not _editable(one) or network.successors(one.name) != (node,) for one in sources):
        return None
    if any(not _editable(one) or one in sources for one, _ in readers):
        return None
    if any(one.output_shape[1:] != node.output_shape[1:] for one in sources):
        return None
    read = np.any([_has_weights(one, node.output_shape[0]) for one, _ in readers], axis=0)
    mask: Mask = ~(_by_channel(activity.active[node.name]) & read)
    if mask.all():
        mask[0] = False  # A layer without neurons is no layer.
    return mask if mask.any() else None


def readers_of(network: Network, node: Node) -> list[tuple[Node, tuple[str, ...]]]:
    """What takes in the output of a layer, and the nodes on the way that only pool or reshape it."""
    found: list[tuple[Node, tuple[str, ...]]] = []
    for one in network.successors(node.name):
        if one.primitive in _CARRIERS and one.inputs == (node.name,):
            found += [(reader, (one.name, *way)) for reader, way in readers_of(network, one)]
        else:
            found.append((one, ()))
    return found


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
        readers = readers_of(network, network.node(name))
        last = {reader.name: (way[-1] if way else name) for reader, way in readers}
        narrow = all(reader.inputs == (last[reader.name],) for reader, _ in readers)
        for source in network.node(name).inputs:
            _remove(graph.nodes, source, 0, mask, narrow)
        for reader, way in readers:
            if reader.inputs == (last[reader.name],):
                _remove(graph.nodes, reader.name, 1, mask, narrow)
            for carrier in way if narrow else ():
                graph.nodes[carrier] = _with_channels(graph.nodes[carrier], ~mask)
        if narrow:
            graph.nodes[name] = _with_neurons(graph.nodes[name], ~mask)
    return assemble(graph, dt=network.dt, reset=network.reset)


def unused_inputs(network: Network, activity: Activity, node: Node) -> Mask | None:
    """Inputs of a layer that no event ever reaches although they have weights, [inputs] or [channels].

    None where there are none, and for convolutions in groups.
    """
    if not _editable(node):
        return None
    silent: Mask = ~np.any([_by_channel(activity.active[name]) for name in node.inputs], axis=0)
    silent &= _has_weights(node, node.input_shape[0])
    return silent if silent.any() else None


def silent_alone(activity: Activity, node: Node) -> int:
    """Neurons of feature maps that never fire while others of their channel do: a kernel makes them all."""
    if not node.spiking or len(node.output_shape) < 2:
        return 0
    active = activity.active[node.name].reshape(node.output_shape[0], -1)
    return int((~active[active.any(axis=1)]).sum())


def without_weights(network: Network, unused: Mapping[str, Mask]) -> Network:
    """The network with the weights of some inputs of layers set to zero."""
    graph = to_nir(network)
    for name, mask in unused.items():
        _remove(graph.nodes, name, 1, mask, narrow=False)
    return assemble(graph, dt=network.dt, reset=network.reset)


def with_weights(network: Network, name: str, weight: NDArray[Any]) -> Network:
    """The network with other weights in one layer."""
    graph = to_nir(network)
    graph.nodes[name] = _with_fields(graph.nodes[name], {"weight": weight})
    return assemble(graph, dt=network.dt, reset=network.reset)


def _editable(node: Node) -> bool:
    """Whether rows and columns of the weights of a node belong to single neurons or channels."""
    if node.primitive in _CONVOLUTIONS:
        return int(node.parameters.groups) == 1
    return node.primitive in _DENSE and len(node.input_shape) == 1


def _by_channel(active: Mask) -> Mask:
    """Whether anything of a channel (of a vector: the value itself) is ever other than zero."""
    return np.asarray(active.reshape(len(active), -1).any(axis=1))


def _has_weights(node: Node, channels: int) -> Mask:
    """Whether a channel that enters has a weight; those of a flattened map lie one after the other."""
    there = np.asarray(node.parameters.weight) != 0
    return np.asarray(there.reshape(len(there), channels, -1).any(axis=(0, 2)))


def _remove(nodes: dict[str, Any], name: str, axis: int, mask: Mask, narrow: bool) -> None:
    """Take rows (axis 0: outputs) or columns (1: inputs) out of a layer, or set them to zero."""
    node = nodes[name]
    fields = {"weight": node.weight} | ({"bias": node.bias} if axis == 0 and hasattr(node, "bias") else {})
    new = {}
    for field, values in fields.items():
        # Behind a Flatten, a channel stands for several columns in a row.
        chosen = np.repeat(mask, values.shape[axis] // len(mask))
        if narrow:
            new[field] = np.compress(~chosen, values, axis=axis)
        else:
            zeroed = np.array(values)
            zeroed[(slice(None),) * axis + (chosen,)] = 0
            new[field] = zeroed
    nodes[name] = _with_fields(node, new)


def _with_fields(node: Any, fields: Mapping[str, NDArray[Any]]) -> Any:
    """A node with other parameters, its shapes those of its weights."""
    clean = copy.copy(node)
    for field, values in fields.items():
        setattr(clean, field, values)
    if "weight" in fields:
        outputs, inputs = clean.weight.shape[:2]
        clean.input_type = {
            "input": _resized(clean.input_type["input"], inputs * getattr(clean, "groups", 1))
        }
        clean.output_type = {"output": _resized(clean.output_type["output"], outputs)}
    return clean


def _resized(shape: NDArray[Any], channels: int) -> NDArray[Any]:
    """A shape with another number of channels."""
    return np.array([channels, *np.asarray(shape)[1:]])


def _with_channels(node: Any, kept: Mask) -> Any:
    """A pooling or a Flatten of some of the channels."""
    clean = copy.copy(node)
    arriving = np.asarray(clean.input_type["input"])
    leaving = np.asarray(clean.output_type["output"])
    share = leaving[0] // arriving[0]
    clean.input_type = {"input": _resized(arriving, int(kept.sum()))}
    clean.output_type = {"output": _resized(leaving, int(kept.sum()) * int(share))}
    return clean


def _with_neurons(node: Any, kept: Mask) -> Any:
    """A layer of neurons with some of them, or with some of its channels."""
    clean = copy.copy(node)
    shape = tuple(int(size) for size in np.asarray(node.output_type["output"]))
    for field, values in vars(node).items():
        if isinstance(values, np.ndarray) and values.shape == shape:
            setattr(clean, field, values[kept])
    size = _resized(np.array(shape), int(kept.sum()))
    clean.input_type, clean.output_type = {"input": size}, {"output": size.copy()}
    return clean


def rounded(weight: NDArray[np.generic], bits: int) -> NDArray[np.float32]:
    """Weights on the 2^bits - 1 levels that lie evenly around 0, up to the largest of the layer."""
    values = np.asarray(weight, dtype=np.float64)
    step = float(np.abs(values).max(initial=0.0)) / (2 ** (bits - 1) - 1)
    return values.astype(np.float32) if step == 0 else (np.rint(values / step) * step).astype(np.float32)
