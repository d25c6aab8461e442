"""What flows from node to node: shapes and signals, followed through a graph in the order of computation."""

from collections.abc import Mapping
from typing import Any

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.network import SPIKING, Shape
from nsc_deploy.graphs.shapes import node_shapes
from nsc_deploy.graphs.signal import Signal, joined
from nsc_deploy.io.text import shown


def all_shapes(
    primitives: Mapping[str, str], inputs: Mapping[str, tuple[str, ...]], parameters: Mapping[str, Any]
) -> dict[str, tuple[Shape, Shape]]:
    """Input and output shape of each node.

    Args:
        primitives: of each node, in the order of computation.
        inputs: the sources of each node.
        parameters: the checked `nir` nodes.

    Raises:
        GraphError: shapes that do not fit together, or that nothing tells.
    """
    shapes: dict[str, tuple[Shape, Shape]] = {}
    for name, primitive in primitives.items():
        known = [source for source in inputs[name] if source in shapes]
        arriving = shapes[known[0]][1] if known else None
        shapes[name] = at_node(name, node_shapes, primitive, parameters[name], arriving)
    for name in primitives:
        for source in inputs[name]:
            given, wanted = shapes[source][1], shapes[name][0]
            if given != wanted:
                raise GraphError(
                    f"takes in the shape {wanted} but '{source}' gives {given}", where=f"node '{name}'"
                )
    return shapes


def all_signals(
    primitives: Mapping[str, str],
    inputs: Mapping[str, tuple[str, ...]],
    parameters: Mapping[str, Any],
    asked: Signal | None,
) -> dict[str, Signal]:
    """What each node emits, as the metadata of the Input nodes state it; arguments as for `all_shapes`.

    Args:
        primitives: as above.
        inputs: as above.
        parameters: as above.
        asked: what enters where the file does not say.

    Raises:
        GraphError: the file states something else, or something unknown.
    """
    entering = {
        name: at_node(name, _input_signal, parameters[name].metadata, asked)
        for name, primitive in primitives.items()
        if primitive == "Input"
    }
    return settled_signals(primitives, inputs, entering)


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


def at_node(name: str, call: Any, *arguments: Any) -> Any:
    """Call, and put the node's name on a complaint."""
    try:
        return call(*arguments)
    except GraphError as error:
        raise GraphError(error.problem, where=f"node '{name}'", remedy=error.remedy) from error


def _emitted(primitive: str, arriving: list[Signal]) -> Signal:
    if primitive in SPIKING:
        return Signal.EVENTS
    carried = joined(arriving)
    if primitive in {"Output", "Delay", "Flatten"}:
        return carried
    if primitive == "SumPool2d" and carried is not Signal.REAL:
        return Signal.GRADED
    return Signal.REAL


_WORDS = {Signal.EVENTS: "events", Signal.GRADED: "graded values", Signal.REAL: "real values"}


def _input_signal(metadata: Any, asked: Signal | None) -> Signal:
    stated = metadata.get("signal") if isinstance(metadata, Mapping) else None
    if stated is None:
        return asked or Signal.REAL
    try:
        signal = Signal(stated)
    except ValueError as error:
        raise GraphError(
            f"its metadata 'signal' is {shown(stated)}", remedy="It is events, graded or real."
        ) from error
    if asked is not None and asked is not signal:
        raise GraphError(
            f"takes in {_WORDS[signal]} by the file, and {_WORDS[asked]} are given",
            remedy="Give it what it takes in, or leave out the option that says otherwise.",
        )
    return signal
