"""Which values of an ONNX graph are the same whatever enters it: they are worked out once, before any run.

A value is constant if everything that it is made of is: weights written down, and what Identity, Transpose,
Cast, DequantizeLinear or arithmetic make of them, through any number of operators. The shape of a value is
constant too once the shape of what enters is given, whatever the value holds; what is made of shapes alone
is called sized, for it differs with the number of steps and samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Random, or without a value that could be kept; the training mode of a Dropout is looked at by its rule.
_NEVER = frozenset(
    {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli"}
    | {"Dropout", "Optional", "OptionalGetElement", "OptionalHasElement", "SplitToSequence"}
    | {"SequenceConstruct", "SequenceEmpty", "SequenceInsert", "SequenceErase", "SequenceAt"}
    | {"SequenceLength", "ConcatFromSequence", "SequenceMap"}
)
_ASKS_A_SHAPE = frozenset({"Shape", "Size"})


@dataclass(frozen=True)
class Constants:
    """The names of the values that no input changes.

    Attributes:
        names: of the graph and of those around it.
        sized: of these, the ones that follow from the shapes of changing values.
        bodies: the same of the body of a Scan, by the place of the Scan among the nodes of the graph.
    """

    names: frozenset[str] = frozenset()
    sized: frozenset[str] = frozenset()
    bodies: Mapping[int, "Constants"] = field(default_factory=dict)


def find_constants(graph: Any, around: Constants = Constants()) -> Constants:
    """Look for constants in the order of the nodes; values of the graph are not looked at.

    Args:
        graph: a checked GraphProto.
        around: those of the graph that it stands in.
    """
    names = set(around.names) | {tensor.name for tensor in graph.initializer}
    sized, bodies = set(around.sized), {}
    for index, node in enumerate(graph.node):
        if node.op_type == "Scan":
            body = next(one.g for one in node.attribute if one.HasField("g"))
            bodies[index] = find_constants(body, Constants(frozenset(names), frozenset(sized)))
        entering = [name for name in node.input if name]
        asked = node.op_type in _ASKS_A_SHAPE and not names.issuperset(entering)
        if asked or (_computes_alike(node) and names.issuperset(entering)):
            names.update(filter(None, node.output))
            if asked or not sized.isdisjoint(entering):
                sized.update(filter(None, node.output))
    return Constants(frozenset(names), frozenset(sized), bodies)


def _computes_alike(node: Any) -> bool:
    """Whether a node gives the same for the same, and holds no graph."""
    return node.op_type not in _NEVER and not any(one.HasField("g") or one.graphs for one in node.attribute)


def kept_constants(graph: Any, constants: Constants) -> frozenset[str]:
    """Constants that something changing takes in: those that a run holds to its end."""
    taken = {
        name
        for node in graph.node
        if not constants.names.issuperset(filter(None, node.output))
        for name in taken_in(node)
    }
    return constants.names & taken


def taken_in(node: Any) -> Iterator[str]:
    """Names of the values that a node takes in, those that its bodies take in from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from taken_in(inner)
            yield from (value.name for value in attribute.g.output)
