"""NIR nodes with fewer neurons, channels or weights."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def edit(nodes: dict[str, Any], name: str, axis: int, mask: Mask, narrow: bool) -> None:
    """Take rows (axis 0: outputs) or columns (1: inputs) out of a layer, or set them to zero."""
    node = nodes[name]
    fields = {"weight": node.weight} | ({"bias": node.bias} if axis == 0 and hasattr(node, "bias") else {})
    new = {}
    for field, values in fields.items():
        # Behind a Flatten, a channel stands for several columns in a row.
        chosen = np.repeat(mask, values.shape[axis] // len(mask))
        if narrow:
            new[field] = np.compress(~chosen, values, axis=axis)
        else:
            zeroed = np.array(values)
            zeroed[(slice(None),) * axis + (chosen,)] = 0
            new[field] = zeroed
    nodes[name] = changed(node, new)


def changed(node: Any, fields: Mapping[str, NDArray[Any]]) -> Any:
    """A node with other parameters, its shapes those of its weights."""
    clean = copy.copy(node)
    for field, values in fields.items():
        setattr(clean, field, values)
    if "weight" in fields:
        outputs, inputs = clean.weight.shape[:2]
        clean.input_type = {
            "input": _resized(clean.input_type["input"], inputs * getattr(clean, "groups", 1))
        }
        clean.output_type = {"output": _resized(clean.output_type["output"], outputs)}
    return clean


def _resized(shape: NDArray[Any], channels: int) -> NDArray[Any]:
    """A shape with another number of channels."""
    return np.array([channels, *np.asarray(shape)[1:]])


def carrying(node: Any, kept: Mask) -> Any:
    """A pooling or a Flatten of some of the channels."""
    clean = copy.copy(node)
    arriving = np.asarray(clean.input_type["input"])
    leaving = np.asarray(clean.output_type["output"])
    share = leaving[0] // arriving[0]
    clean.input_type = {"input": _resized(arriving, int(kept.sum()))}
    clean.output_type = {"output": _resized(leaving, int(kept.sum()) * int(share))}
    return clean


def narrowed(node: Any, kept: Mask) -> Any:
    """A layer of neurons with some of them, or with some of its channels."""
    clean = copy.copy(node)
    shape = tuple(int(size) for size in np.asarray(node.output_type["output"]))
    for field, values in vars(node).items():
        if isinstance(values, np.ndarray) and values.shape == shape:
            setattr(clean, field, values[kept])
    size = _resized(np.array(shape), int(kept.sum()))
    clean.input_type, clean.output_type = {"input": size}, {"output": size.copy()}
    return clean
