"""From a `nir.NIRGraph` to a `Network`: flatten, check, order, and decide what each node emits.

Nested graphs made flat: the nodes of graph "a" inside another are called "a.name".

Time step, reset and late edges of a graph: what its metadata state, and what the reader asks for.

NIR has a place for none of them. Nothing is guessed where a guess would change spikes, and nothing is asked
for where nothing depends on it.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import nir
import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.formats.writers import diagnostics_of
from nsc_deploy.graphs.formats.writers.any import refuse_cut
from nsc_deploy.graphs.formats.writers.recognise import Seen, Sign, sign_of
from nsc_deploy.graphs.network import RESETTING, STATEFUL, Network, Node, Reset, Signal
from nsc_deploy.graphs.order import Order, order_nodes
from nsc_deploy.graphs.parameters import checked, widened, without_batch
from nsc_deploy.graphs.shapes import all_shapes, all_signals, at_node
from nsc_deploy.io.text import shown


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
        raise GraphError(error.problem, where=place, hint=error.hint) from error
    if where is None:
        return network
    return replace(network, diagnostics=tuple(replace(one, where=str(where)) for one in network.diagnostics))


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
    return Network(nodes, step, how, order.back_edges, order.components, metadata, diagnostics_of(seen))


Edge = tuple[str, str]


@dataclass(frozen=True)
class Flat:
    """Nodes and edges with nothing nested.

    Attributes:
        nodes: `nir` nodes by name, none of them a graph.
        edges: (source, target), in the order of the file.
        inputs: the sources of each node, in the order of the edges.
    """

    nodes: Mapping[str, Any]
    edges: tuple[Edge, ...]
    inputs: Mapping[str, tuple[str, ...]]


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
                hint="Connect it to an Input node or take it out; an exporter that lost a sum such as "
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


MAX_DEPTH = 16
MAX_NODES = 20_000


def flatten(graph: nir.NIRGraph) -> Flat:
    """Dissolve nested graphs; their Input and Output nodes become wires.

    Raises:
        GraphError: an edge to a node that is not there, an edge twice, graphs nested without end or with
            several inputs or outputs, two nodes of one name.
    """
    nodes: dict[str, Any] = {}
    edges: list[Edge] = []
    _collect(graph, "", 0, nodes, edges)
    edges = _without_wires(nodes, edges)
    twice = next((edge for edge, times in Counter(edges).items() if times > 1), None)
    if twice is not None:
        raise GraphError(f"the edge from '{twice[0]}' to '{twice[1]}' is there twice")
    inputs: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        inputs[target].append(source)
    return Flat(nodes, tuple(edges), {name: tuple(sources) for name, sources in inputs.items()})


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
            nodes[full] = _Wire(node) if depth and isinstance(node, nir.Input | nir.Output) else node
    if len(nodes) > MAX_NODES:
        raise GraphError(f"has more than {MAX_NODES} nodes")
    for source, target in graph.edges:
        for name in (source, target):
            if name not in graph.nodes:
                raise GraphError(f"an edge names the node '{prefix}{name}', which is not there")
        edges.append((exits.get(source, prefix + source), entrances.get(target, prefix + target)))


@dataclass(frozen=True)
class _Wire:
    """Stands for the Input or Output of a nested graph until `_without_wires` has taken it out."""

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


def _without_wires(nodes: dict[str, Any], edges: list[Edge]) -> list[Edge]:
    for name, wire in [(name, node) for name, node in nodes.items() if isinstance(node, _Wire)]:
        del nodes[name]
        sources = [source for source, target in edges if target == name and source != name]
        targets = [target for source, target in edges if source == name and target != name]
        _refuse_loose(name, wire, sources, targets)
        edges = [bridged for edge in edges for bridged in _bridge(edge, name, targets)]
    return edges


def _refuse_loose(name: str, wire: _Wire, sources: list[str], targets: list[str]) -> None:
    """A wire with one end takes the edges at that end with it, and nobody would miss them."""
    if (targets and not sources) or (sources and not targets and isinstance(wire.node, nir.Input)):
        ends = f"leads on to '{targets[0]}'" if targets else f"takes in '{sources[0]}'"
        lost = "nothing enters it" if targets else "nothing inside reads it"
        raise GraphError(
            f"{ends}, and {lost}", where=f"node '{name}'", hint="Add the missing edge, or take it out."
        )


def _bridge(edge: Edge, wire: str, targets: list[str]) -> list[Edge]:
    """An edge into the wire becomes edges to all its targets; an edge out of it goes."""
    source, target = edge
    if source == wire:
        return []
    return [(source, onward) for onward in targets] if target == wire else [edge]


def time_step(
    metadata: Mapping[str, Any], asked: float | None, *, needed: bool, sign: Sign | None = None
) -> float | None:
    """Seconds a step.

    Args:
        metadata: of the graph.
        asked: by the reader.
        needed: whether anything in the graph depends on it.
        sign: which framework the graph looks like.

    Raises:
        GraphError: needed and not known, stated otherwise, or not a positive number.
    """
    stated = _number(metadata, "dt")
    if stated is not None and asked is not None and not math.isclose(stated, asked, rel_tol=1e-9):
        raise GraphError(
            f"the file states a time step of {stated:g} s, and {asked:g} s is given",
            hint="Leave --dt out, take a recording with the step of the graph, or change the file.",
        )
    dt = asked if stated is None else stated
    if dt is None and needed:
        raise GraphError(
            "the file does not state its time step, and its neurons or delays depend on it",
            hint="Name the step the network was trained with, in seconds: --dt 0.001"
            + (f"\nIt looks like a file of {sign.writer}: then give {sign.hint_dt}." if sign else ""),
        )
    if dt is not None and not (math.isfinite(dt) and dt > 0):
        raise GraphError(f"the time step is {dt}", hint="It is a positive number of seconds.")
    return dt


def stated_reset(
    metadata: Mapping[str, Any], asked: Reset | None, resetting: Iterable[Any], *, sign: Sign | None = None
) -> Reset | None:
    """How neurons reset; None where none does.

    A reset potential other than 0 leaves one possibility: there is none in a reset by subtraction.

    Args:
        metadata: of the graph.
        asked: by the reader.
        resetting: the checked `nir` nodes that reset.
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
    if stated is None and asked is None:
        if any(np.any(node.v_reset) for node in nodes):
            return Reset.ZERO
        raise GraphError(
            "the file does not state how its neurons reset, and their spikes depend on it",
            hint="Name it: --reset zero (to the reset potential) or --reset subtract (less the threshold)."
            + (f"\nIt looks like a file of {sign.writer}: then give {sign.hint_reset}." if sign else ""),
        )
    return _agreed(stated, asked)


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


def _agreed(stated: Any, asked: Reset | None) -> Reset:
    try:
        how = Reset(str(asked if stated is None else stated))
    except ValueError as error:
        raise GraphError(f"the reset {shown(stated)} is neither zero nor subtract") from error
    if asked is not None and how is not asked:
        raise GraphError(
            f"the file states the reset '{how}' and '{asked}' was asked for", hint="Leave --reset out."
        )
    return how


def _number(metadata: Mapping[str, Any], key: str) -> float | None:
    if key not in metadata:
        return None
    value = np.asarray(metadata[key])
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise GraphError(f"the metadata '{key}' is {shown(metadata[key])} where a number is wanted")
    return float(value.reshape(()))
