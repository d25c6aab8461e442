"""What one ONNX operator costs: a rule for each, from the shapes it meets when the graph runs.

A rule returns the cost of one execution as if every value were real. Where an input is proven binary,
`onnx_products.accumulates` counts the accumulates that really happen; the caller then leaves the
multiply-accumulates out.

What ONNX operators cost that work element by element.

What ONNX operators cost that bring many values together: reductions, pools and normalisations.

A line is one group of n values that are brought together: n - 1 additions make their sum, n - 1
comparisons (functions) their maximum.

What the ONNX operators with weights cost: matrix products, convolutions and recurrent layers.

The windows of ONNX convolutions and pools: stride, padding and dilation as the operator states them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import FREE, TRUTH, Cost, Rule, Shape, Site, Values
from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.connectivity import Pair, convolution_fan_out, window_pairs


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


REDUCTIONS: Mapping[str, Rule] = {
    "ReduceSum": reduced(Kind.ADDITION),
    "ReduceMean": reduced(Kind.ADDITION, last=Kind.PRODUCT, never_one=True),
    "ReduceProd": reduced(Kind.PRODUCT),
    "ReduceMax": reduced(Kind.ACTIVATION),
    "ReduceMin": reduced(Kind.ACTIVATION),
    "ReduceL1": reduced(Kind.ADDITION, each=Kind.ACTIVATION),
    "ReduceL2": reduced(Kind.ADDITION, each=Kind.PRODUCT, last=Kind.ACTIVATION),
    "ReduceSumSquare": reduced(Kind.ADDITION, each=Kind.PRODUCT),
    "ReduceLogSum": reduced(Kind.ADDITION, last=Kind.ACTIVATION),
    "ArgMax": reduced(Kind.ACTIVATION),
    "ArgMin": reduced(Kind.ACTIVATION),
    "TopK": chosen,
    "GlobalAveragePool": reduced(Kind.ADDITION, last=Kind.PRODUCT, never_one=True),
    "GlobalMaxPool": reduced(Kind.ACTIVATION),
    "AveragePool": pooled(Kind.ADDITION, last=Kind.PRODUCT),
    "MaxPool": pooled(Kind.ACTIVATION),
}


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
    return lines, prod(shape) // lines


Sizes = Callable[[Site, Shape], tuple[int, int]]


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


NORMALISATIONS: Mapping[str, Rule] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": normalized(last_axes),
    "InstanceNormalization": normalized(space),
    "GroupNormalization": normalized(groups),
    "RMSNormalization": normalized(last_axes, centred=False),
    "LRN": local_response,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
}
FUNCTIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Elu", "Celu", "Selu", "Gelu", "Mish", "Swish"}
    | {"Sigmoid", "HardSigmoid", "HardSwish", "Softplus", "Softsign", "Clip", "Shrink", "Mod"}
    | {"Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Abs", "Neg", "Sign", "Floor", "Ceil", "Round"}
    | {"Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Tanh", "Asinh", "Acosh", "Atanh"}
)


def each(kind: Kind) -> Rule:
    """One operation for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]])})

    return rule


def between_inputs(kind: Kind) -> Rule:
    """One operation less than there are inputs, for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        return Cost({kind: prod(shapes[site.node.output[0]]) * (len(site.node.input) - 1)})

    return rule


def mean(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A sum of the inputs and a product with 1 / their number."""
    out, inputs = prod(shapes[site.node.output[0]]), len(site.node.input)
    return Cost({Kind.ADDITION: out * (inputs - 1), Kind.PRODUCT: out * (inputs > 1)})


def power(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """A square is one product and a cube two; any other power is a function."""
    out = prod(shapes[site.node.output[0]])
    exponent = site.constant(1)
    known = None if exponent is None or exponent.size != 1 else float(exponent.reshape(()))
    if known in {2.0, 3.0}:
        return Cost({Kind.PRODUCT: out * (2 if known == 3 else 1)})
    return Cost({Kind.ACTIVATION: out})


def matmul(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Each output takes as many products as the inner axis is long."""
    inner = shapes[site.node.input[0]][-1]
    out = prod(shapes[site.node.output[0]])
    return Cost({Kind.MAC: out * inner}, weights=site.nonzero(0, 1))


def gemm(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Products of matrices, alpha A B + beta C; factors of 1 are free."""
    left = shapes[site.node.input[0]]
    inner = left[0] if site.attribute("transA", 0) else left[1]
    out = prod(shapes[site.node.output[0]])
    bias = site.given(2) is not None
    factors = (site.attribute("alpha", 1.0) != 1) + (bias and site.attribute("beta", 1.0) != 1)
    operations = {Kind.MAC: out * inner, Kind.ADDITION: out * bias, Kind.PRODUCT: out * factors}
    return Cost(operations, weights=site.nonzero(0, 1))


def conv(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Each output takes the taps that fall inside the input, of the channels of its group."""
    data, weight = (shapes[name] for name in site.node.input[:2])
    out = shapes[site.node.output[0]]
    pairs = windows_of(site, data[2:], weight[2:]).pairs(data[2:], weight[2:], out[2:])
    bias = prod(out) if site.given(2) else 0
    return Cost(
        {Kind.MAC: data[0] * weight[0] * weight[1] * pairs, Kind.ADDITION: bias}, weights=site.nonzero(1)
    )


def recurrent(gates: int, products: int, additions: int, activations: int) -> Rule:
    """A recurrent layer; the last three numbers are elementwise operations a unit and step."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        steps, samples, inputs = _sequence(site, shapes[site.node.input[0]])
        directions, rows, _ = shapes[site.node.input[1]]
        hidden = rows // gates
        units = steps * samples * directions * hidden
        peepholes = 3 if site.given(7) else 0
        operations = {
            Kind.MAC: units * gates * (inputs + hidden),
            Kind.PRODUCT: units * (products + peepholes),
            Kind.ADDITION: units * (additions + _biases(site, gates) + peepholes),
            Kind.ACTIVATION: units * activations,
        }
        return Cost(operations, weights=site.nonzero(1, 2), neurons=directions * hidden)

    return rule


_RULES: Mapping[str, Rule] = {
    "MatMul": matmul,
    "Gemm": gemm,
    "Conv": conv,
    # LSTM: c = f * c + i * g, h = o * tanh(c): 3 products, 1 addition, 5 functions a unit and step.
    "LSTM": recurrent(gates=4, products=3, additions=1, activations=5),
    # GRU: r * h, (1 - z) * n + z * h: 3 products, 2 additions, 3 functions.
    "GRU": recurrent(gates=3, products=3, additions=2, activations=3),
    "RNN": recurrent(gates=1, products=0, additions=0, activations=1),
    "Mul": each(Kind.PRODUCT),
    "Div": each(Kind.PRODUCT),
    "Pow": power,
    "Add": each(Kind.ADDITION),
    "Sub": each(Kind.ADDITION),
    "Sum": between_inputs(Kind.ADDITION),
    "Mean": mean,
    "Max": between_inputs(Kind.ACTIVATION),
    "Min": between_inputs(Kind.ACTIVATION),
    **{name: each(Kind.ACTIVATION) for name in FUNCTIONS | TRUTH},
    **REDUCTIONS,
    **NORMALISATIONS,
}


def cost(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of one execution.

    Raises:
        GraphError: an operator without a rule, or with an attribute that changes what it does; nothing is
            left out silently.
    """
    kind = site.node.op_type
    if kind in FREE:
        return Cost()
    rule = _RULES.get(kind)
    if rule is None or site.node.domain not in {"", "ai.onnx"}:
        raise GraphError(
            f"has the operator {kind}, which cannot be counted",
            where=f"node '{site.path}'",
            hint=f"Counted are: {', '.join(sorted(_RULES))}; free are: {', '.join(sorted(FREE))}.",
        )
    if site.attribute("training_mode", 0):
        raise GraphError(
            f"has the operator {kind} in training mode",
            where=f"node '{site.path}'",
            hint="Export the model for inference.",
        )
    return rule(site, shapes)


def one_axis(site: Site, shape: Shape) -> tuple[int, int]:
    """Softmax: lines along one axis."""
    length = shape[site.attribute("axis", -1) % len(shape)]
    return prod(shape) // length, length


def _biases(site: Site, gates: int) -> int:
    """Additions of biases a unit and step: those of input and state are one, unless a gate stands between."""
    if not site.given(3):
        return 0
    return gates + (1 if site.attribute("linear_before_reset", 0) else 0)


def _sequence(site: Site, shape: Shape) -> Shape:
    refused = {
        "sequences of different lengths": site.given(4) is not None,
        "the attribute 'clip'": site.attribute("clip", None) is not None,
        "the attribute 'input_forget'": bool(site.attribute("input_forget", 0)),
    }
    for what, there in refused.items():
        if there:
            raise GraphError(f"has {what}, which cannot be counted", where=f"node '{site.path}'")
    return (shape[1], shape[0], shape[2]) if site.attribute("layout", 0) else shape


def accumulates(site: Site, values: Values) -> int:
    """Accumulates of one execution of an operator fed with events: events times existing synapses.

    A changing tensor of real values that the events meet is there with all its values, zeros too.

    Args:
        site: the operator.
        values: of the inputs that meet, by name.
    """
    left, right = (_existing(site, name, values[name]) for name in site.node.input[:2])
    if site.node.op_type == "Conv":
        return _convolved(site, left, right)
    if site.node.op_type == "Gemm":
        left = left.T if site.attribute("transA", 0) else left
        right = right.T if site.attribute("transB", 0) else right
    return _met(left, right)


def fan_out(site: Site, name: str, shape: Shape) -> Integers | None:
    """Synapses that an event meets, for each value of an input of one execution; it may be broadcast.

    Args:
        site: an operator fed with events.
        name: of the input that carries them.
        shape: of that input.

    Returns:
        None where they do not meet one constant matrix or kernel from the left.
    """
    weight = site.constants.get(site.node.input[1])
    if weight is None or name != site.node.input[0]:
        return None
    if site.node.op_type == "Conv":
        return _kernel_fan_out(site, weight, shape[2:])
    if weight.ndim != 2:
        return None
    gemm = site.node.op_type == "Gemm"
    leaving = _along(weight, 0 if gemm and site.attribute("transB", 0) else 1)
    return leaving[:, None] if gemm and site.attribute("transA", 0) else leaving


def _existing(site: Site, name: str, values: NDArray[Any]) -> NDArray[np.bool_]:
    if name in site.constants or name in site.binary:
        return np.asarray(values != 0)
    return np.broadcast_to(np.True_, values.shape)


def _met(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> int:
    """Pairs of existing values that a matrix product brings together."""
    rows = _along(left, -2) if left.ndim > 1 else left.astype(np.int64)
    columns = _along(right, -1) if right.ndim > 1 else right.astype(np.int64)
    # A product of two stacks takes the matrices in pairs; one matrix stands against each of a stack.
    return int((rows * columns).sum())


def _along(there: NDArray[Any], axis: int) -> Integers:
    return np.asarray(np.count_nonzero(there, axis=axis), dtype=np.int64)


def _convolved(site: Site, events: NDArray[np.bool_], weight: NDArray[np.bool_]) -> int:
    return int((_along(events, 0) * _kernel_fan_out(site, weight, events.shape[2:])).sum())


def _kernel_fan_out(site: Site, weight: NDArray[Any], size: Shape) -> Integers:
    form = windows_of(site, size, weight.shape[2:])
    return convolution_fan_out(
        weight,
        size,
        stride=form.stride,
        padding=form.padding,
        dilation=form.dilation,
        groups=site.attribute("group", 1),
    )


@dataclass(frozen=True)
class Windows:
    """How a kernel goes over the axes of space.

    Attributes:
        stride: step between outputs, for each axis.
        padding: zeros before and after, for each axis.
        dilation: distance of the taps, for each axis.
    """

    stride: tuple[int, ...]
    padding: tuple[Pair, ...]
    dilation: tuple[int, ...]

    def pairs(self, size: Shape, kernel: Shape, outputs: Shape) -> int:
        """Pairs of an output and a value inside its window, zeros of the padding left out.

        Args:
            size: of the input, for each axis.
            kernel: taps, for each axis.
            outputs: of the output, for each axis.
        """
        axes = zip(size, kernel, self.stride, self.padding, self.dilation, outputs, strict=True)
        return prod(window_pairs(*axis) for axis in axes)


def windows_of(site: Site, size: Shape, kernel: Shape) -> Windows:
    """The windows of an operator.

    Args:
        site: the operator.
        size: of its input, for each axis.
        kernel: taps, for each axis.
    """
    axes = range(len(kernel))
    stride = tuple(site.attribute("strides", [1] * len(kernel)))
    dilation = tuple(site.attribute("dilations", [1] * len(kernel)))
    automatic = site.attribute("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        padding = [_same(size[i], kernel[i], stride[i], dilation[i], automatic) for i in axes]
    else:
        pads = site.attribute("pads", [0] * 2 * len(kernel))
        padding = [(pads[i], pads[i + len(kernel)]) for i in axes]
    return Windows(stride, tuple(padding), dilation)


def _same(size: int, taps: int, stride: int, dilation: int, automatic: str) -> Pair:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilation * (taps - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (small, large) if automatic == "SAME_UPPER" else (large, small)
