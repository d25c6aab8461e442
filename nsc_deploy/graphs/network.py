"""A NIR graph as the rest of the package sees it: flat, checked, ordered, with a time step.

Semantics that NIR leaves open, decided here once:

- Several edges into one node are summed, in the order of `Node.inputs`.
- A cycle has one step of delay: an edge in `Network.back_edges` carries the value of the step before
  (zero at the first step). A cycle that holds a `Delay` of at least one step gets no further delay.
- What a node emits (binary events, graded events or real values) is a property of the graph
  (`Node.emits`), never of the values that came by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.errors import GraphError

Shape = tuple[int, ...]
FLOAT_ROUNDING = 1e-6
"""Relative difference up to which a time constant or a stated step is the step that it was written as: files
hold them in single precision."""
SPIKING = frozenset({"LIF", "IF", "CubaLIF", "Threshold"})
RESETTING = frozenset({"LIF", "IF", "CubaLIF"})
STATEFUL = frozenset({"LIF", "IF", "CubaLIF", "LI", "CubaLI", "I", "Delay"})
SYNAPTIC = frozenset({"Linear", "Affine", "Conv1d", "Conv2d"})


class Reset(StrEnum):
    """What a spike does to the potential, in the step it is fired.

    `ZERO` sets it to the node's v_reset (0 unless the node says otherwise); `SUBTRACT` takes the
    threshold off.
    """

    ZERO = "zero"
    SUBTRACT = "subtract"


class Signal(StrEnum):
    """What a node can emit.

    `EVENTS` are 0 or 1. `GRADED` are integers carried by events (for example a sum pool over
    events). `REAL` is everything else. A synapse fed with `EVENTS` costs an accumulate (AC), any
    other a multiply-accumulate (MAC).
    """

    EVENTS = "events"
    GRADED = "graded"
    REAL = "real"


@dataclass(frozen=True)
class Node:
    """One primitive of a graph.

    Attributes:
        name: unique; a node of a nested graph is called "outer.inner".
        primitive: the NIR class name, for example "LIF".
        parameters: the `nir` node with its arrays, checked and read-only. Convolutions and pools hold
            stride, padding and the like as tuples of int.
        inputs: names of the nodes whose outputs are summed into this one.
        input_shape: shape of that sum for one sample at one step.
        output_shape: shape of the output for one sample at one step.
        emits: what the output carries.
    """

    name: str
    primitive: str
    parameters: Any
    inputs: tuple[str, ...]
    input_shape: Shape
    output_shape: Shape
    emits: Signal

    @property
    def spiking(self) -> bool:
        """Whether the output is a spike decision of this node."""
        return self.primitive in SPIKING

    @property
    def stateful(self) -> bool:
        """Whether the output depends on earlier steps."""
        return self.primitive in STATEFUL

    @property
    def synaptic(self) -> bool:
        """Whether the node multiplies its input with weights (Linear, Affine, Conv1d, Conv2d)."""
        return self.primitive in SYNAPTIC


@dataclass(frozen=True)
class Network:
    """A whole graph, ready to be simulated, counted or lowered.

    Attributes:
        nodes: in an order in which each node comes after its inputs, `back_edges` and edges into a
            `Delay` of a cycle left out.
        dt: length of a step in seconds; None where nothing in the graph depends on it.
        reset: what a spike does to the potential; None where no node resets.
        back_edges: (source, target) pairs that carry the value of the step before.
        components: the same names as `nodes`, in the same order, grouped: a group of several names (or
            one node with an edge onto itself) is a cycle and has to be run step by step.
        metadata: of the NIR graph.
        diagnostics: what looks like a fault of the program that wrote it; empty for a graph made here.
    """

    nodes: tuple[Node, ...]
    dt: float | None
    reset: Reset | None
    back_edges: frozenset[tuple[str, str]] = frozenset()
    components: tuple[tuple[str, ...], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _successors(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {name: [] for name in self._by_name}
        for node in self.nodes:
            for source in dict.fromkeys(node.inputs):
                found[source].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def node(self, name: str) -> Node:
        """The node called `name`.

        Raises:
            GraphError: there is none.
        """
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(self._by_name)
            raise GraphError(f"has no node '{name}'", hint=f"It has: {known}.") from None

    def successors(self, name: str) -> tuple[Node, ...]:
        """The nodes that take in the output of `name`."""
        return self._successors[self.node(name).name]

    def arrives(self, name: str) -> Signal:
        """What the sum of the inputs of `name` carries (for an Input node: what it emits)."""
        node = self.node(name)
        if not node.inputs:
            return node.emits
        return join_signals([self.node(source).emits for source in node.inputs])

    @cached_property
    def input_nodes(self) -> tuple[Node, ...]:
        """The Input nodes."""
        return tuple(node for node in self.nodes if node.primitive == "Input")

    @cached_property
    def output_nodes(self) -> tuple[Node, ...]:
        """The Output nodes."""
        return tuple(node for node in self.nodes if node.primitive == "Output")

    @property
    def input_node(self) -> Node:
        """The one Input node.

        Raises:
            GraphError: there are several.
        """
        return _only(self.input_nodes, "inputs")

    @property
    def output_node(self) -> Node:
        """The one Output node.

        Raises:
            GraphError: there are several.
        """
        return _only(self.output_nodes, "outputs")

    @property
    def conventional(self) -> bool:
        """Whether its nodes are operators of ONNX, which no rule for NIR is about."""
        return False

    @property
    def recurrent(self) -> bool:
        """Whether the graph has a cycle."""
        return any(self.cyclic(component) for component in self.components)

    def cyclic(self, component: tuple[str, ...]) -> bool:
        """Whether a group of `components` is a cycle."""
        return len(component) > 1 or component[0] in self.node(component[0]).inputs

    @property
    def step_seconds(self) -> float:
        """`dt`, for a caller that cannot do without.

        Raises:
            GraphError: the graph has none.
        """
        if self.dt is None:
            raise GraphError("has no time step", hint="Name it in seconds: --dt 0.001")
        return self.dt


def _only(nodes: tuple[Node, ...], what: str) -> Node:
    if len(nodes) != 1:
        names = ", ".join(node.name for node in nodes)
        raise GraphError(f"has {len(nodes)} {what} ({names}) where one is wanted")
    return nodes[0]


def join_signals(signals: Sequence[Signal]) -> Signal:
    """What the sum of several outputs carries: a sum of events is no longer 0 or 1."""
    if len(signals) == 1:
        return signals[0]
    return Signal.REAL if Signal.REAL in signals else Signal.GRADED
