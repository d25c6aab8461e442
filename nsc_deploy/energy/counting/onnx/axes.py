"""Along which axis the tensors of an ONNX graph hold the samples, proven from the graph alone.

Nothing in an ONNX file says so. Here the axis of the input is followed from operator to operator; where
one of them mixes samples, or may do so, there is no answer.
"""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import (
    SOFTMAX_OVER_ONE_AXIS,
    attribute_of,
    constants_of,
    opset_of,
)
from nsc_deploy.energy.onnx_sample_rules import RECURRENT, RULES, Held, Inputs

Constants = Mapping[str, NDArray[Any]]


def samples_held(model: Any, rank: int) -> dict[str, Held] | None:
    """Where each tensor of the main graph that depends on what enters holds the samples.

    Args:
        model: a checked ModelProto; its first input holds the samples along its second axis.
        rank: number of axes of what enters.

    Returns:
        None where the graph may mix samples.
    """
    constants, entering = entrance(model)
    sizes = entering.type.tensor_type.shape.dim
    if opset_of(model) < SOFTMAX_OVER_ONE_AXIS or (len(sizes) > 1 and sizes[1].dim_value):
        return None
    return _SampleWalk(constants, {entering.name: Held(1 - rank, rank)}, {}).through(model.graph)


def entrance(model: Any) -> tuple[Constants, Any]:
    """The constants of the main graph, and the first input that is none of them."""
    constants = constants_of(model.graph, {})
    return constants, next(value for value in model.graph.input if value.name not in constants)


class _SampleWalk:
    """Where the tensors of one graph hold the samples, and which of its tensors are shapes."""

    def __init__(self, constants: Constants, held: Mapping[str, Held], shapes: Mapping[str, Held]) -> None:
        self._constants = constants
        self._held = dict(held)
        self._shapes = dict(shapes)

    def through(self, graph: Any) -> dict[str, Held] | None:
        """Follow the samples through all nodes; None where they may meet."""
        for node in graph.node:
            if node.op_type == "Shape" and node.input[0] in self._held:
                described = described_by(node, self._held[node.input[0]])
                if described is not None:
                    self._shapes[node.output[0]] = described
            elif any(name in self._held or name in self._shapes for name in node.input):
                if not self._step(node):
                    return None
            elif body_of(node) is not None:
                return None
        return self._held

    def _step(self, node: Any) -> bool:
        if node.op_type == "Scan":
            return self._scan(node)
        if node.op_type == "ConstantOfShape":
            found = self._shapes.get(node.input[0])
        elif body_of(node) is not None or any(name in self._shapes for name in node.input):
            # The number of samples itself may enter a value.
            return False
        else:
            rule = RULES.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
            found = None if rule is None else rule(self._inputs(node))
        if found is None:
            return False
        self._held[node.output[0]] = found
        for name in filter(None, node.output[1:]):
            if node.op_type not in RECURRENT:
                return False
            self._held[name] = Held(found.axis, found.rank - 1)
        return True

    def _inputs(self, node: Any) -> Inputs:
        held = tuple(self._held.get(name) for name in node.input)
        return Inputs(node, held, tuple(self._constants.get(name) for name in node.input))

    def _scan(self, node: Any) -> bool:
        """A scan over the first axis, with the samples along another one."""
        body, states = body_of(node), len(node.input) - attribute_of(node, "num_scan_inputs", 0)
        directions = ("scan_input_axes", "scan_output_axes")
        if any(any(attribute_of(node, name, [])) for name in directions):
            return False
        entering = {}
        for index, (inner, outer) in enumerate(zip(body.input, node.input, strict=True)):
            held = self._held.get(outer)
            if held is None or (index >= states and held.first):
                return False
            entering[inner.name] = held if index < states else Held(held.axis, held.rank - 1)
        inside = _SampleWalk(
            constants_of(body, self._constants), self._held | entering, self._shapes
        ).through(body)
        if inside is None:
            return False
        for index, (leaves, outer) in enumerate(zip(body.output, node.output, strict=False)):
            held = inside.get(leaves.name)
            if held is None or (index < states and held != entering[body.input[index].name]):
                return False
            if outer:
                self._held[outer] = held if index < states else Held(held.axis, held.rank + 1)
        return True


def body_of(node: Any) -> Any:
    """The graph inside a node; None for most."""
    return next((attribute.g for attribute in node.attribute if attribute.HasField("g")), None)


def described_by(node: Any, held: Held) -> Held | None:
    """Where a tensor of the shape that a Shape node asks for holds the axis; None where it has none such."""
    start, end, _ = slice(attribute_of(node, "start", 0), attribute_of(node, "end", None)).indices(held.rank)
    return Held(held.axis + held.rank - end, end - start) if start <= held.rank + held.axis < end else None
