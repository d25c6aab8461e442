"""The NIR graph of what was seen of a torch module: the same nodes, sizes and weights."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import nir
import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.network import Network, Reset, Shape, Signal
from nsc_deploy.hooks.watch import INPUT, Seen, Watch

if TYPE_CHECKING:
    import torch


def network_of(watch: Watch, shapes: dict[str, Shape], dt: float, signal: Signal) -> Network:
    """The graph of a module.

    Only sizes, weights and connections of it are used: the module itself says what its neurons do, so their
    constants here are any that are valid.

    Args:
        watch: of one run.
        shapes: of the outputs of the input and each layer, for one sample at one step.
        dt: length of a step in seconds.
        signal: what enters.

    Raises:
        GraphError: no layer ran, or one that NIR cannot represent exactly.
    """
    if not watch.layers:
        raise GraphError("ran no layer that can be counted", where="module")
    nodes: dict[str, Any] = {INPUT: nir.Input(np.array(shapes[INPUT]), metadata={"signal": signal.value})}
    edges: list[tuple[str, str]] = []
    for name, seen in watch.layers.items():
        source = seen.source
        if _wants_flat(seen) and len(shapes[source]) > 1:
            source = f"{seen.source}.flat"
            if source not in nodes:
                nodes[source] = nir.Flatten({"input": np.array(shapes[seen.source])}, 0, -1)
                edges.append((seen.source, source))
        nodes[name] = _node(name, seen, shapes[name], dt)
        edges.append((source, name))
    for number, name in enumerate(_ends(watch)):
        output = f"output{number or ''}"
        nodes[output] = nir.Output(np.array(shapes[name]))
        edges.append((name, output))
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    return assemble(graph, dt=dt, reset=Reset.ZERO, signal=signal)


def _wants_flat(seen: Seen) -> bool:
    return seen.primitive == "Linear"


def _ends(watch: Watch) -> list[str]:
    sources = {seen.source for seen in watch.layers.values()}
    return [name for name in watch.layers if name not in sources]


def _node(name: str, seen: Seen, shape: Shape, dt: float) -> Any:
    if seen.primitive in {"Linear", "Conv1d", "Conv2d"}:
        return _weights(name, seen)
    ones = np.ones(shape)
    tau = 2 * dt * ones
    if seen.primitive == "IF":
        return nir.IF(r=ones / dt, v_threshold=ones)
    if seen.primitive == "LI":
        return nir.LI(tau=tau, r=ones, v_leak=0 * ones)
    if seen.primitive == "CubaLIF":
        return nir.CubaLIF(tau_syn=tau, tau_mem=tau, r=ones, v_leak=0 * ones, v_threshold=ones)
    return nir.LIF(tau=tau, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=0 * ones)


def _weights(name: str, seen: Seen) -> Any:
    module: Any = seen.module
    weight = _array(module.weight)
    bias = None if module.bias is None else _array(module.bias)
    if seen.primitive == "Linear":
        return nir.Linear(weight) if bias is None else nir.Affine(weight, bias)
    if module.padding_mode != "zeros":
        raise GraphError(f"pads with {module.padding_mode}, where zeros are wanted", where=f"module '{name}'")
    kind = nir.Conv1d if seen.primitive == "Conv1d" else nir.Conv2d
    one = seen.primitive == "Conv1d"
    size = seen.given[-1] if one else tuple(seen.given[-2:])

    def plain(value: Any) -> Any:
        return value if isinstance(value, str) or not one else value[0]

    return kind(
        input_shape=size,
        weight=weight,
        stride=plain(module.stride),
        padding=plain(module.padding),
        dilation=plain(module.dilation),
        groups=module.groups,
        bias=np.zeros(len(weight), dtype=np.float32) if bias is None else bias,
    )


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().cpu().numpy()


def flat_size(shape: Shape) -> Shape:
    """The shape of a flattened output."""
    return (prod(shape),)
