"""What every pass from network to network requires and promises: a network whose parts fit together."""

from collections.abc import Iterator

from nsc_deploy.errors import ExportError, GraphError
from nsc_deploy.graphs.network import Network
from nsc_deploy.graphs.rewrite import emitted_by
from nsc_deploy.graphs.shapes import node_shapes

Fault = tuple[str, str]
_REMEDY = "A network read from a file is always of one piece: build it with `assemble`."


def require_consistent(network: Network) -> None:
    """Refuse a network that does not fit together.

    Raises:
        ExportError: naming the node and what is wrong with it.
    """
    for name, problem in _faults(network):
        raise ExportError(problem, where=f"node '{name}'", remedy=_REMEDY)


def broken(graph: object) -> str | None:
    """What is wrong with the result of a pass from network to network, or None."""
    if not isinstance(graph, Network):
        return "no network"
    return next((f"'{name}' {problem}" for name, problem in _faults(graph)), None)


def _faults(network: Network) -> Iterator[Fault]:
    """The first fault makes the checks after it meaningless, so callers take one."""
    yield from _order_faults(network)
    yield from _shape_faults(network)
    for name, emits in emitted_by(network.nodes).items():
        if network.node(name).emits is not emits:
            yield name, f"is said to emit {network.node(name).emits} and emits {emits}"


def _order_faults(network: Network) -> Iterator[Fault]:
    place = {node.name: index for index, node in enumerate(network.nodes)}
    grouped = [name for group in network.components for name in group]
    if grouped != list(place):
        odd = next((name for name in (*place, *grouped) if grouped.count(name) != 1), grouped[0])
        yield odd, "is not grouped in the order of the nodes"
    group_of = {name: index for index, group in enumerate(network.components) for name in group}
    for node in network.nodes:
        if (node.primitive == "Input") != (not node.inputs):
            yield node.name, "is an Input with a source" if node.inputs else "has no input"
        for source in node.inputs:
            if source not in place:
                yield node.name, f"reads '{source}', which is not there"
            elif node.inputs.count(source) > 1:
                yield node.name, f"reads '{source}' twice"
            elif (source, node.name) in network.back_edges:
                continue
            elif place[source] >= place[node.name] and not (
                node.primitive == "Delay" and group_of[source] == group_of[node.name]
            ):
                yield node.name, f"comes before '{source}', which it reads"
    for source, target in sorted(network.back_edges):
        if target not in place or source not in network.node(target).inputs:
            yield target, f"is said to read '{source}' one step late and does not read it"


def _shape_faults(network: Network) -> Iterator[Fault]:
    for node in network.nodes:
        try:
            shapes = node_shapes(node.primitive, node.parameters, node.input_shape)
        except GraphError as error:
            yield node.name, error.problem
            continue
        if shapes != (node.input_shape, node.output_shape):
            yield node.name, f"has the shapes {shapes} and is said to have others"
        for source in node.inputs:
            if network.node(source).output_shape != node.input_shape:
                given = network.node(source).output_shape
                yield node.name, f"takes in the shape {node.input_shape} but '{source}' gives {given}"
