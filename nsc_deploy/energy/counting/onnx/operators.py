"""One operator of an ONNX graph, and what one execution of it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.operations import Kind

Shape = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]

# Before this opset, it went over all axes from one on.
SOFTMAX_OVER_ONE_AXIS = 13

WEIGHTED = frozenset({"MatMul", "Gemm", "Conv"})


@dataclass(frozen=True)
class Site:
    """One operator of a graph, with what is known of it.

    Attributes:
        path: names of the enclosing bodies and of the operator.
        node: the NodeProto.
        constants: known values by tensor name.
        binary: tensors proven binary.
    """

    path: str
    node: Any
    constants: Values
    binary: frozenset[str]

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator as Python values."""
        return attribute_of(self.node, name, default)

    def given(self, index: int) -> str | None:
        """The name of an input, or None where the operator goes without it."""
        names = self.node.input
        return names[index] if index < len(names) and names[index] else None

    def constant(self, index: int) -> NDArray[Any] | None:
        """The value of an input, or None where it is not there or changes."""
        name = self.given(index)
        return None if name is None else self.constants.get(name)

    def nonzero(self, *indices: int) -> int:
        """Values that are not zero among the inputs that are constant."""
        known = (self.constant(index) for index in indices)
        return sum(int(np.count_nonzero(values)) for values in known if values is not None)

    @property
    def events(self) -> tuple[str, ...]:
        """Its inputs that carry events, of those that meet weights."""
        if self.node.op_type not in WEIGHTED:
            return ()
        return tuple(name for name in self.node.input[:2] if name in self.binary)


@dataclass(frozen=True)
class Cost:
    """One execution of one operator.

    Attributes:
        operations: number of each kind, every value taken for real.
        weights: non-zero weights among its constants.
        neurons: recurrent cells it holds.
    """

    operations: Mapping[Kind, int] = field(default_factory=dict)
    weights: int = 0
    neurons: int = 0


Rule = Callable[[Site, Mapping[str, Shape]], Cost]


def attribute_of(node: Any, name: str, default: Any) -> Any:
    """An attribute of a NodeProto as Python values."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            value = helper.get_attribute_value(attribute)
            return value.decode() if isinstance(value, bytes) else value
    return default


def constants_of(graph: Any, outer: Values) -> dict[str, NDArray[Any]]:
    """The values that a graph writes down, by tensor name, and those of the graphs around it."""
    from onnx import numpy_helper

    known = dict(outer)
    known.update({tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer})
    for node in graph.node:
        if node.op_type == "Constant":
            held = {attribute.name: attribute for attribute in node.attribute}
            if "value" in held:
                known[node.output[0]] = numpy_helper.to_array(held["value"].t)
            elif "value_float" in held:
                known[node.output[0]] = np.asarray(held["value_float"].f, dtype=np.float32)
    return known


def opset_of(model: Any) -> int:
    """The version of the standard operators that a ModelProto is written in."""
    return next((int(one.version) for one in model.opset_import if one.domain in {"", "ai.onnx"}), 1)
