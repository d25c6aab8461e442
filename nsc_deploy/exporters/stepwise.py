"""A graph as one step after the other: what a target with explicit states has to compute, in which order.

In a step the stages are computed in order. A stage sums its sources; a late source is the output that
node gave in the step before, 0 in the first. An early stage, a Delay in a cycle, gives its output from what
it holds before its own input of the step is known, and takes that in at the end of the step.
"""

from dataclasses import dataclass

from nsc_deploy.graphs.network import Network, Node


@dataclass(frozen=True)
class Source:
    """One of the nodes a stage sums.

    Attributes:
        name: of the node.
        late: whether its output of the step before is meant.
    """

    name: str
    late: bool


@dataclass(frozen=True)
class Stage:
    """One node at its place in the step.

    Attributes:
        node: the node.
        sources: what it sums, in order.
        early: whether it gives its output before its input is known.
    """

    node: Node
    sources: tuple[Source, ...]
    early: bool


def stages(network: Network) -> tuple[Stage, ...]:
    """The nodes of a graph in the order of a step."""
    component = {name: group for group in network.components for name in group}
    return tuple(_stage(network, node, component[node.name]) for node in network.nodes)


def late_names(steps: tuple[Stage, ...]) -> tuple[str, ...]:
    """Nodes whose output is read one step later."""
    late = {source.name for stage in steps for source in stage.sources if source.late}
    return tuple(stage.node.name for stage in steps if stage.node.name in late)


def _stage(network: Network, node: Node, component: tuple[str, ...]) -> Stage:
    sources = tuple(Source(name, (name, node.name) in network.back_edges) for name in node.inputs)
    place = component.index(node.name)
    early = node.primitive == "Delay" and any(
        source.name in component[place:] and not source.late for source in sources
    )
    return Stage(node, sources, early)
