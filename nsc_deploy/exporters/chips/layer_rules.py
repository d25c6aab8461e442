"""What a convolution core can be set to: one rule a setting, each with the smallest change that mends it."""

from collections.abc import Callable, Iterator, Sequence

from nsc_deploy.exporters.chips.chip import LayerCores
from nsc_deploy.exporters.chips.figures import Figure
from nsc_deploy.exporters.chips.layers import Layer
from nsc_deploy.exporters.chips.placement import Breach
from nsc_deploy.exporters.chips.wiring import Wiring

Rule = Callable[[Layer, LayerCores], Iterator[Breach]]


def layer_breaches(wiring: Wiring, layers: Sequence[Layer], layout: LayerCores) -> tuple[Breach, ...]:
    """Every setting of every layer that a core does not have."""
    found = [breach for layer in layers for rule in RULES for breach in rule(layer, layout)]
    return (*found, *_destinations(wiring, layers, layout))


def square_kernel(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Kernels are as high as wide."""
    height, width = layer.kernel
    if height != width:
        side = max(height, width)
        yield _breach(
            "square kernel",
            layer,
            f"has a kernel of {height} x {width}, and kernels are square",
            f"Fill it up with zeros to {side} x {side}.",
            max(layer.kernel),
            min(layer.kernel),
        )


def kernel_size(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Kernels are not too large."""
    yield from _at_most(
        "kernel size", layer, max(layer.kernel), layout.kernel_size, "Make the kernel {limit} wide"
    )


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
    yield from _at_most(
        "input size", layer, max(layer.size), layout.input_size, "Pool the input to {limit} wide"
    )
    largest = max(layer.feature_map)
    yield from _at_most(
        "output size", layer, largest, layout.output_size, "Stride or pool before it, to a map {limit} wide"
    )


def strides(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Only some strides exist."""
    yield from _one_of("stride", layer, layer.stride, layout.strides.values, "Use a stride of {nearest}")


def paddings(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """The same padding on both sides, and not too much."""
    if any(low != high for low, high in layer.padding):
        yield _breach(
            "padding",
            layer,
            "pads one side more than the other",
            "Use an odd kernel, or pad both sides alike.",
            max(max(pair) for pair in layer.padding),
            min(min(pair) for pair in layer.padding),
        )
    else:
        amounts = tuple(low for low, _ in layer.padding)
        yield from _one_of("padding", layer, amounts, layout.paddings.values, "Use a padding of {nearest}")


def no_dilation(layer: Layer, layout: LayerCores) -> Iterator[Breach]:
    """Taps lie side by side."""
    if set(layer.dilation) != {1}:
        yield _breach(
            "dilation",
            layer,
            f"has a dilation of {layer.dilation}, and taps lie side by side",
            "Use a dilation of 1.",
            max(layer.dilation),
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


RULES: tuple[Rule, ...] = (
    square_kernel,
    kernel_size,
    channels,
    image_sizes,
    strides,
    paddings,
    no_dilation,
    poolings,
)


def _destinations(wiring: Wiring, layers: Sequence[Layer], layout: LayerCores) -> Iterator[Breach]:
    """A core sends to few others."""
    limit = layout.destinations.value
    for source in (*wiring.inputs, *(layer.name for layer in layers)):
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
    rule: str, layer: Layer, used: int, figure: Figure, remedy: str, counted: str | None = None
) -> Iterator[Breach]:
    limit = figure.value
    if limit is not None and used > limit:
        text = remedy.format(limit=limit)
        has = f"has a {rule} of {used:,}" if counted is None else f"has {used:,} {counted}"
        yield _breach(rule, layer, f"{has}; a core takes {limit:,}", f"{text}.", used, limit)


def _one_of(
    rule: str, layer: Layer, used: Sequence[int], allowed: Sequence[int], remedy: str
) -> Iterator[Breach]:
    wrong = [one for one in used if one not in allowed]
    if wrong:
        nearest = min(allowed, key=lambda one: (abs(one - wrong[0]), one))
        listed = ", ".join(str(one) for one in allowed)
        text = remedy.format(nearest=nearest)
        yield _breach(
            rule, layer, f"has a {rule} of {wrong[0]}; a core has {listed}", f"{text}.", wrong[0], nearest
        )


def _breach(rule: str, layer: Layer, problem: str, remedy: str, used: int, limit: int) -> Breach:
    return Breach(rule, f"node '{layer.weights}'", problem, remedy, used, limit)
