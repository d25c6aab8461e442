"""What a graph file holds, as values that text, JSON and a picture are made from."""

from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.graphs.connectivity import synapse_count
from nsc_deploy.graphs.formats.nir import read_network
from nsc_deploy.graphs.inspect.description import Description, NodeView, plain, range_of
from nsc_deploy.graphs.network import STATEFUL, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import array_fields


def describe(
    path: Path, *, dt: float | None = None, reset: Reset | None = None, signal: Signal | None = None
) -> Description:
    """Read and describe a .nir or .onnx file.

    Args:
        path: the file; the name decides the format.
        dt: for a NIR file that does not state it.
        reset: for a NIR file that does not state it.
        signal: for a NIR file that does not state it.

    Raises:
        GraphError: as the readers do.
    """
    if path.suffix.lower() == ".onnx":
        from nsc_deploy.graphs.inspect.describe_onnx import describe_onnx

        return describe_onnx(path)
    return describe_network(read_network(path, dt=dt, reset=reset, signal=signal), str(path))


def describe_network(network: Network, file: str) -> Description:
    """Describe a network that was read already."""
    views = tuple(_view(node, network) for node in network.nodes)
    return Description(
        file=file,
        format="NIR",
        dt=network.dt,
        reset=None if network.reset is None else network.reset.value,
        metadata={key: plain(value) for key, value in network.metadata.items()},
        neurons=sum(view.neurons for view in views),
        synapses=sum(view.synapses for view in views),
        parameters=sum(prod(array.shape) for view in views for array in view.parameters),
        nodes=views,
        warnings=network.diagnostics,
    )


def _view(node: Node, network: Network) -> NodeView:
    neural = node.spiking or (node.stateful and node.primitive != "Delay")
    weight = getattr(node.parameters, "weight", None)
    return NodeView(
        name=node.name,
        primitive=node.primitive,
        inputs=node.inputs,
        delayed_inputs=tuple(source for source in node.inputs if (source, node.name) in network.back_edges),
        input_shape=node.input_shape,
        output_shape=node.output_shape,
        emits=node.emits.value,
        neurons=prod(node.output_shape) if neural else 0,
        synapses=synapse_count(node),
        zero_weights=None if weight is None else float((weight == 0).mean()),
        parameters=tuple(
            range_of(name, getattr(node.parameters, name)) for name in array_fields(node.primitive)
        ),
        settings=_settings(node, network.dt),
    )


def _settings(node: Node, dt: float | None) -> dict[str, Any]:
    """What is no array, and what the time step makes of the time constants."""
    names = ("stride", "padding", "dilation", "groups", "kernel_size", "start_dim", "end_dim")
    settings = {
        name: plain(getattr(node.parameters, name)) for name in names if hasattr(node.parameters, name)
    }
    if dt is None or node.primitive not in STATEFUL:
        return settings
    for field, label in (("tau", "decay"), ("tau_mem", "decay"), ("tau_syn", "synaptic decay")):
        if hasattr(node.parameters, field):
            settings[label] = _span(1 - dt / getattr(node.parameters, field))
    if node.primitive == "Delay":
        settings["steps"] = _span(node.parameters.delay / dt)
    return settings


def _span(values: NDArray[Any]) -> float | list[float]:
    low, high = round(float(values.min()), 9), round(float(values.max()), 9)
    return low if low == high else [low, high]
