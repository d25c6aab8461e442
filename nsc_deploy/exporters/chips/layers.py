"""The layers of a graph as a convolution chip sees them."""

from dataclasses import dataclass
from math import prod

import numpy as np

from nsc_deploy.exporters.chips.wiring import Obstacle, Population, Projection, Wiring
from nsc_deploy.graphs.network import Network, Node, Shape
from nsc_deploy.graphs.shapes import padding_pairs


@dataclass(frozen=True)
class Layer:
    """Neurons with the kernel before them.

    Attributes:
        name: of the population.
        weights: of the node with the weights.
        sources: inputs and populations that feed it.
        poolings: for each source the windows its spikes are pooled in.
        channels: input channels, all groups together.
        outputs: output channels.
        kernel: height and width.
        stride: for each axis.
        padding: zeros in front and behind, for each axis.
        dilation: for each axis.
        size: height and width of the input.
        feature_map: height and width of the output.
        biased: whether a bias is not zero.
    """

    name: str
    weights: str
    sources: tuple[str, ...]
    poolings: tuple[tuple[int, int], ...]
    channels: int
    outputs: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, int]
    size: tuple[int, int]
    feature_map: tuple[int, int]
    biased: bool


def layers_of(network: Network, wiring: Wiring) -> tuple[Layer, ...]:
    """Every population as a layer.

    Raises:
        Obstacle: a population without weights before it, or with two sets of them.
    """
    return tuple(_layer(network, one, wiring.into(one.name)) for one in wiring.populations)


def _layer(network: Network, population: Population, into: tuple[Projection, ...]) -> Layer:
    names = {one.weights for one in into}
    if len(names) != 1:
        listed = ", ".join(f"'{name}'" if name else "none" for name in sorted(names, key=str))
        raise Obstacle(
            population.name,
            f"has several weights before it ({listed}), and a core has one kernel",
            "Join the branches before one set of weights.",
        )
    (name,) = names
    if name is None:
        raise Obstacle(
            population.name,
            "follows its source without weights, and every core has a kernel",
            "Put a Conv2d node of size 1 between, for example the identity.",
        )
    node = network.node(name)
    poolings = tuple(_pooling(network, one) for one in into)
    sources = tuple(one.source for one in into)
    if node.primitive == "Conv2d":
        return _convolution(node, population, sources, poolings)
    return _matrix(network, node, population, into[0], sources, poolings)


def _convolution(
    node: Node, population: Population, sources: tuple[str, ...], poolings: tuple[tuple[int, int], ...]
) -> Layer:
    form = node.parameters
    return Layer(
        name=population.name,
        weights=node.name,
        sources=sources,
        poolings=poolings,
        channels=node.input_shape[0],
        outputs=node.output_shape[0],
        kernel=_pair(form.weight.shape[2:]),
        stride=_pair(form.stride),
        padding=tuple(padding_pairs(form.padding, form.weight.shape[2:], form.dilation)),
        dilation=_pair(form.dilation),
        size=_pair(node.input_shape[1:]),
        feature_map=_pair(node.output_shape[1:]),
        biased=bool(np.any(form.bias != 0)),
    )


def _matrix(
    network: Network,
    node: Node,
    population: Population,
    projection: Projection,
    sources: tuple[str, ...],
    poolings: tuple[tuple[int, int], ...],
) -> Layer:
    """A weight matrix as a kernel as large as its input."""
    channels, height, width = _image(network, node, projection)
    return Layer(
        name=population.name,
        weights=node.name,
        sources=sources,
        poolings=poolings,
        channels=channels,
        outputs=prod(node.output_shape),
        kernel=(height, width),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
        size=(height, width),
        feature_map=(1, 1),
        biased=bool(np.any(getattr(node.parameters, "bias", 0))),
    )


def _image(network: Network, node: Node, projection: Projection) -> tuple[int, int, int]:
    """Channels, height and width of what a weight matrix reads: the shape before it was flattened."""
    shapes: list[Shape] = [network.node(projection.source).output_shape]
    shapes += [network.node(name).output_shape for name in projection.through]
    before = shapes[: shapes.index(node.output_shape) if node.output_shape in shapes else None]
    images = [shape for shape in before if len(shape) == 3 and prod(shape) == prod(node.input_shape)]
    if images:
        channels, height, width = images[-1]
        return channels, height, width
    return prod(node.input_shape), 1, 1


def _pooling(network: Network, projection: Projection) -> tuple[int, int]:
    rows = columns = 1
    for name in projection.through:
        node = network.node(name)
        if node.primitive in {"SumPool2d", "AvgPool2d"}:
            height, width = node.parameters.kernel_size
            rows, columns = rows * height, columns * width
    return rows, columns


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    first, second = sizes
    return int(first), int(second)
