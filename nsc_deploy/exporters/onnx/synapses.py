"""Nodes without a state as ONNX operators on [M, *shape], M rows of any meaning."""

from collections.abc import Callable, Mapping

import numpy as np

from nsc_deploy.exporters.onnx.draft import Draft
from nsc_deploy.graphs.network import Node
from nsc_deploy.graphs.shapes import padding_pairs

Write = Callable[[Draft, Node, str], str]


def dense(draft: Draft, node: Node, source: str) -> str:
    """Linear and Affine: y = W x, then + b; weights of more than two dimensions act on each slice apart."""
    weight = draft.constant(
        f"{node.name}/weight", np.ascontiguousarray(node.parameters.weight.swapaxes(-1, -2))
    )
    if node.parameters.weight.ndim > 2:
        axis = draft.integers(f"{node.name}/axis", [-2])
        row = draft.node("Unsqueeze", [source, axis], f"{node.name}/row")
        product = draft.node("MatMul", [row, weight], f"{node.name}/products")
        result = draft.node("Squeeze", [product, axis], f"{node.name}/product")
    else:
        result = draft.node("MatMul", [source, weight], f"{node.name}/product")
    if node.primitive == "Linear":
        return result
    bias = draft.constant(f"{node.name}/bias", node.parameters.bias)
    return draft.node("Add", [result, bias], f"{node.name}/sum")


def convolution(draft: Draft, node: Node, source: str) -> str:
    """Conv1d and Conv2d, then + b."""
    parameters = node.parameters
    kernel = parameters.weight.shape[2:]
    pairs = padding_pairs(parameters.padding, kernel, parameters.dilation)
    result = draft.node(
        "Conv",
        [source, draft.constant(f"{node.name}/weight", parameters.weight)],
        f"{node.name}/product",
        group=parameters.groups,
        strides=list(parameters.stride),
        dilations=list(parameters.dilation),
        pads=[low for low, _ in pairs] + [high for _, high in pairs],
    )
    bias = parameters.bias.reshape(-1, *([1] * len(kernel)))
    return draft.node("Add", [result, draft.constant(f"{node.name}/bias", bias)], f"{node.name}/sum")


def pool(draft: Draft, node: Node, source: str) -> str:
    """SumPool2d as a convolution of each channel with ones; AvgPool2d divides it by the window's size."""
    parameters, channels = node.parameters, node.input_shape[0]
    ones = np.ones((channels, 1, *parameters.kernel_size))
    total = draft.node(
        "Conv",
        [source, draft.constant(f"{node.name}/window", ones)],
        f"{node.name}/total",
        group=channels,
        strides=list(parameters.stride),
        pads=[*parameters.padding, *parameters.padding],
    )
    if node.primitive == "SumPool2d":
        return total
    size = draft.constant(f"{node.name}/size", float(np.prod(parameters.kernel_size)))
    return draft.node("Div", [total, size], f"{node.name}/mean")


def scale(draft: Draft, node: Node, source: str) -> str:
    """Scale: y = scale * x."""
    factor = draft.constant(f"{node.name}/scale", node.parameters.scale)
    return draft.node("Mul", [factor, source], f"{node.name}/scaled")


def flatten(draft: Draft, node: Node, source: str) -> str:
    """Flatten: another shape, the rows kept."""
    shape = draft.integers(f"{node.name}/shape", [-1, *node.output_shape])
    return draft.node("Reshape", [source, shape], f"{node.name}/flat")


STATELESS: Mapping[str, Write] = {
    "Linear": dense,
    "Affine": dense,
    "Conv1d": convolution,
    "Conv2d": convolution,
    "SumPool2d": pool,
    "AvgPool2d": pool,
    "Scale": scale,
    "Flatten": flatten,
}
