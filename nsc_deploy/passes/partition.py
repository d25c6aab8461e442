"""Pass: a graph that a target cannot hold whole is cut into a host part, a chip part and a host part.

The cuts lie behind neurons that every way from the input to the output passes, so that one stream of
events goes from part to part. Of the middles that the target takes, the one with the most neurons goes
onto the chip. What lies before it is the front-end, what lies behind it the read-out; both run on the
host. Exact: each part computes what its nodes compute in the whole.

Run it behind `DropDeadNodes`. It ensures one to three parts in order, each a network that fits together,
in which each node of the graph lies once; events alone between them; a chip part that the target takes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import nir
import numpy as np

from nsc_deploy.deployment import Place
from nsc_deploy.errors import ExportError
from nsc_deploy.graphs.network import RESETTING, Network, Node, Signal
from nsc_deploy.graphs.primitives import normalise
from nsc_deploy.graphs.rewrite import broken
from nsc_deploy.passes.base import Note, Pass, Rewrite
from nsc_deploy.passes.dead_code import upstream
from nsc_deploy.passes.verdict import Status, Verdict

Check = Callable[[Network], tuple[Verdict, ...]]
FRONT_END, CHIP, READ_OUT = "front-end", "chip", "read-out"
_PLUMBING = frozenset({"Input", "Output"})


@dataclass(frozen=True)
class GraphPart:
    """One part.

    Attributes:
        name: "front-end", "chip" or "read-out".
        place: what runs it.
        network: a graph of its own, with one Input and one Output; its other nodes are called as before.
        nodes: names of the nodes of the whole graph that it holds, in order.
    """

    name: str
    place: Place
    network: Network
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Parts:
    """A graph in parts.

    Attributes:
        whole: the graph.
        parts: in the order in which they run; exactly one lies on the chip.
    """

    whole: Network
    parts: tuple[GraphPart, ...]

    @property
    def chip(self) -> GraphPart:
        """The part on the chip."""
        return next(part for part in self.parts if part.place is Place.CHIP)

    @property
    def host(self) -> tuple[str, ...]:
        """Names of the nodes on the host."""
        return tuple(name for part in self.parts if part.place is Place.HOST for name in part.nodes)


@dataclass(frozen=True)
class Split(Pass[Network, Parts]):
    """The pass.

    Attributes:
        check: what the target says about each node of a graph.
    """

    name = "split"
    check: Check

    def rewrite(self, graph: Network, /) -> Rewrite[Parts]:
        """Cut where the most neurons get onto the chip.

        Raises:
            ExportError: several ways in or out, or nothing in between that the target takes.
        """
        for kind, ends in (("Input", graph.input_nodes), ("Output", graph.output_nodes)):
            if len(ends) > 1:
                raise ExportError(
                    f"is one of {len(ends)} {kind} nodes, and a graph with one is split",
                    where=f"node '{ends[0].name}'",
                    hint="Join them into one before the graph is written.",
                )
        parts = self._best(graph)
        if parts is None:
            first = next(one for one in self.check(graph) if one.status is Status.REFUSED)
            raise ExportError(
                f"{first.reason}, and no middle of the graph that the target takes has one stream of events "
                "going in and one coming out",
                where=f"node '{first.node}' ({first.primitive})",
                hint=first.hint or None,
            )
        return Rewrite(parts, tuple(self._notes(parts)))

    def ensures(self, graph: Parts, /) -> str | None:
        """Parts that do not fit one another or the target, or a node that lies in none or twice."""
        return next(self._faults(graph), None)

    def _faults(self, graph: Parts) -> Iterator[str]:
        for part in graph.parts:
            fault = broken(part.network)
            if fault is not None:
                yield f"{part.name}: {fault}"
        held = [name for part in graph.parts for name in part.nodes]
        for name in (node.name for node in graph.whole.nodes):
            if held.count(name) != 1:
                yield f"'{name}' lies in {held.count(name)} parts"
        for one, two in pairwise(graph.parts):
            given, taken = one.network.output_node, two.network.input_node
            if {given.emits, taken.emits} != {Signal.EVENTS} or given.output_shape != taken.output_shape:
                yield f"what leaves the {one.name} is not what enters the {two.name}"
            for astray in _read_otherwise(graph.whole, two, given.inputs[0]):
                yield f"the {two.name} needs '{astray}', which does not cross"
        if [part.place for part in graph.parts].count(Place.CHIP) != 1:
            yield "not one part lies on the chip"
        elif not self._takes(graph.chip.network):
            yield "the target refuses the chip part"

    def _best(self, graph: Network) -> Parts | None:
        """The accepted middle with the most neurons; the whole graph where the target takes it."""
        if self._takes(graph):
            names = tuple(node.name for node in graph.nodes)
            return Parts(graph, (GraphPart(CHIP, Place.CHIP, graph, names),))
        found = [(_neurons(graph, middle), middle) for middle in _middles(graph, self._hopeless(graph))]
        tried = sorted((one for one in found if one[0]), key=lambda one: (-one[0], -len(one[1].names)))
        cut = (_parts(graph, middle) for _, middle in tried)
        return next((parts for parts in cut if self._takes(parts.chip.network)), None)

    def _hopeless(self, graph: Network) -> frozenset[str]:
        """Nodes that are refused in the whole graph and in the smallest middle around them alike.

        No middle that holds one is tried: a graph has as many as pairs of cuts, and each asks about all its
        nodes.
        """
        refused = self._refused(graph)
        found: set[str] = set()
        for middle in _smallest(graph):
            if not refused.isdisjoint(middle.names):
                part = part_of(graph, middle.names, middle.entrance, middle.exit)
                found |= refused & self._refused(part)
        return frozenset(found)

    def _refused(self, network: Network) -> frozenset[str]:
        return frozenset(one.node for one in self.check(network) if one.status is Status.REFUSED)

    def _takes(self, network: Network) -> bool:
        return not self._refused(network)

    def _notes(self, parts: Parts) -> Iterator[Note]:
        """Why each node on the host lies there."""
        verdicts = {one.node: one for one in self.check(parts.whole)}
        for part in parts.parts:
            if part.place is Place.CHIP:
                continue
            for name in part.nodes:
                verdict = verdicts[name]
                refused = verdict.status is Status.REFUSED
                reason = verdict.reason if refused else "it lies beyond the events that cross to the chip"
                if refused or parts.whole.node(name).primitive not in _PLUMBING:
                    yield Note("host", name, f"runs on the host, in the {part.name}: {reason}")


@dataclass(frozen=True)
class Middle:
    """One way to cut a graph, once or twice.

    Attributes:
        entrance: the node whose events enter the middle; None where the graph begins there.
        exit: the node whose events leave it; None where the graph ends there.
        front: names of the nodes before it.
        names: names of its nodes.
        rest: names of the nodes behind it.
    """

    entrance: str | None
    exit: str | None
    front: tuple[str, ...]
    names: tuple[str, ...]
    rest: tuple[str, ...]


def _middles(graph: Network, without: Collection[str]) -> Iterator[Middle]:
    """Every way to cut a graph that leaves none of some nodes in the middle."""
    before = _before_cuts(graph)
    places = tuple(before)
    for first, entrance in enumerate((None, *places)):
        for exit_ in (*places[first:], None):
            middle = _middle(graph, before, entrance, exit_)
            if any(name in without for name in middle.names):
                break  # and so do all that reach further
            yield middle


def _smallest(graph: Network) -> Iterator[Middle]:
    """The middles that no cut goes through."""
    before = _before_cuts(graph)
    for entrance, exit_ in pairwise((None, *before, None)):
        yield _middle(graph, before, entrance, exit_)


def _before_cuts(graph: Network) -> dict[str, frozenset[str]]:
    """The nodes at which a graph can be cut, in order, each with all that lies before the cut."""
    return {name: upstream(graph, [name]) for name in cuts(graph)}


def _middle(
    graph: Network, before: Mapping[str, frozenset[str]], entrance: str | None, exit_: str | None
) -> Middle:
    everything = [node.name for node in graph.nodes]
    held = frozenset[str]() if entrance is None else before[entrance]
    reached = frozenset(everything) if exit_ is None else before[exit_]
    return Middle(
        entrance,
        exit_,
        tuple(name for name in everything if name in held),
        tuple(name for name in everything if name in reached - held),
        tuple(name for name in everything if name not in reached),
    )


def _read_otherwise(whole: Network, part: GraphPart, crossing: str) -> list[str]:
    """The nodes outside a part, besides the one whose events cross, that nodes of the part read."""
    sources = (source for name in part.nodes for source in whole.node(name).inputs)
    return [source for source in sources if source != crossing and source not in part.nodes]


def _parts(graph: Network, middle: Middle) -> Parts:
    parts = []
    if middle.front:
        network = part_of(graph, middle.front, exit_=middle.entrance)
        parts.append(GraphPart(FRONT_END, Place.HOST, network, middle.front))
    network = part_of(graph, middle.names, middle.entrance, middle.exit)
    parts.append(GraphPart(CHIP, Place.CHIP, network, middle.names))
    if middle.rest:
        network = part_of(graph, middle.rest, middle.exit)
        parts.append(GraphPart(READ_OUT, Place.HOST, network, middle.rest))
    return Parts(graph, tuple(parts))


def _neurons(graph: Network, middle: Middle) -> int:
    nodes = (graph.node(name) for name in middle.names)
    return sum(int(np.prod(node.output_shape)) for node in nodes if node.spiking)


def cuts(network: Network) -> tuple[str, ...]:
    """The nodes at which a graph can be cut, in order: all behind them depends on their events alone.

    These are spiking nodes that every way from the input to the output passes and no cycle leads around.
    """
    found = [
        (len(before), node.name)
        for node in network.nodes
        if node.spiking and _alone_leads_out(network, before := upstream(network, [node.name]), node)
    ]
    return tuple(name for _, name in sorted(found))


def _alone_leads_out(network: Network, before: frozenset[str], node: Node) -> bool:
    return all(
        source == node.name or source not in before
        for reader in network.nodes
        if reader.name not in before
        for source in reader.inputs
    )


def part_of(
    network: Network, nodes: Collection[str], entrance: str | None = None, exit_: str | None = None
) -> Network:
    """Some nodes of a graph as a graph of its own, computing what they compute in the whole.

    Args:
        network: the whole graph.
        nodes: names of the nodes.
        entrance: the node outside whose events enter; None where the Input of the whole is among the nodes.
        exit_: the node whose output leaves; None where the Output of the whole is among the nodes.
    """
    inside = [node for node in network.nodes if node.name in nodes]
    groups = [tuple(name for name in group if name in nodes) for group in network.components]
    components = [group for group in groups if group]
    taken = {node.name for node in inside}
    if entrance is not None:
        source = _end("Input", _free("input", taken), network.node(entrance), ())
        inside = [source, *(_reading(node, entrance, source.name) for node in inside)]
        components = [(source.name,), *components]
    if exit_ is not None:
        last = _end("Output", _free("output", taken), network.node(exit_), (exit_,))
        inside.append(last)
        components.append((last.name,))
    return replace(
        network,
        nodes=tuple(inside),
        reset=network.reset if any(node.primitive in RESETTING for node in inside) else None,
        back_edges=frozenset(edge for edge in network.back_edges if set(edge) <= taken),
        components=tuple(components),
    )


def joined(front: Network, behind: Network) -> Network:
    """Two graphs as one: what leaves the first enters the second.

    Raises:
        ExportError: what leaves is not what enters, the steps differ, or both have a node of the same name.
    """
    given, taken = front.output_node, behind.input_node
    before = tuple(node for node in front.nodes if node.name != given.name)
    after = tuple(node for node in behind.nodes if node.name != taken.name)
    twice = {node.name for node in before} & {node.name for node in after}
    steps = {network.dt for network in (front, behind)} - {None}
    if given.output_shape != taken.output_shape or len(given.inputs) != 1 or len(steps) > 1 or twice:
        raise ExportError("does not fit the graph behind it", where=f"node '{given.name}'")
    return replace(
        behind,
        nodes=(*before, *(_reading(node, taken.name, given.inputs[0]) for node in after)),
        dt=next(iter(steps), None),
        reset=behind.reset or front.reset,
        back_edges=front.back_edges | behind.back_edges,
        components=(
            *(group for group in front.components if given.name not in group),
            *(group for group in behind.components if taken.name not in group),
        ),
    )


def _reading(node: Node, old: str, new: str) -> Node:
    return replace(node, inputs=tuple(new if one == old else one for one in node.inputs))


def _end(primitive: str, name: str, beside: Node, inputs: tuple[str, ...]) -> Node:
    """The Input or Output of a part, carrying the events of a node."""
    shape = beside.output_shape
    metadata = {"signal": beside.emits.value} if primitive == "Input" else {}
    made = getattr(nir, primitive)(np.array(shape), metadata=metadata)
    return Node(name, primitive, normalise(made), inputs, shape, shape, beside.emits)


def _free(name: str, taken: Iterable[str]) -> str:
    """A name that no node has."""
    used = set(taken)
    tries = (name, *(f"{name}-{number}" for number in range(2, len(used) + 3)))
    return next(one for one in tries if one not in used)
