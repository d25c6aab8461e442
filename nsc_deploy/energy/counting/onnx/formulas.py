"""ONNX operators without weights: element by element, over lines of values, and those that only move them.

A rule gives the cost of one execution as if every value were real. A line is one group of n values that
are brought together: n - 1 additions make their sum, n - 1 comparisons (functions) their maximum.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from nsc_deploy.energy.counting.onnx.axes import (
    alone,
    along,
    behind,
    chosen,
    leading,
    pointwise,
    reduced,
    regrouped,
    sliced,
    transposed,
)
from nsc_deploy.energy.counting.onnx.contents import (
    added,
    all_decided,
    cast,
    cast_decided,
    cast_like,
    choice,
    choice_decided,
    clipped,
    compared_here,
    extreme,
    moved,
    multiplied,
    negated,
    padded,
    pooled_holds,
    recognised,
    summed,
    taken_off,
    true,
)
from nsc_deploy.energy.counting.onnx.operators import (
    SOFTMAX_OVER_ONE_AXIS,
    Accesses,
    Cost,
    CostRule,
    Shape,
    Site,
    brought_together,
    free,
    gathered,
    looked_up,
    passing,
    register,
    untouched,
)
from nsc_deploy.energy.counting.onnx.products import filled_windows, window_pairs
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.errors import GraphError

# Operators that move values and compute none.


for _kinds, _axes, _holds in (
    (("Identity",), pointwise, moved(0)),
    (("CastLike",), None, cast_like),
    (("Transpose",), transposed, moved(0)),
    (("Reshape", "Squeeze", "Unsqueeze", "Flatten"), regrouped, moved(0)),
    (("Slice",), sliced, moved(0)),
    (("Concat",), along(0), moved()),
    (("Pad",), None, padded),
    (("Dropout",), alone, moved(0)),
    (("Expand", "Tile", "Split", "ReverseSequence"), None, moved(0)),
    (("DepthToSpace", "SpaceToDepth", "Trilu"), None, moved(0)),
    (("Constant", "ConstantOfShape", "Shape", "Size", "Range"), None, None),
):
    register(*_kinds, axes=_axes, holds=_holds, traffic=untouched)(free)
register("Gather", axes=chosen, holds=moved(0), traffic=looked_up)(free)
register("GatherElements", "GatherND", holds=moved(0), traffic=looked_up)(free)
register("Cast", axes=pointwise, holds=cast, decides=cast_decided, traffic=untouched)(free)
register("Where", axes=pointwise, holds=choice, decides=choice_decided, traffic=untouched)(free)


# Element by element.


def each(kind: Kind) -> CostRule:
    """One operation for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]])})

    return rule


def between_inputs(kind: Kind) -> CostRule:
    """One operation less than there are inputs, for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]]) * (len(site.node.input) - 1)})

    return rule


register(
    *("LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Celu", "Selu", "Gelu", "Mish", "Swish"),
    *("Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Shrink", "Mod"),
    *("Exp", "Log", "Sqrt", "Reciprocal", "Erf"),
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"),
    axes=pointwise,
)(each(Kind.ACTIVATION))
# 0 and 1 stay what they are, and whole numbers whole.
register("Relu", "Abs", "Sign", "Floor", "Ceil", "Round", axes=pointwise, holds=moved(0))(
    each(Kind.ACTIVATION)
)
register("Clip", axes=pointwise, holds=clipped)(each(Kind.ACTIVATION))
register("Neg", axes=pointwise, holds=negated)(each(Kind.ACTIVATION))
register(
    *("Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    axes=pointwise,
    holds=true,
    decides=compared_here,
)(each(Kind.ACTIVATION))
register("Equal", "IsNaN", "IsInf", axes=pointwise, holds=true, decides=recognised)(each(Kind.ACTIVATION))
register("Or", "Not", "Xor", axes=pointwise, holds=true)(each(Kind.ACTIVATION))
register("And", axes=pointwise, holds=true, decides=all_decided)(each(Kind.ACTIVATION))
register("Mul", axes=pointwise, holds=multiplied, decides=all_decided)(each(Kind.PRODUCT))
register("Div", axes=pointwise)(each(Kind.PRODUCT))
register("Add", axes=pointwise, holds=added, joins=True)(each(Kind.ADDITION))
register("Sub", axes=pointwise, holds=taken_off)(each(Kind.ADDITION))
register("Sum", axes=pointwise, holds=added, joins=True)(between_inputs(Kind.ADDITION))
register("Max", axes=pointwise, holds=extreme)(between_inputs(Kind.ACTIVATION))
register("Min", axes=pointwise, holds=extreme, decides=all_decided)(between_inputs(Kind.ACTIVATION))


@register("QuantizeLinear", axes=alone)
def rounded(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A product with 1 / scale and a rounding (a function) for each value; a scale of 1 is free."""
    out, scale = prod(shapes[site.node.output[0]]), site.constant(1)
    return Cost({Kind.PRODUCT: 0 if scale is not None and (scale == 1).all() else out, Kind.ACTIVATION: out})


@register("Mean", axes=pointwise)
def mean(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A sum of the inputs and a product with 1 / their number."""
    out, inputs = prod(shapes[site.node.output[0]]), len(site.node.input)
    return Cost({Kind.ADDITION: out * (inputs - 1), Kind.PRODUCT: out * (inputs > 1)})


@register("Pow", axes=pointwise)
def power(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A square is one product and a cube two; any other power is a function."""
    out = prod(shapes[site.node.output[0]])
    exponent = site.constant(1)
    known = None if exponent is None or exponent.size != 1 else float(exponent.reshape(()))
    if known in {2.0, 3.0}:
        return Cost({Kind.PRODUCT: out * (2 if known == 3 else 1)})
    return Cost({Kind.ACTIVATION: out})


# Reductions and pools.


def combined(
    combine: Kind, *, each: Kind | None = None, last: Kind | None = None, never_one: bool = False
) -> CostRule:
    """A reduction of each line to one value.

    Args:
        combine: what brings two values together.
        each: what is done to each value before.
        last: what is done to each result.
        never_one: whether `last` falls away for lines of a single value (a mean of one).
    """

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        given, left = prod(shapes[site.node.input[0]]), prod(shapes[site.node.output[0]])
        found = Counter({combine: max(0, given - left)})  # The sum of no value at all takes nothing.
        if each is not None:
            found[each] += given
        if last is not None and not (never_one and given == left):
            found[last] += left
        return Cost(found)

    return rule


@register("TopK", traffic=brought_together)
def compared(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """TopK: one comparison for each value that is given."""
    return Cost({Kind.ACTIVATION: prod(shapes[site.node.input[0]])})


def pooled(combine: Kind, *, last: Kind | None = None) -> CostRule:
    """A reduction of each window, of what lies inside the input alone.

    Args:
        combine: what brings two values together.
        last: what is done to each result.
    """

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        given, out = shapes[site.node.input[0]], shapes[site.node.output[0]]
        kernel = tuple(site.attribute("kernel_shape", []))
        pairs = window_pairs(site, given[2:], kernel, out[2:])
        # What lies in the padding alone combines nothing.
        windows = filled_windows(site, given[2:], kernel, out[2:])
        found = {combine: prod(given[:2]) * (pairs - windows)}
        return Cost(found | ({last: prod(out)} if last is not None else {}))

    return rule


@register("CumSum", axes=reduced, traffic=brought_together, holds=summed)
def running_sums(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Running sums of a line of n values: n - 1 additions, n - 2 where they leave out the value itself."""
    shape, axis = shapes[site.node.input[0]], site.constant(1)
    if axis is None:
        raise GraphError(
            "has the operator CumSum along an axis that is no constant, which cannot be counted",
            where=f"node '{site.path}'",
            hint="Export the model with a constant axis.",
        )
    n = shape[int(axis.reshape(-1)[0])]
    taken = max(0, n - 1 - int(site.attribute("exclusive", 0)))
    return Cost({Kind.ADDITION: taken * (prod(shape) // max(1, n))})


_MEAN = combined(Kind.ADDITION, last=Kind.PRODUCT, never_one=True)
for _kind, _cost, _holds in (
    ("ReduceMean", _MEAN, None),
    ("ReduceProd", combined(Kind.PRODUCT), moved(0)),
    ("ReduceMax", combined(Kind.ACTIVATION), moved(0)),
    ("ReduceMin", combined(Kind.ACTIVATION), moved(0)),
    ("ReduceSum", combined(Kind.ADDITION), summed),
    ("ReduceL1", combined(Kind.ADDITION, each=Kind.ACTIVATION), summed),
    ("ReduceL2", combined(Kind.ADDITION, each=Kind.PRODUCT, last=Kind.ACTIVATION), None),
    ("ReduceSumSquare", combined(Kind.ADDITION, each=Kind.PRODUCT), summed),
    ("ReduceLogSum", combined(Kind.ADDITION, last=Kind.ACTIVATION), None),
    ("ArgMax", combined(Kind.ACTIVATION), None),
    ("ArgMin", combined(Kind.ACTIVATION), None),
):
    register(_kind, axes=reduced, traffic=brought_together, holds=_holds)(_cost)
register("GlobalAveragePool", axes=leading, traffic=brought_together)(_MEAN)
register("GlobalMaxPool", axes=leading, traffic=brought_together, holds=moved(0))(combined(Kind.ACTIVATION))
register("AveragePool", axes=leading, traffic=brought_together)(pooled(Kind.ADDITION, last=Kind.PRODUCT))
register("MaxPool", axes=leading, traffic=brought_together, holds=pooled_holds)(pooled(Kind.ACTIVATION))


# Normalisations.


def folded(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """Mean, variance, scale and bias are folded: at most two constants for each result."""
    reads = passing(site, shapes, price)
    return replace(reads, weight_reads=min(reads.weight_reads, 2 * prod(shapes[site.node.output[0]])))


@register("BatchNormalization", axes=leading, traffic=folded)
def batch_normalization(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """One factor and one summand for each element: mean, variance, scale and bias are folded."""
    out = prod(shapes[site.node.output[0]])
    return Cost({Kind.PRODUCT: out, Kind.ADDITION: out})


def last_axes(site: Site, shape: Shape) -> tuple[int, int]:
    """LayerNormalization: (number of lines, values of each) over the axes from `axis` on."""
    axis = site.attribute("axis", -1) % len(shape)
    return prod(shape[:axis]), prod(shape[axis:])


def space(site: Site, shape: Shape) -> tuple[int, int]:
    """InstanceNormalization: each channel of each sample is a line."""
    return prod(shape[:2]), prod(shape[2:])


def groups(site: Site, shape: Shape) -> tuple[int, int]:
    """GroupNormalization: so many channels of a sample are a line."""
    lines = shape[0] * int(site.attribute("num_groups", 1))
    return lines, prod(shape) // max(1, lines)


Sizes = Callable[[Site, Shape], tuple[int, int]]


def normalized(sizes: Sizes, *, centred: bool = True) -> CostRule:
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
        lines = lines if n else 0
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


register("LayerNormalization", axes=behind, traffic=gathered)(normalized(last_axes))
register("RMSNormalization", axes=behind, traffic=gathered)(normalized(last_axes, centred=False))
register("InstanceNormalization", axes=leading, traffic=gathered)(normalized(space))
register("GroupNormalization", axes=leading, traffic=gathered)(normalized(groups))


def one_axis(site: Site, shape: Shape) -> tuple[int, int]:
    """Softmax: lines along one axis; before opset 13 over all axes from `axis` on, the second by default.

    Lines without a value are none.
    """
    flattens = site.opset < SOFTMAX_OVER_ONE_AXIS
    axis = site.attribute("axis", 1 if flattens else -1) % len(shape)
    length = prod(shape[axis:]) if flattens else shape[axis]
    return prod(shape) // max(1, length), length


@register("Softmax", axes=along(-1), traffic=gathered)
def softmax(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """With exp(x) / sum exp(x), for a line of n values: n + 1 functions, n - 1 additions, n products."""
    lines, n = one_axis(site, shapes[site.node.input[0]])
    return Cost({Kind.ACTIVATION: lines * (n + 1), Kind.ADDITION: lines * (n - 1), Kind.PRODUCT: lines * n})


@register("LogSoftmax", axes=along(-1), traffic=gathered)
def log_softmax(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """With x - log sum exp(x), for a line of n values: n + 1 functions and 2 n - 1 additions."""
    lines, n = one_axis(site, shapes[site.node.input[0]])
    return Cost({Kind.ACTIVATION: lines * (n + 1), Kind.ADDITION: lines * (2 * n - 1)})


@register("LRN", axes=leading, traffic=gathered)
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
