"""Nodes and constants of an ONNX graph under construction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from nsc_deploy.graphs.network import Shape


class Draft:
    """Collects nodes and constants; every value is named after the node of the graph it belongs to.

    Args:
        lead: symbolic sizes in front of the shape of every input and output, for example T and N.
    """

    def __init__(self, lead: Sequence[str]) -> None:
        self._lead = list(lead)
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return its name."""
        self.nodes(operator, inputs, [output], **attributes)
        return output

    def nodes(self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        """Add a node with several outputs."""
        made = helper.make_node(
            operator, list(inputs), list(outputs), name=f"{outputs[0]}:{operator}", **attributes
        )
        self._nodes.append(made)

    def constant(self, name: str, value: ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant, once a name."""
        self._constants.setdefault(name, numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(self, name: str, value: ArrayLike) -> str:
        """Add a constant of 64-bit integers: shapes, axes, places."""
        return self.constant(name, value, np.int64)

    def take(self, name: str, shape: Shape) -> str:
        """Declare an input [*lead, *shape]."""
        self._inputs.append(self._info(name, shape))
        return name

    def give(self, name: str, shape: Shape) -> str:
        """Declare an output [*lead, *shape]."""
        self._outputs.append(self._info(name, shape))
        return name

    def graph(self, name: str) -> onnx.GraphProto:
        """What was collected."""
        return helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )

    def _info(self, name: str, shape: Shape) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [*self._lead, *shape])
