"""The order in which the nodes of a graph are computed, and which edges of a cycle lie one step back."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from nsc_deploy.errors import GraphError

Edge = tuple[str, str]


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
