"""From a `nir.NIRGraph` to a `Network`: flatten, check, order, and decide what each node emits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import nir
import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.foreign.detectors import cautions_of
from nsc_deploy.graphs.foreign.loose import refuse_cut
from nsc_deploy.graphs.foreign.seen import Seen
from nsc_deploy.graphs.foreign.writers import sign_of
from nsc_deploy.graphs.nested import Flat, flatten
from nsc_deploy.graphs.network import RESETTING, STATEFUL, Network, Node, Reset
from nsc_deploy.graphs.order import Order, order_nodes
from nsc_deploy.graphs.parameters import checked
from nsc_deploy.graphs.propagate import all_shapes, all_signals, at_node
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.graphs.stated import late_edges, stated_reset, time_step
from nsc_deploy.graphs.widen import widened, without_batch


def assemble(
    graph: nir.NIRGraph,
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    signal: Signal | None = None,
    where: object | None = None,
) -> Network:
    """Check a NIR graph and bring it into the form the rest of the package works on.

    Args:
        graph: nested graphs are allowed.
        dt: length of a step in seconds; needed where the metadata of the graph has none.
        reset: needed where the metadata has none and a neuron resets.
        signal: what enters at the Input nodes; else their metadata says it, else real values.
        where: the file, for messages.

    Raises:
        GraphError: anything that cannot be represented exactly, with the node and the way out.
    """
    try:
        network = _assemble(graph, dt, reset, signal)
    except GraphError as error:
        if where is None or error.where == str(where):
            raise
        place = str(where) if error.where is None else f"{where}: {error.where}"
        raise GraphError(error.problem, where=place, remedy=error.remedy) from error
    if where is None:
        return network
    return replace(network, cautions=tuple(replace(one, where=str(where)) for one in network.cautions))


def _assemble(graph: nir.NIRGraph, dt: float | None, reset: Reset | None, signal: Signal | None) -> Network:
    flat = flatten(graph)
    parameters = {name: at_node(name, checked, node) for name, node in flat.nodes.items()}
    kinds = {name: type(node).__name__ for name, node in parameters.items()}
    _check_ends(flat, kinds)
    metadata = dict(graph.metadata) if isinstance(graph.metadata, Mapping) else {}
    seen = Seen(parameters, flat.inputs, metadata)
    refuse_cut(seen)
    sign = sign_of(seen)
    step = time_step(metadata, dt, needed=not STATEFUL.isdisjoint(kinds.values()), sign=sign)
    how = stated_reset(metadata, reset, seen.of(*RESETTING).values(), sign=sign)
    late = late_edges(metadata)
    order = _order(flat, parameters, kinds, step, late)
    turned = order if late else _order(flat, parameters, kinds, step, late, backwards=True)
    kinds = {name: kinds[name] for group in order.components for name in group}
    trimmed, batch = without_batch(parameters, flat.inputs)
    shapes = all_shapes(kinds, flat.inputs, trimmed)
    emits = all_signals(kinds, flat.inputs, trimmed, signal)
    full = {name: widened(trimmed[name], shapes[name][0]) for name in kinds}
    nodes = tuple(
        Node(name, kinds[name], full[name], flat.inputs[name], *shapes[name], emits[name]) for name in kinds
    )
    alone = tuple(name for name in kinds if full[name] is not trimmed[name])
    seen = replace(
        seen,
        dt=step,
        back_edges=order.back_edges,
        undecided=order.back_edges ^ turned.back_edges,
        widened=alone,
        batch=batch,
    )
    return Network(nodes, step, how, order.back_edges, order.components, metadata, cautions_of(seen))


def _check_ends(flat: Flat, primitives: Mapping[str, str]) -> None:
    for kind in ("Input", "Output"):
        if kind not in primitives.values():
            raise GraphError(f"the graph has no {kind} node")
    for name, sources in flat.inputs.items():
        if primitives[name] == "Input":
            if sources:
                raise GraphError(f"an Input cannot take in '{sources[0]}'", where=f"node '{name}'")
        elif not sources:
            raise GraphError(
                "has no input",
                where=f"node '{name}'",
                remedy="Connect it to an Input node or take it out; an exporter that lost a sum such as "
                "h + f(h) leaves such nodes (Norse, snnTorch).",
            )


def _order(
    flat: Flat,
    parameters: Mapping[str, Any],
    primitives: Mapping[str, str],
    dt: float | None,
    late: frozenset[tuple[str, str]],
    *,
    backwards: bool = False,
) -> Order:
    """The order of the nodes; `backwards` walks the edges in the opposite order of the file."""
    targets: dict[str, list[str]] = {name: [] for name in primitives}
    for source, target in reversed(flat.edges) if backwards else flat.edges:
        targets[source].append(target)
    delays = {
        name
        for name, kind in primitives.items()
        if kind == "Delay" and dt is not None and (np.asarray(parameters[name].delay) > dt / 2).all()
    }
    neurons = {name for name, kind in primitives.items() if kind in STATEFUL - {"Delay"}}
    inputs = [name for name, kind in primitives.items() if kind == "Input"]
    return order_nodes(inputs[::-1] if backwards else inputs, targets, delays, neurons, late)
