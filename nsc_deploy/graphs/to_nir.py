"""From a `Network` back to a `nir.NIRGraph` that other tools understand."""

import copy
import json
from typing import Any

import nir
import numpy as np

import nsc_deploy
from nsc_deploy.graphs.network import Network, Node, Reset


def to_nir(network: Network) -> nir.NIRGraph:
    """A network as a flat NIR graph, every shape stated; time step, reset and units are in the metadata."""
    metadata = {**network.metadata, **graph_metadata(network.dt, network.reset)}
    metadata.pop("late_edges", None)
    if network.back_edges:
        metadata["late_edges"] = json.dumps(sorted(network.back_edges))
    edges = [(source, node.name) for node in network.nodes for source in node.inputs]
    nodes = {node.name: node_to_nir(node) for node in network.nodes}
    return nir.NIRGraph(nodes, edges, metadata=metadata, type_check=False)


def graph_metadata(dt: float | None, reset: Reset | None) -> dict[str, Any]:
    """What the metadata of a graph of this tool holds."""
    metadata: dict[str, Any] = {"units": "s", "generator": f"nsc-deploy {nsc_deploy.__version__}"}
    if dt is not None:
        metadata["dt"] = float(dt)
    if reset is not None:
        metadata |= {"reset": reset.value, "reset_delay": False}
    return metadata


def node_to_nir(node: Node) -> nir.NIRNode:
    """One node, its shapes filled in where the file it came from left them open."""
    clean = copy.copy(node.parameters)
    clean.metadata = dict(clean.metadata)
    clean.input_type = {"input": np.array(node.input_shape)}
    clean.output_type = {"output": np.array(node.output_shape)}
    if node.primitive == "Input":
        clean.metadata["signal"] = node.emits.value
    elif node.primitive == "Conv1d":
        clean.input_shape = node.input_shape[1]
        clean.stride, clean.dilation = clean.stride[0], clean.dilation[0]
        clean.padding = clean.padding if isinstance(clean.padding, str) else clean.padding[0]
    elif node.primitive == "Conv2d":
        clean.input_shape = node.input_shape[1:]
    elif node.primitive.endswith("Pool2d"):
        for field in ("kernel_size", "stride", "padding"):
            setattr(clean, field, np.array(getattr(clean, field)))
    return clean
