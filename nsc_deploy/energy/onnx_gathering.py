"""What ONNX operators cost that bring many values together: reductions, pools and normalisations.

A line is one group of n values that are brought together: n - 1 additions make their sum, n - 1
comparisons (functions) their maximum.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from math import prod

from nsc_deploy.energy.counting.onnx.operators import Cost, Rule, Shape, Site
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.onnx_windows import windows_of

Sizes = Callable[[Site, Shape], tuple[int, int]]


def reduced(
    combine: Kind, *, each: Kind | None = None, last: Kind | None = None, never_one: bool = False
) -> Rule:
    """A reduction of each line to one value.

    Args:
        combine: what brings two values together.
        each: what is done to each value before.
        last: what is done to each result.
        never_one: whether `last` falls away for lines of a single value (a mean of one).
    """

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        given, left = prod(shapes[site.node.input[0]]), prod(shapes[site.node.output[0]])
        found = Counter({combine: given - left})
        if each is not None:
            found[each] += given
        if last is not None and not (never_one and given == left):
            found[last] += left
        return Cost(found)

    return rule


def chosen(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """TopK: one comparison for each value that is given."""
    return Cost({Kind.ACTIVATION: prod(shapes[site.node.input[0]])})


def pooled(combine: Kind, *, last: Kind | None = None) -> Rule:
    """A reduction of each window, of what lies inside the input alone.

    Args:
        combine: what brings two values together.
        last: what is done to each result.
    """

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        given, out = shapes[site.node.input[0]], shapes[site.node.output[0]]
        kernel = tuple(site.attribute("kernel_shape", []))
        pairs = windows_of(site, given[2:], kernel).pairs(given[2:], kernel, out[2:])
        found = {combine: prod(given[:2]) * pairs - prod(out)}
        return Cost(found | ({last: prod(out)} if last is not None else {}))

    return rule


def last_axes(site: Site, shape: Shape) -> tuple[int, int]:
    """LayerNormalization: (number of lines, values of each) over the axes from `axis` on."""
    axis = site.attribute("axis", -1) % len(shape)
    return prod(shape[:axis]), prod(shape[axis:])


def one_axis(site: Site, shape: Shape) -> tuple[int, int]:
    """Softmax: lines along one axis."""
    length = shape[site.attribute("axis", -1) % len(shape)]
    return prod(shape) // length, length


def space(site: Site, shape: Shape) -> tuple[int, int]:
    """InstanceNormalization: each channel of each sample is a line."""
    return prod(shape[:2]), prod(shape[2:])


def groups(site: Site, shape: Shape) -> tuple[int, int]:
    """GroupNormalization: so many channels of a sample are a line."""
    lines = shape[0] * int(site.attribute("num_groups", 1))
    return lines, prod(shape) // lines


def normalized(sizes: Sizes, *, centred: bool = True) -> Rule:
    """(x - mean) / sqrt(mean square + epsilon), then a scale and a bias where they are given.

    For a line of n values: n - 1 additions and a product for the mean, n additions to take it off, n
    products, n - 1 additions and a product for the mean square, an addition of epsilon, a root and a
    reciprocal, n products with it; n products with a scale, n additions of a bias.

    Args:
        sizes: number of lines and values of each, from the shape.
        centred: whether the mean is taken off (it is not in RMSNormalization).
    """

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        lines, n = sizes(site, shapes[site.node.input[0]])
        scale = n if site.given(1) else 0
        bias = n if site.given(2) else 0
        mean = 1 if centred else 0
        additions = mean * (2 * n - 1) + n + bias
        products = mean + 2 * n + 1 + scale
        return Cost(
            {
                Kind.ADDITION: lines * additions,
                Kind.PRODUCT: lines * products,
                Kind.ACTIVATION: 2 * lines,
            }
        )

    return rule


def softmax(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """With exp(x) / sum exp(x), for a line of n values: n + 1 functions, n - 1 additions, n products."""
    lines, n = one_axis(site, shapes[site.node.input[0]])
    return Cost({Kind.ACTIVATION: lines * (n + 1), Kind.ADDITION: lines * (n - 1), Kind.PRODUCT: lines * n})


def log_softmax(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """With x - log sum exp(x), for a line of n values: n + 1 functions and 2 n - 1 additions."""
    lines, n = one_axis(site, shapes[site.node.input[0]])
    return Cost({Kind.ACTIVATION: lines * (n + 1), Kind.ADDITION: lines * (2 * n - 1)})


def local_response(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """LRN: x / (bias + alpha / size * sum of squares over the near channels) ** beta.

    For each value: its square, the sum over the channels that are there, a product, an addition, a power
    (a function) and a product.
    """
    shape = shapes[site.node.input[0]]
    size, channels, positions = int(site.attribute("size", 1)), shape[1], shape[0] * prod(shape[2:])
    near = sum(
        min(channels - 1, channel + size // 2) - max(0, channel - (size - 1) // 2) + 1
        for channel in range(channels)
    )
    values = channels * positions
    return Cost({Kind.PRODUCT: 3 * values, Kind.ADDITION: near * positions, Kind.ACTIVATION: values})
