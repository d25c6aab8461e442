"""From a `nir.NIRGraph` to a `Network`: flatten, check, order, and decide what each node emits.

Nested graphs are made flat: the nodes of graph "a" inside another are called "a.name". NIR has a place for
neither the time step nor the reset nor the late edges of a cycle: they come from the metadata, or from the
reader. Nothing is guessed where a guess would change spikes, or wanted where nothing depends on it.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.flow import (
    Edge,
    FlatGraph,
    Order,
    at_node,
    drop_batch,
    order_nodes,
    shapes_of,
    signals_of,
    stated_metadata,
)
from nsc_deploy.graphs.formats.writers.diagnose import diagnose, refuse_cut
from nsc_deploy.graphs.formats.writers.recognise import Sign, sign_of
from nsc_deploy.graphs.network import FLOAT_ROUNDING, RESETTING, STATEFUL, Network, Node, Reset, Signal
from nsc_deploy.graphs.primitives import normalise, widen
from nsc_deploy.io.text import shown

MAX_DEPTH = 16
MAX_NODES = 20_000


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
    if where is None:
        return _assemble(graph, dt, reset, signal)
    with in_file(where):
        network = _assemble(graph, dt, reset, signal)
    return replace(network, diagnostics=tuple(replace(one, where=str(where)) for one in network.diagnostics))


@contextmanager
def in_file(path: object) -> Iterator[None]:
    """Put the file in front of what is wrong with its graph, where the message does not name it yet."""
    try:
        yield
    except GraphError as error:
        if error.where is not None and str(path) in error.where:
            raise
        where = path if error.where is None else f"{path}: {error.where}"
        raise GraphError(error.problem, where=where, hint=error.hint) from error


def _assemble(graph: nir.NIRGraph, dt: float | None, reset: Reset | None, signal: Signal | None) -> Network:
    read, edges = flatten(graph)
    nodes = {name: at_node(name, normalise, node) for name, node in read.items()}
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        sources[target].append(source)
    inputs = {name: tuple(names) for name, names in sources.items()}
    _check_ends(kinds, inputs)
    metadata = stated_metadata(graph)
    flat = FlatGraph(nodes, inputs, metadata, dt=dt)
    refuse_cut(flat)
    sign = None if flat.own else sign_of(flat)
    _refuse_unstated(metadata, dt, reset, flat, sign)
    step = time_step(metadata, dt, needed=not STATEFUL.isdisjoint(kinds.values()), sign=sign)
    how = reset_of(metadata, reset, flat.of(*RESETTING).values(), sign=sign)
    late = late_edges(metadata)
    order = _order(nodes, edges, step, late)
    turned = order if late else _order(nodes, edges, step, late, backwards=True)
    trimmed, batch = drop_batch(nodes, inputs)
    stated = {name: trimmed[name] for group in order.components for name in group}
    ordered, shapes = shapes_of(stated, inputs, batch)
    emits = signals_of(ordered, inputs, signal)
    full = {name: widen(node, shapes[name][0]) for name, node in ordered.items()}
    flat = replace(
        flat,
        dt=step,
        back_edges=order.back_edges,
        undecided=order.back_edges ^ turned.back_edges,
        widened=tuple(name for name in ordered if full[name] is not ordered[name]),
        batch=batch,
        cut=tuple(name for name in ordered if ordered[name] is not stated[name]),
    )
    return Network(
        tuple(Node(name, kinds[name], full[name], inputs[name], *shapes[name], emits[name]) for name in full),
        step,
        how,
        order.back_edges,
        order.components,
        metadata,
        diagnose(flat, sign),
    )


def _refuse_unstated(
    metadata: Mapping[str, Any], dt: float | None, reset: Reset | None, flat: FlatGraph, sign: Sign | None
) -> None:
    """Where step and reset are both needed and both missing, ask for them at once."""
    resetting = flat.of(*RESETTING).values()
    lacking = "dt" not in metadata and dt is None and "reset" not in metadata and reset is None
    if not lacking or not resetting or any(np.any(node.v_reset) for node in resetting):
        return
    raise GraphError(
        "the file does not state its time step, and does not state how its neurons reset; their spikes "
        "depend on both",
        hint=f"It looks like a file of {sign.writer}: give --dt {sign.hint_dt}; --reset {sign.hint_reset}."
        if sign
        else "Name both: --dt 0.001 (seconds, as in training) --reset zero (to the reset potential), or "
        "--reset subtract (less the threshold).",
    )


def _check_ends(kinds: Mapping[str, str], inputs: Mapping[str, tuple[str, ...]]) -> None:
    for kind in ("Input", "Output"):
        if kind not in kinds.values():
            raise GraphError(f"the graph has no {kind} node")
    for name, sources in inputs.items():
        if kinds[name] == "Input":
            if sources:
                raise GraphError(f"an Input cannot take in '{sources[0]}'", where=f"node '{name}'")
        elif not sources:
            raise GraphError(
                "has no input",
                where=f"node '{name}'",
                hint="Connect it to an Input node or take it out; an exporter that lost a sum such as "
                "h + f(h) leaves such nodes (Norse, snnTorch).",
            )


def _order(
    nodes: Mapping[str, Any],
    edges: Sequence[Edge],
    dt: float | None,
    late: frozenset[Edge],
    *,
    backwards: bool = False,
) -> Order:
    """The order of the nodes; `backwards` walks the edges in the opposite order of the file."""
    kinds = {name: type(node).__name__ for name, node in nodes.items()}
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in reversed(edges) if backwards else edges:
        targets[source].append(target)
    delays = {
        name
        for name, node in nodes.items()
        if kinds[name] == "Delay" and dt is not None and (np.asarray(node.delay) > dt / 2).all()
    }
    neurons = {name for name, kind in kinds.items() if kind in STATEFUL - {"Delay"}}
    inputs = [name for name, kind in kinds.items() if kind == "Input"]
    return order_nodes(inputs[::-1] if backwards else inputs, targets, delays, neurons, late)


def flatten(graph: nir.NIRGraph) -> tuple[dict[str, Any], list[Edge]]:
    """Dissolve nested graphs; edges lead through their Input and Output nodes, which go.

    Returns:
        The `nir` nodes by name, none of them a graph, and the edges in the order of the file.

    Raises:
        GraphError: an edge to a node that is not there, an edge twice, graphs nested without end or with
            several inputs or outputs, two nodes of one name.
    """
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    _collect(graph, "", 0, nodes, edges)
    edges = _without_ports(nodes, edges)
    twice = next((edge for edge, times in Counter(edges).items() if times > 1), None)
    if twice is not None:
        raise GraphError(f"the edge from '{twice[0]}' to '{twice[1]}' is there twice")
    return nodes, edges


def _collect(graph: Any, prefix: str, depth: int, nodes: dict[str, Any], edges: list[Edge]) -> None:
    if depth > MAX_DEPTH:
        raise GraphError(f"graphs are nested more than {MAX_DEPTH} deep")
    entrances: dict[str, str] = {}
    exits: dict[str, str] = {}
    for name, node in graph.nodes.items():
        full = prefix + name
        if isinstance(node, nir.NIRGraph):
            entrances[name] = f"{full}.{_end(node, nir.Input, full)}"
            exits[name] = f"{full}.{_end(node, nir.Output, full)}"
            _collect(node, f"{full}.", depth + 1, nodes, edges)
        elif full in nodes:
            raise GraphError(f"two nodes are called '{full}'")
        else:
            nodes[full] = _Port(node) if depth and isinstance(node, nir.Input | nir.Output) else node
    if len(nodes) > MAX_NODES:
        raise GraphError(f"has more than {MAX_NODES} nodes")
    for source, target in graph.edges:
        for name in (source, target):
            if name not in graph.nodes:
                raise GraphError(f"an edge names the node '{prefix}{name}', which is not there")
        edges.append((exits.get(source, prefix + source), entrances.get(target, prefix + target)))


@dataclass(frozen=True)
class _Port:
    """Stands for the Input or Output of a nested graph until `_without_ports` has taken it out."""

    node: Any


def _end(graph: Any, kind: Any, full: str) -> str:
    found: list[str] = [name for name, node in graph.nodes.items() if isinstance(node, kind)]
    if len(found) != 1:
        raise GraphError(
            f"is a graph with {len(found)} {kind.__name__} nodes, so its edges do not say which is meant",
            where=f"node '{full}'",
            hint="Give the nested graph one Input and one Output, or flatten it in the tool that wrote it.",
        )
    return found[0]


def _without_ports(nodes: dict[str, Any], edges: list[Edge]) -> list[Edge]:
    for name, port in [(name, node) for name, node in nodes.items() if isinstance(node, _Port)]:
        del nodes[name]
        sources = [source for source, target in edges if target == name and source != name]
        targets = [target for source, target in edges if source == name and target != name]
        _refuse_loose(name, port, sources, targets)
        edges = [bridged for edge in edges for bridged in _bridge(edge, name, targets)]
    return edges


def _refuse_loose(name: str, port: _Port, sources: list[str], targets: list[str]) -> None:
    """A port with edges on one side alone takes them with it, and nobody would miss them."""
    if (targets and not sources) or (sources and not targets and isinstance(port.node, nir.Input)):
        ends = f"leads on to '{targets[0]}'" if targets else f"takes in '{sources[0]}'"
        lost = "nothing enters it" if targets else "nothing inside reads it"
        raise GraphError(
            f"{ends}, and {lost}", where=f"node '{name}'", hint="Add the missing edge, or take it out."
        )


def _bridge(edge: Edge, port: str, targets: list[str]) -> list[Edge]:
    """An edge into the port becomes edges to all its targets; an edge out of it goes."""
    source, target = edge
    if source == port:
        return []
    return [(source, onward) for onward in targets] if target == port else [edge]


def time_step(
    metadata: Mapping[str, Any], dt: float | None, *, needed: bool, sign: Sign | None = None
) -> float | None:
    """Seconds a step.

    Args:
        metadata: of the graph.
        dt: what the reader gives.
        needed: whether anything in the graph depends on it.
        sign: which framework the graph looks like.

    Raises:
        GraphError: needed and not known, stated otherwise, or not a positive number.
    """
    stated = _number(metadata, "dt")
    if stated is not None and dt is not None and not math.isclose(stated, dt, rel_tol=FLOAT_ROUNDING):
        raise GraphError(
            f"the file states a time step of {stated:g} s, and {dt:g} s is given",
            hint="Leave --dt out, take a recording with the step of the graph, or change the file.",
        )
    dt = dt if stated is None else stated
    if dt is None and needed:
        raise GraphError(
            "the file does not state its time step, and its neurons or delays depend on it",
            hint=f"It looks like a file of {sign.writer}: give --dt {sign.hint_dt}."
            if sign
            else "Name the step the network was trained with, in seconds: --dt 0.001",
        )
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise GraphError(f"the time step is {dt}", hint="It is a positive number of seconds.")
    return dt


def reset_of(
    metadata: Mapping[str, Any], reset: Reset | None, resetting: Iterable[Any], *, sign: Sign | None = None
) -> Reset | None:
    """How neurons reset; None where none does.

    A reset potential other than 0 leaves one possibility: there is none in a reset by subtraction.

    Args:
        metadata: of the graph.
        reset: what the reader gives.
        resetting: the normalised `nir` nodes that reset.
        sign: which framework the graph looks like.

    Raises:
        GraphError: needed and not known, stated otherwise, unknown, or one step late.
    """
    nodes = list(resetting)
    if not nodes:
        return None
    if bool(np.any(metadata.get("reset_delay", False))):
        raise GraphError(
            "its neurons reset one step after the spike (reset_delay), which this tool cannot represent",
            hint="Train with the reset in the step of the spike (snnTorch: reset_delay=False).",
        )
    stated = metadata.get("reset")
    if stated is None and reset is None:
        if any(np.any(node.v_reset) for node in nodes):
            return Reset.ZERO
        raise GraphError(
            "the file does not state how its neurons reset, and their spikes depend on it",
            hint="Name it: --reset zero (to the reset potential) or --reset subtract (less the threshold)."
            + (f"\nIt looks like a file of {sign.writer}: then give {sign.hint_reset}." if sign else ""),
        )
    return _agreed_reset(stated, reset)


def late_edges(metadata: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The (source, target) pairs that carry the step before, where the graph states them; else none.

    Which edge of a cycle is the late one follows from the order of the edges in a file, and a file written
    anew has another order; so a graph of this tool says it.

    Raises:
        GraphError: the entry is no list of pairs.
    """
    stated = metadata.get("late_edges", "[]")
    try:
        pairs = json.loads(stated)
        return frozenset((str(source), str(target)) for source, target in pairs)
    except (TypeError, ValueError, RecursionError) as error:
        raise GraphError(
            "its metadata 'late_edges' are no list of pairs", hint="Take them out to have them chosen anew."
        ) from error


def _agreed_reset(stated: Any, reset: Reset | None) -> Reset:
    try:
        how = Reset(str(reset if stated is None else stated))
    except ValueError as error:
        raise GraphError(f"the reset {shown(stated)} is neither zero nor subtract") from error
    if reset is not None and how is not reset:
        raise GraphError(
            f"the file states the reset '{how}' and '{reset}' was asked for", hint="Leave --reset out."
        )
    return how


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    if key not in metadata:
        return None
    value = np.asarray(metadata[key])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise GraphError(f"the metadata '{key}' is {shown(metadata[key])} where a number is wanted")
    return float(value.reshape(()))
