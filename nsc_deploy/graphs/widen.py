"""Shapes that a writer stated too small or too large: one number for a whole layer, a batch in an Input."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from nsc_deploy.graphs.network import Shape
from nsc_deploy.graphs.parameters import array_fields
from nsc_deploy.graphs.shapes import as_shape, one_number, wanted_dimensions


def widened(node: Any, shape: Shape) -> Any:
    """A node whose one number stands for a whole layer, with arrays of the layer's shape; else the node."""
    if not one_number(node) or getattr(node, array_fields(type(node).__name__)[0]).shape == shape:
        return node
    full = copy.copy(node)
    for field in array_fields(type(node).__name__):
        array = np.full(shape, getattr(node, field).reshape(()))
        array.flags.writeable = False
        setattr(full, field, array)
    return full


def without_batch(
    parameters: Mapping[str, Any], inputs: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, Any], int | None]:
    """Take one leading dimension off Inputs that have one more than every node behind them takes in.

    Output nodes that state a shape with the same dimension in front lose it too. Nothing is taken where the
    nodes behind an Input do not tell how many dimensions they want.

    Returns:
        The nodes, and the size of the batch or None.
    """
    shapes = {
        name: as_shape(node.input_type["input"])
        for name, node in parameters.items()
        if type(node).__name__ == "Input"
    }
    wanted: dict[str, set[int | None]] = {name: set() for name in shapes}
    for target, sources in inputs.items():
        for source in shapes.keys() & set(sources):
            wanted[source].add(wanted_dimensions(parameters[target]))
    sizes = {_batch(shape, wanted[name]) for name, shape in shapes.items()}
    batch = sizes.pop() if len(sizes) == 1 else None
    if batch is None:
        return dict(parameters), None
    trimmed = dict(parameters)
    for name, node in parameters.items():
        shape = as_shape(node.input_type["input"]) if type(node).__name__ in {"Input", "Output"} else None
        if shape is not None and shape[:1] == (batch,):
            trimmed[name] = _of_shape(node, shape[1:])
    return trimmed, batch


def _batch(shape: Shape | None, wanted: set[int | None]) -> int | None:
    """The size of the leading dimension, where exactly that one is too many."""
    return shape[0] if shape is not None and wanted == {len(shape) - 1} else None


def _of_shape(node: Any, shape: Shape) -> Any:
    trimmed = copy.copy(node)
    trimmed.input_type = {"input": np.array(shape)}
    trimmed.output_type = {"output": np.array(shape)}
    return trimmed
