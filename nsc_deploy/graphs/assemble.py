"""From a `nir.NIRGraph` to a `Network`: flatten, check, order, and decide what each node emits."""

import math
from collections.abc import Mapping
from typing import Any

import nir
import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.nested import Flat, flatten
from nsc_deploy.graphs.network import RESETTING, SPIKING, STATEFUL, Network, Node, Reset, Shape
from nsc_deploy.graphs.order import Order, order_nodes
from nsc_deploy.graphs.parameters import checked
from nsc_deploy.graphs.shapes import node_shapes
from nsc_deploy.graphs.signal import Signal, joined


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
        return _assemble(graph, dt, reset, signal)
    except GraphError as error:
        if where is None or error.where == str(where):
            raise
        place = str(where) if error.where is None else f"{where}: {error.where}"
        raise GraphError(error.problem, where=place, remedy=error.remedy) from error


def _assemble(graph: nir.NIRGraph, dt: float | None, reset: Reset | None, signal: Signal | None) -> Network:
    flat = flatten(graph)
    parameters = {name: _at(name, checked, node) for name, node in flat.nodes.items()}
    primitives = {name: type(node).__name__ for name, node in parameters.items()}
    _check_ends(flat, primitives)
    metadata = dict(graph.metadata) if isinstance(graph.metadata, Mapping) else {}
    step = _time_step(metadata, dt, needed=any(kind in STATEFUL for kind in primitives.values()))
    how = _reset(metadata, reset, needed=any(kind in RESETTING for kind in primitives.values()))
    order = _order(flat, parameters, primitives, step)
    names = [name for group in order.components for name in group]
    shapes = _all_shapes(names, flat.inputs, parameters, primitives)
    emits = _all_signals(names, flat.inputs, parameters, primitives, signal)
    nodes = tuple(
        Node(name, primitives[name], parameters[name], flat.inputs[name], *shapes[name], emits[name])
        for name in names
    )
    return Network(nodes, step, how, order.back_edges, order.components, metadata)


def _at(name: str, call: Any, *arguments: Any) -> Any:
    """Call, and put the node's name on a complaint."""
    try:
        return call(*arguments)
    except GraphError as error:
        raise GraphError(error.problem, where=f"node '{name}'", remedy=error.remedy) from error


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
                "has no input", where=f"node '{name}'", remedy="Connect it to an Input node or take it out."
            )


def _time_step(metadata: Mapping[str, Any], asked: float | None, *, needed: bool) -> float | None:
    stated = _number(metadata, "dt")
    if stated is not None and asked is not None and not math.isclose(stated, asked, rel_tol=1e-9):
        raise GraphError(
            f"the file states a time step of {stated:g} s and {asked:g} s was asked for",
            remedy="Leave --dt out, or change the file.",
        )
    dt = asked if stated is None else stated
    if dt is None and needed:
        raise GraphError(
            "the file does not state its time step, and its neurons or delays depend on it",
            remedy="Name the step the network was trained with, in seconds: --dt 0.001",
        )
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise GraphError(f"the time step is {dt}", remedy="It is a positive number of seconds.")
    return dt


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    if key not in metadata:
        return None
    value = np.asarray(metadata[key])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise GraphError(f"the metadata '{key}' is {metadata[key]!r} where a number is wanted")
    return float(value.reshape(()))


def _reset(metadata: Mapping[str, Any], asked: Reset | None, *, needed: bool) -> Reset | None:
    stated = metadata.get("reset")
    if not needed:
        return None
    if bool(np.any(metadata.get("reset_delay", False))):
        raise GraphError(
            "its neurons reset one step after the spike (reset_delay), which this tool cannot represent",
            remedy="Train with the reset in the step of the spike (snnTorch: reset_delay=False).",
        )
    if stated is None and asked is None:
        raise GraphError(
            "the file does not state how its neurons reset, and their spikes depend on it",
            remedy="Name it: --reset zero (to the reset potential) or --reset subtract (less the threshold).",
        )
    try:
        how = Reset(str(asked if stated is None else stated))
    except ValueError as error:
        raise GraphError(f"the reset {stated!r} is neither zero nor subtract") from error
    if asked is not None and how is not asked:
        raise GraphError(
            f"the file states the reset '{how}' and '{asked}' was asked for", remedy="Leave --reset out."
        )
    return how


def _order(
    flat: Flat, parameters: Mapping[str, Any], primitives: Mapping[str, str], dt: float | None
) -> Order:
    targets: dict[str, list[str]] = {name: [] for name in primitives}
    for source, target in flat.edges:
        targets[source].append(target)
    delays = {
        name
        for name, kind in primitives.items()
        if kind == "Delay" and dt is not None and (np.asarray(parameters[name].delay) > dt / 2).all()
    }
    neurons = {name for name, kind in primitives.items() if kind in STATEFUL - {"Delay"}}
    inputs = [name for name, kind in primitives.items() if kind == "Input"]
    return order_nodes(inputs, targets, delays, neurons)


def _all_shapes(
    names: list[str],
    inputs: Mapping[str, tuple[str, ...]],
    parameters: Mapping[str, Any],
    primitives: Mapping[str, str],
) -> dict[str, tuple[Shape, Shape]]:
    shapes: dict[str, tuple[Shape, Shape]] = {}
    for name in names:
        known = [source for source in inputs[name] if source in shapes]
        arriving = shapes[known[0]][1] if known else None
        shapes[name] = _at(name, node_shapes, primitives[name], parameters[name], arriving)
    for name in names:
        for source in inputs[name]:
            given, wanted = shapes[source][1], shapes[name][0]
            if given != wanted:
                raise GraphError(
                    f"takes in the shape {wanted} but '{source}' gives {given}", where=f"node '{name}'"
                )
    return shapes


def _all_signals(
    names: list[str],
    inputs: Mapping[str, tuple[str, ...]],
    parameters: Mapping[str, Any],
    primitives: Mapping[str, str],
    asked: Signal | None,
) -> dict[str, Signal]:
    entering = {
        name: _at(name, _input_signal, parameters[name].metadata, asked)
        for name in names
        if primitives[name] == "Input"
    }
    return settled_signals({name: primitives[name] for name in names}, inputs, entering)


def settled_signals(
    primitives: Mapping[str, str], inputs: Mapping[str, tuple[str, ...]], entering: Mapping[str, Signal]
) -> dict[str, Signal]:
    """What each node emits; a cycle of passing nodes is settled by repeating until nothing changes.

    Args:
        primitives: of each node, in the order of computation.
        inputs: the sources of each node.
        entering: what the Input nodes emit.
    """
    emits = dict.fromkeys(primitives, Signal.EVENTS) | dict(entering)
    settled = False
    while not settled:
        settled = True
        for name, primitive in primitives.items():
            if primitive == "Input":
                continue
            found = _emitted(primitive, [emits[source] for source in inputs[name]])
            settled &= found is emits[name]
            emits[name] = found
    return emits


def _emitted(primitive: str, arriving: list[Signal]) -> Signal:
    if primitive in SPIKING:
        return Signal.EVENTS
    carried = joined(arriving)
    if primitive in {"Output", "Delay", "Flatten"}:
        return carried
    if primitive == "SumPool2d" and carried is not Signal.REAL:
        return Signal.GRADED
    return Signal.REAL


def _input_signal(metadata: Any, asked: Signal | None) -> Signal:
    stated = metadata.get("signal") if isinstance(metadata, Mapping) else None
    if stated is None:
        return asked or Signal.REAL
    try:
        signal = Signal(stated)
    except ValueError as error:
        raise GraphError(
            f"its metadata 'signal' is {stated!r}", remedy="It is events, graded or real."
        ) from error
    if asked is not None and asked is not signal:
        raise GraphError(
            f"takes in {signal} by the file and {asked} by the option", remedy="Leave the option out."
        )
    return signal
