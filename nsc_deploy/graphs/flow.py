"""A graph laid flat, the order of its nodes, and the shapes and signals on its edges."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import SPIKING, Shape, Signal, join_signals
from nsc_deploy.graphs.primitives import Shapes, as_shape, node_shapes, wanted_dimensions, without_batch
from nsc_deploy.io.text import shown

Edge = tuple[str, str]
Inputs = Mapping[str, tuple[str, ...]]
_Result = TypeVar("_Result")
_WORDS = {Signal.EVENTS: "events", Signal.GRADED: "graded values", Signal.REAL: "real values"}
_OWN = "nsc-deploy"
_MEANING = frozenset({"dt", "reset", "reset_delay"})
_NEURONS = ("LIF", "IF", "CubaLIF", "LI", "CubaLI", "I")


@dataclass(frozen=True)
class FlatGraph:
    """A graph with nothing nested and normalised parameters, and what the reader was told to take it for.

    Attributes:
        parameters: the normalised `nir` nodes by name.
        inputs: the sources of each node.
        metadata: of the graph.
        dt: seconds a step, as stated or asked for; None where neither.
        back_edges: edges that carry the value of the step before.
        undecided: edges of cycles that are late or not by nothing but the order of the edges in the file.
        widened: nodes whose one number was taken for a whole layer.
        batch: size of a batch that was taken off the shapes of the inputs; None where there was none.
        cut: other nodes that stated a batch in front of their shapes, which was taken off.
    """

    parameters: Mapping[str, Any]
    inputs: Mapping[str, tuple[str, ...]]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    dt: float | None = None
    back_edges: frozenset[tuple[str, str]] = frozenset()
    undecided: frozenset[tuple[str, str]] = frozenset()
    widened: tuple[str, ...] = ()
    batch: int | None = None
    cut: tuple[str, ...] = ()

    @property
    def own(self) -> bool:
        """Whether this tool wrote the graph."""
        return is_own(self.metadata)

    def of(self, *primitives: str) -> dict[str, Any]:
        """The nodes of some primitives, by name."""
        return {name: node for name, node in self.parameters.items() if type(node).__name__ in primitives}

    @cached_property
    def neurons(self) -> dict[str, Any]:
        """Nodes with a membrane."""
        return self.of(*_NEURONS)

    @cached_property
    def targets(self) -> dict[str, tuple[str, ...]]:
        """By node, those that take in its output."""
        found: dict[str, list[str]] = {name: [] for name in self.parameters}
        for name, sources in self.inputs.items():
            for source in sources:
                found[source].append(name)
        return {name: tuple(names) for name, names in found.items()}


def is_own(metadata: Mapping[str, Any] | None) -> bool:
    """Whether the metadata of a graph say that this tool wrote it."""
    return str((metadata or {}).get("generator", "")).startswith(_OWN)


def stated_metadata(graph: Any, where: str = "") -> dict[str, Any]:
    """The metadata of a graph, with what graphs inside it state of step and reset.

    Raises:
        GraphError: an inner graph states another step or reset than the one around it.
    """
    stated = dict(graph.metadata) if isinstance(graph.metadata, Mapping) else {}
    for name, node in graph.nodes.items():
        if not hasattr(node, "nodes"):
            continue
        inner = stated_metadata(node, f"{where}{name}.")
        for key in _MEANING & inner.keys():
            if not _alike(stated.setdefault(key, inner[key]), inner[key]):
                raise GraphError(
                    f"is a graph of {key} {shown(inner[key])}, and of {shown(stated[key])} around it",
                    where=f"node '{where}{name}'",
                    hint="All neurons of a graph share them: split it, or correct the metadata.",
                )
    return stated


def _alike(one: Any, other: Any) -> bool:
    """Whether two metadata are one; numbers may be kept in single precision."""
    numbers = all(np.asarray(value).dtype.kind in "fiu" for value in (one, other))
    return bool(np.allclose(one, other, rtol=1e-6, atol=0.0) if numbers else np.array_equal(one, other))


@dataclass(frozen=True)
class Order:
    """Groups of nodes in the order of computation, and the edges that carry the step before."""

    components: tuple[tuple[str, ...], ...]
    back_edges: frozenset[Edge]


def order_nodes(
    inputs: Sequence[str],
    edges: Mapping[str, Sequence[str]],
    delays: Collection[str],
    neurons: Collection[str],
    late: Collection[Edge] = (),
) -> Order:
    """Put the nodes of a graph in order.

    The edges into a delay of a cycle bind nothing, for its output depends on earlier steps alone. In
    the cycles that are left, walked depth first from the inputs in the order of the edges, an edge back
    onto the path walked so far is a back edge, unless the graph states which edges are.

    Args:
        inputs: where the walk starts.
        edges: the targets of each node; every node is a key.
        delays: Delay nodes of at least one step in every element.
        neurons: other nodes with a state.
        late: the back edges, where the graph states them.

    Raises:
        GraphError: a cycle has neither a neuron nor a delay in it, or no stated back edge, or a stated one
            lies in no cycle.
    """
    groups = _strong_components(edges)
    group_of = {name: index for index, group in enumerate(groups) for name in group}
    bound = {
        source: [t for t in targets if not (t in delays and group_of[t] == group_of[source])]
        for source, targets in edges.items()
    }
    _refuse_loops_without_state(bound, neurons)
    for source, target in late:
        if target not in bound.get(source, ()) or group_of[source] != group_of[target]:
            raise _unfit(f"the edge from '{source}' to '{target}', which is in no cycle of the graph")
    walked = {source: [t for t in ends if (source, t) not in late] for source, ends in bound.items()}
    position, back = _walk([*inputs, *sorted(delays), *edges], walked)
    if late and back:
        raise _unfit(f"none in the cycle through '{back[0][1]}'")
    ordered = tuple(tuple(sorted(group, key=position.__getitem__)) for group in reversed(groups))
    return Order(ordered, frozenset(late) or frozenset(back))


def shapes_of(
    nodes: Mapping[str, Any], inputs: Inputs, batch: int | None = None
) -> tuple[dict[str, Any], dict[str, Shapes]]:
    """Input and output shape of each node.

    Args:
        nodes: the normalised `nir` nodes, in the order of computation.
        inputs: the sources of each node.
        batch: what was taken off the Inputs.

    Returns:
        The nodes, without the batches that stood in front of shapes they state, and the shapes.

    Raises:
        GraphError: shapes that do not fit together, or that nothing tells.
    """
    trimmed: dict[str, Any] = {}
    shapes: dict[str, Shapes] = {}
    for name, node in nodes.items():
        known = [source for source in inputs[name] if source in shapes]
        arriving = shapes[known[0]][1] if known else None
        trimmed[name] = node if arriving is None else without_batch(node, arriving, batch)
        shapes[name] = at_node(name, node_shapes, type(node).__name__, trimmed[name], arriving)
    for name in nodes:
        for source in inputs[name]:
            given, wanted = shapes[source][1], shapes[name][0]
            if given != wanted:
                raise GraphError(
                    f"takes in the shape {wanted} but '{source}' gives {given}", where=f"node '{name}'"
                )
    return trimmed, shapes


def signals_of(nodes: Mapping[str, Any], inputs: Inputs, signal: Signal | None) -> dict[str, Signal]:
    """What each node emits, as the metadata of the Input nodes state it.

    Args:
        nodes: the normalised `nir` nodes, in the order of computation.
        inputs: the sources of each node.
        signal: what enters where the file does not say; real values by default.

    Raises:
        GraphError: the file states something else, or something unknown.
    """
    primitives = {name: type(node).__name__ for name, node in nodes.items()}
    entering = {
        name: at_node(name, input_signal, nodes[name].metadata, signal)
        for name, primitive in primitives.items()
        if primitive == "Input"
    }
    return settle_signals(primitives, inputs, entering)


def settle_signals(
    primitives: Mapping[str, str], inputs: Inputs, entering: Mapping[str, Signal]
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


def drop_batch(nodes: Mapping[str, Any], inputs: Inputs) -> tuple[dict[str, Any], int | None]:
    """Take one leading dimension off Inputs that have one more than every node behind them takes in.

    Output nodes that state a shape with the same dimension in front lose it too. Nothing is taken where the
    nodes behind an Input do not tell how many dimensions they want.

    Returns:
        The nodes, and the size of the batch or None.
    """
    shapes = {
        name: as_shape(node.input_type["input"])
        for name, node in nodes.items()
        if type(node).__name__ == "Input"
    }
    wanted: dict[str, set[int | None]] = {name: set() for name in shapes}
    for target, sources in inputs.items():
        for source in shapes.keys() & set(sources):
            wanted[source].add(wanted_dimensions(nodes[target]))
    sizes = {_batch(shape, wanted[name]) for name, shape in shapes.items()}
    batch = sizes.pop() if len(sizes) == 1 else None
    if batch is None:
        return dict(nodes), None
    trimmed = dict(nodes)
    for name, node in nodes.items():
        shape = as_shape(node.input_type["input"]) if type(node).__name__ in {"Input", "Output"} else None
        if shape is not None and shape[:1] == (batch,):
            trimmed[name] = _of_shape(node, shape[1:])
    return trimmed, batch


def at_node(name: str, call: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call, and put the node's name on a complaint."""
    try:
        return call(*arguments)
    except GraphError as error:
        raise GraphError(error.problem, where=f"node '{name}'", hint=error.hint) from error


def _unfit(what: str) -> GraphError:
    return GraphError(
        f"its metadata 'late_edges' name {what}",
        hint="An edit of the graph has left them behind: take them out to have them chosen anew.",
    )


def _walk(roots: Sequence[str], edges: Mapping[str, Sequence[str]]) -> tuple[dict[str, int], list[Edge]]:
    """Depth first: each node's place in the order, and the edges onto the path walked so far."""
    finished: list[str] = []
    back: list[Edge] = []
    seen: set[str] = set()
    for root in roots:
        if root in seen:
            continue
        seen.add(root)
        path = {root}
        stack = [(root, iter(edges[root]))]
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                stack.pop()
                path.discard(name)
                finished.append(name)
            elif target in path:
                back.append((name, target))
            elif target not in seen:
                seen.add(target)
                path.add(target)
                stack.append((target, iter(edges[target])))
    return {name: index for index, name in enumerate(reversed(finished))}, back


def _refuse_loops_without_state(edges: Mapping[str, Sequence[str]], neurons: Collection[str]) -> None:
    stateless = {
        name: [target for target in targets if target not in neurons]
        for name, targets in edges.items()
        if name not in neurons
    }
    for group in _strong_components(stateless):
        if len(group) > 1 or group[0] in stateless[group[0]]:
            names = " -> ".join(sorted(group))
            raise GraphError(
                f"the cycle through {names} holds neither a neuron nor a delay, so it has no value",
                hint="Put a Delay of at least one step into it.",
            )


def _strong_components(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Strongly connected components, the last in order first (Tarjan 1972, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_nodes: dict[str, None] = {}
    groups: list[list[str]] = []
    for root in edges:
        if root in index:
            continue
        stack = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        open_nodes[root] = None
        while stack:
            name, targets = stack[-1]
            target = next(targets, None)
            if target is None:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[name])
                if low[name] == index[name]:
                    groups.append(_close(open_nodes, name))
            elif target not in index:
                index[target] = low[target] = len(index)
                open_nodes[target] = None
                stack.append((target, iter(edges[target])))
            elif target in open_nodes:
                low[name] = min(low[name], index[target])
    return groups


def _close(open_nodes: dict[str, None], name: str) -> list[str]:
    group: list[str] = []
    while not group or group[-1] != name:
        group.append(open_nodes.popitem()[0])
    return group


def _emitted(primitive: str, arriving: list[Signal]) -> Signal:
    if primitive in SPIKING:
        return Signal.EVENTS
    carried = join_signals(arriving)
    if primitive in {"Output", "Delay", "Flatten"}:
        return carried
    if primitive == "SumPool2d" and carried is not Signal.REAL:
        return Signal.GRADED
    return Signal.REAL


def input_signal(metadata: Any, signal: Signal | None) -> Signal:
    """What enters, by the metadata of an Input node or of a file, else as it is given; else real values.

    Raises:
        GraphError: the metadata state something else, or something unknown.
    """
    stated = metadata.get("signal") if isinstance(metadata, Mapping) else None
    if stated is None:
        return signal or Signal.REAL
    try:
        found = Signal(stated)
    except ValueError as error:
        raise GraphError(
            f"its metadata 'signal' is {shown(stated)}", hint="It is events, graded or real."
        ) from error
    refuse_other_signal(found, signal)
    return found


def refuse_other_signal(stated: Signal, given: Signal | None) -> None:
    """Refuse what a file says that it does not take in.

    Raises:
        GraphError: both are said, and differ.
    """
    if given is not None and given is not stated:
        raise GraphError(
            f"takes in {_WORDS[stated]} by the file, and {_WORDS[given]} are given",
            hint="Give it what it takes in, or leave out the option that says otherwise.",
        )


def _batch(shape: Shape | None, wanted: set[int | None]) -> int | None:
    """The size of the leading dimension, where exactly that one is too many."""
    return shape[0] if shape is not None and wanted == {len(shape) - 1} else None


def _of_shape(node: Any, shape: Shape) -> Any:
    trimmed = copy.copy(node)
    trimmed.input_type = {"input": np.array(shape)}
    trimmed.output_type = {"output": np.array(shape)}
    return trimmed
