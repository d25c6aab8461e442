"""Placement on cores that each hold one layer: a kernel, the neurons behind it, a pooling of their spikes.

What a core can be set to is one rule a setting, each with the smallest change that mends it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, log2, prod

import numpy as np

from nsc_deploy.exporters.chips.chip import Chip, CoreSize, Figure, LayerCores
from nsc_deploy.exporters.chips.placement import Breach, Core, Layout, Placement, Usage
from nsc_deploy.exporters.chips.projections import (
    POOLS,
    Obstacle,
    Population,
    Projection,
    ProjectionGraph,
    uneven_scale,
)
from nsc_deploy.exporters.chips.timing import Timing
from nsc_deploy.graphs.connectivity import Axes, KernelAxis, kernel_axes
from nsc_deploy.graphs.network import Network, Node, Shape


@dataclass(frozen=True)
class Layer:
    """Neurons with the kernel before them.

    Attributes:
        name: of the population.
        weights: of the node with the weights; of matrices in a row, which are one kernel, the last.
        sources: inputs and populations that feed it.
        poolings: for each source the windows its spikes are pooled in.
        padded: the poolings before it that pad, each with by how much at most.
        channels: input channels, all groups together.
        outputs: output channels.
        axes: of the kernel: height and width.
        biased: whether a bias is not zero.
    """

    name: str
    weights: str
    sources: tuple[str, ...]
    poolings: tuple[tuple[int, int], ...]
    padded: tuple[tuple[str, int], ...]
    channels: int
    outputs: int
    axes: Axes
    biased: bool


def need_of(layer: Layer) -> CoreSize:
    """Entries by the chip's address scheme: sizes are rounded up to powers of two.

    kernel: inputs * 2^(ceil log2(height * width) + ceil log2(outputs)) of the kernel;
    neurons: outputs * 2^(ceil log2 height + ceil log2 width) of the feature map
    (sinabs, DynapcnnLayer.memory_summary).
    """
    taps = prod(axis.kernel for axis in layer.axes)
    kernel = layer.channels * 2 ** (_log(taps) + _log(layer.outputs))
    neurons = layer.outputs * 2 ** sum(_log(axis.outputs) for axis in layer.axes)
    return CoreSize(kernel=kernel, neurons=neurons, biases=layer.outputs if layer.biased else 0)


def _log(size: int) -> int:
    return ceil(log2(size))


def fit_layer_cores(
    network: Network, graph: ProjectionGraph, timing: Timing, chip: Chip, layout: LayerCores
) -> Layout:
    """Give every layer a core that is large enough, as many as possible at once."""
    layers = layers_of(network, graph)
    needs = {layer.name: need_of(layer) for layer in layers}
    home = assign(needs, layout.cores.each)
    breaches = (*layer_breaches(graph, layers, layout), *_homeless(layers, needs, home, layout.cores.each))
    cores = tuple(sorted(_cores(graph, needs, home, layout.cores.each), key=lambda core: core.index))
    used = len(cores)
    pools = (
        Usage("cores", used, len(layout.cores.each)),
        Usage(
            "kernel entries",
            sum(one.kernel for one in needs.values()),
            sum(one.kernel for one in layout.cores.each),
        ),
        Usage(
            "neuron entries",
            sum(one.neurons for one in needs.values()),
            sum(one.neurons for one in layout.cores.each),
        ),
        Usage("neurons", graph.neurons, None),
        Usage("synapses", graph.synapses, None),
    )
    return Layout(Placement(chip.name, cores, (), dict(timing.latency)), pools, breaches)


def assign(needs: Mapping[str, CoreSize], cores: Sequence[CoreSize]) -> dict[str, int]:
    """A core for as many layers as possible, each large enough (augmenting paths, in the order given)."""
    owner: dict[int, str] = {}

    def place(name: str, tried: set[int]) -> bool:
        for index, core in enumerate(cores):
            if index in tried or not core.holds(needs[name]):
                continue
            tried.add(index)
            if index not in owner or place(owner[index], tried):
                owner[index] = name
                return True
        return False

    for name in needs:
        place(name, set())
    return {name: index for index, name in owner.items()}


def _cores(
    graph: ProjectionGraph, needs: Mapping[str, CoreSize], home: Mapping[str, int], cores: Sequence[CoreSize]
) -> Iterator[Core]:
    """The cores in use; a layer without one gets a number past the last, and the largest core's sizes."""
    largest = max(cores, key=lambda core: (core.kernel, core.neurons))
    spare = len(cores)
    for one in graph.populations:
        if one.name not in needs:
            continue
        index = home.get(one.name, spare)
        spare += one.name not in home
        size = cores[index] if index < len(cores) else largest
        need = needs[one.name]
        pools = (
            Usage("kernel entries", need.kernel, size.kernel),
            Usage("neuron entries", need.neurons, size.neurons),
            Usage("biases", need.biases, size.biases),
        )
        yield Core(index, (one.share(0, one.size),), pools)


def _homeless(
    layers: Sequence[Layer], needs: Mapping[str, CoreSize], home: Mapping[str, int], cores: Sequence[CoreSize]
) -> Iterator[Breach]:
    if len(layers) > len(cores):
        over = len(layers) - len(cores)
        yield Breach(
            "cores of the chip",
            "chip",
            f"{len(layers)} layers; the chip has {len(cores)} cores, one for each",
            f"Leave out {over} layer{'' if over == 1 else 's'}.",
            len(layers),
            len(cores),
        )
        return
    for layer in layers:
        if layer.name not in home:
            left = [core for index, core in enumerate(cores) if index not in home.values()]
            yield _too_large(layer, needs, _most_outputs(layer, needs, len(home), cores), left)


def _too_large(layer: Layer, needs: Mapping[str, CoreSize], fits: int, left: Sequence[CoreSize]) -> Breach:
    """A layer that fits no core which the others leave, and the nearest of these.

    Args:
        layer: the layer.
        needs: what each layer takes.
        fits: the output channels with which it would find a core; 0 if none.
        left: cores without a layer; each lacks something.
    """
    need = needs[layer.name]
    best = min(left, key=lambda core: max(short for short, *_ in _shortages(need, core)))
    _, used, limit = max(_shortages(need, best))
    other = "stride or pool more before it"
    hint = (
        f"Make its {layer.outputs:,} output channels {fits:,}, or {other}."
        if fits
        else f"Make the layers before it smaller: {other}."
    )
    return Breach(
        "memory of a core",
        f"node '{layer.name}'",
        f"needs {need.kernel:,} kernel and {need.neurons:,} neuron entries; no core that is left has both "
        f"(the nearest {best.kernel:,} and {best.neurons:,})",
        hint,
        used,
        limit,
    )


def _shortages(need: CoreSize, core: CoreSize) -> Iterator[tuple[float, int, int]]:
    """By how much each memory of a core is too small, then what is needed and what there is."""
    for name in ("kernel", "neurons", "biases"):
        used, limit = getattr(need, name), getattr(core, name)
        yield used / max(limit, 0.5), used, limit  # a core may have no biases at all


def _most_outputs(layer: Layer, needs: Mapping[str, CoreSize], placed: int, cores: Sequence[CoreSize]) -> int:
    """The most output channels with which the layer finds a core beside all that have one; 0 if none."""

    def fits(outputs: int) -> bool:
        changed = {**needs, layer.name: need_of(replace(layer, outputs=outputs))}
        found = assign(changed, cores)
        return layer.name in found and len(found) > placed

    low, high = 0, layer.outputs
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


Rule = Callable[[Layer, LayerCores], Iterator[Breach]]


def layer_breaches(graph: ProjectionGraph, layers: Sequence[Layer], layout: LayerCores) -> tuple[Breach, ...]:
    """Every setting of every layer that a core does not have."""
    found = [breach for layer in layers for rule in RULES for breach in rule(layer, layout)]
    return (*found, *_destinations(graph, layers, layout))


def square_kernel(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Kernels are as high as wide."""
    height, width = (axis.kernel for axis in layer.axes)
    if height != width:
        side = max(height, width)
        yield _breach(
            "square kernel",
            layer,
            f"has a kernel of {height} x {width}, and kernels are square",
            f"Fill it up with zeros to {side} x {side}.",
            side,
            min(height, width),
        )


def kernel_size(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Kernels are not too large."""
    side = max(axis.kernel for axis in layer.axes)
    yield from _at_most("kernel size", layer, side, layout.kernel_size, "Make the kernel {limit} wide")


def channels(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Neither too many input nor output channels."""
    yield from _at_most(
        "channels", layer, layer.channels, layout.channels, "Read {limit:,} input channels", "input channels"
    )
    yield from _at_most(
        "channels", layer, layer.outputs, layout.channels, "Make {limit:,} output channels", "output channels"
    )


def image_sizes(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Inputs and feature maps are not too large."""
    largest = max(axis.inputs for axis in layer.axes)
    yield from _at_most("input size", layer, largest, layout.input_size, "Pool the input to {limit} wide")
    largest = max(axis.outputs for axis in layer.axes)
    yield from _at_most(
        "output size", layer, largest, layout.output_size, "Stride or pool before it, to a map {limit} wide"
    )


def strides(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Only some strides exist."""
    each = [axis.stride for axis in layer.axes]
    yield from _one_of("stride", layer, each, layout.strides.values, "Use a stride of {nearest}")


def paddings(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """The same padding on both sides, and not too much."""
    each = [axis.padding for axis in layer.axes]
    if any(low != high for low, high in each):
        yield _breach(
            "padding",
            layer,
            "pads one side more than the other",
            "Use an odd kernel, or pad both sides alike.",
            max(max(pair) for pair in each),
            min(min(pair) for pair in each),
        )
    else:
        amounts = [low for low, _ in each]
        yield from _one_of("padding", layer, amounts, layout.paddings.values, "Use a padding of {nearest}")


def no_dilation(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Taps lie side by side."""
    each = tuple(axis.dilation for axis in layer.axes)
    if set(each) != {1}:
        yield _breach(
            "dilation",
            layer,
            f"has a dilation of {each}, and taps lie side by side",
            "Use a dilation of 1.",
            max(each),
            1,
        )


def poolings(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Only some windows exist, and they are square."""
    for source, window in zip(layer.sources, layer.poolings, strict=True):
        if window[0] != window[1]:
            yield _breach(
                "pooling",
                layer,
                f"pools '{source}' in windows of {window}, and windows are square",
                f"Use windows of {min(window)} x {min(window)}.",
                max(window),
                min(window),
            )
        else:
            yield from _one_of("pooling", layer, window, layout.poolings.values, "Use windows of {nearest}")


def no_padded_pooling(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Windows begin at the edge of a feature map."""
    for name, amount in layer.padded:
        problem = f"pads by {amount} before it pools, and a core pools a feature map as it is"
        yield Breach("pooling padding", f"node '{name}'", problem, "Use a padding of 0.", amount, 0)


RULES: tuple[Rule, ...] = (
    square_kernel,
    kernel_size,
    channels,
    image_sizes,
    strides,
    paddings,
    no_dilation,
    poolings,
    no_padded_pooling,
)


def _destinations(graph: ProjectionGraph, layers: Sequence[Layer], layout: LayerCores) -> Iterator[Breach]:
    """A core sends to few others."""
    limit = layout.destinations.value
    for source in (*graph.inputs, *(layer.name for layer in layers)):
        reached = [layer.name for layer in layers if source in layer.sources]
        if limit is not None and len(reached) > limit:
            yield Breach(
                "destinations",
                f"node '{source}'",
                f"sends to {len(reached)} layers ({', '.join(reached)}); a core sends to {limit}",
                f"Take {len(reached) - limit} of these connections away.",
                len(reached),
                limit,
            )


def _at_most(
    rule: str, layer: Layer, used: int, figure: Figure, hint: str, counted: str | None = None
) -> Iterator[Breach]:
    limit = figure.value
    if limit is not None and used > limit:
        text = hint.format(limit=limit)
        has = f"has a {rule} of {used:,}" if counted is None else f"has {used:,} {counted}"
        yield _breach(rule, layer, f"{has}; a core takes {limit:,}", f"{text}.", used, limit)


def _one_of(
    rule: str, layer: Layer, used: Sequence[int], allowed: Sequence[int], hint: str
) -> Iterator[Breach]:
    wrong = [one for one in used if one not in allowed]
    if wrong:
        nearest = min(allowed, key=lambda one: (abs(one - wrong[0]), one))
        listed = ", ".join(str(one) for one in allowed)
        text = hint.format(nearest=nearest)
        yield _breach(
            rule, layer, f"has a {rule} of {wrong[0]}; a core has {listed}", f"{text}.", wrong[0], nearest
        )


def _breach(rule: str, layer: Layer, problem: str, hint: str, used: int, limit: int) -> Breach:
    return Breach(rule, f"node '{layer.weights}'", problem, hint, used, limit)


def layers_of(network: Network, graph: ProjectionGraph) -> tuple[Layer, ...]:
    """Every population as a layer.

    Raises:
        Obstacle: a population without weights before it, or with two sets of them.
    """
    return tuple(_layer(network, one, graph.into(one.name)) for one in graph.populations)


def _layer(network: Network, population: Population, into: tuple[Projection, ...]) -> Layer:
    names = {one.weights for one in into}
    if len(names) != 1:
        listed = ", ".join(" and ".join(f"'{one}'" for one in some) or "none" for some in sorted(names))
        raise Obstacle(
            population.name,
            f"has several weights before it ({listed}), and a core has one kernel",
            "Join the branches before one set of weights.",
        )
    nodes = [network.node(name) for name in names.pop()]
    if not nodes:
        raise Obstacle(
            population.name,
            "follows its source without weights, and every core has a kernel",
            "Put a Conv2d node of size 1 between, for example the identity.",
        )
    first, last = nodes[0], nodes[-1]
    if first.primitive == "Conv1d":
        raise Obstacle(
            first.name,
            "goes over a sequence, and the kernel of a core over height and width",
            "Write it as a Conv2d over images of height 1.",
        )
    if first.primitive == "Conv2d":
        _refuse_uneven_scales(network, first, into)
        channels, outputs = first.input_shape[0], first.output_shape[0]
        axes = kernel_axes(first.parameters, first.input_shape[1:])
    else:  # a weight matrix is a kernel as large as its input
        channels, *size = _image(network, first, into[0])
        outputs, axes = prod(last.output_shape), tuple(KernelAxis(side, side) for side in size)
    return Layer(
        name=population.name,
        weights=last.name,
        sources=tuple(one.source for one in into),
        poolings=tuple(_pooling(network, one) for one in into),
        padded=_padded(network, into),
        channels=channels,
        outputs=outputs,
        axes=axes,
        biased=any(np.any(getattr(node.parameters, "bias", 0)) for node in nodes),
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


def _refuse_uneven_scales(network: Network, kernel: Node, into: tuple[Projection, ...]) -> None:
    for one in into:
        scale = uneven_scale([network.node(name) for name in one.through])
        if scale is not None:
            raise Obstacle(
                scale.name,
                f"differs from place to place within a channel, and the kernel of '{kernel.name}' does not",
                "Scale whole channels, or train without it.",
            )


def _padded(network: Network, into: tuple[Projection, ...]) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for name in (name for one in into for name in one.through):
        node = network.node(name)
        if node.primitive in POOLS:
            axes = kernel_axes(node.parameters, node.input_shape[1:])
            found[name] = max(max(axis.padding) for axis in axes)
    return tuple((name, amount) for name, amount in found.items() if amount)


def _pooling(network: Network, projection: Projection) -> tuple[int, int]:
    rows = columns = 1
    for name in projection.through:
        node = network.node(name)
        if node.primitive in POOLS:
            height, width = node.parameters.kernel_size
            rows, columns = rows * height, columns * width
    return rows, columns
