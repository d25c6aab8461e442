"""What one ONNX operator costs: a rule for each, from the shapes it meets when the graph runs.

A rule returns the cost of one execution as if every value were real. Where an input is proven binary
it also says how to count the accumulates that really happen; the caller then leaves the
multiply-accumulates out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counts import Kind
from nsc_deploy.energy.fanout import Pair, convolution_fan_out, convolution_outputs
from nsc_deploy.energy.onnx_binary import MOVING, TRUTH
from nsc_deploy.errors import GraphError

Shape = tuple[int, ...]
Values = Mapping[str, NDArray[Any]]

FREE = MOVING | {"Cast", "Constant", "ConstantOfShape", "Shape", "Size", "Where", "Range", "CastLike"}
_ACTIVATIONS = frozenset(
    {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign"}
    | {
        "Exp",
        "Log",
        "Sqrt",
        "Erf",
        "Gelu",
        "Clip",
        "Abs",
        "Neg",
        "Sign",
        "Floor",
        "Ceil",
        "Round",
        "Reciprocal",
    }
    | {"Min", "Max", "Mod", "ArgMax", "ArgMin", "TopK"}
)


@dataclass(frozen=True)
class Site:
    """One operator of a graph, with what is known of it.

    Attributes:
        path: names of the enclosing bodies and of the operator.
        node: the NodeProto.
        constants: known values by tensor name.
        binary: tensors proven binary.
    """

    path: str
    node: Any
    constants: Values
    binary: frozenset[str]

    def attribute(self, name: str, default: Any) -> Any:
        """An attribute of the operator as Python values."""
        for attribute in self.node.attribute:
            if attribute.name == name:
                return _attribute_value(attribute)
        return default

    def given(self, index: int) -> str | None:
        """The name of an input, or None where the operator goes without it."""
        names = self.node.input
        return names[index] if index < len(names) and names[index] else None

    @property
    def events(self) -> tuple[str, ...]:
        """Its inputs that carry events, of those that meet weights."""
        if self.node.op_type not in {"MatMul", "Gemm", "Conv"}:
            return ()
        return tuple(name for name in self.node.input[:2] if name in self.binary)


def _attribute_value(attribute: Any) -> Any:
    from onnx import helper

    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True)
class Cost:
    """One execution of one operator.

    Attributes:
        operations: number of each kind, every value taken for real.
        weights: non-zero weights among its constants.
        neurons: recurrent cells it holds.
    """

    operations: Mapping[Kind, int] = field(default_factory=dict)
    weights: int = 0
    neurons: int = 0


def cost(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """The cost of one execution.

    Raises:
        GraphError: an operator without a rule; nothing is left out silently.
    """
    kind = site.node.op_type
    if kind in FREE:
        return Cost()
    rule = _RULES.get(kind)
    if rule is None or site.node.domain not in {"", "ai.onnx"}:
        raise GraphError(
            f"has the operator {kind}, which cannot be counted",
            where=f"node '{site.path}'",
            remedy=f"Counted are: {', '.join(sorted(_RULES))}; free are: {', '.join(sorted(FREE))}.",
        )
    return rule(site, shapes)


def accumulates(site: Site, values: Values) -> int:
    """Accumulates of one execution of an operator fed with events: events times existing synapses.

    Args:
        site: the operator.
        values: of the inputs that meet, by name.
    """
    left, right = (values[name] for name in site.node.input[:2])
    if site.node.op_type == "Conv":
        return _convolved_events(site, left, right)
    if site.node.op_type == "Gemm":
        left = left.T if site.attribute("transA", 0) else left
        right = right.T if site.attribute("transB", 0) else right
    return _met(left, right)


def _met(left: NDArray[Any], right: NDArray[Any]) -> int:
    """Pairs of non-zero values that a matrix product brings together."""
    if left.ndim <= 1 or right.ndim <= 2:
        rows = np.count_nonzero(left.reshape(-1, left.shape[-1]), axis=0)
        columns = np.count_nonzero(right.reshape(right.shape[0], -1), axis=1)
        return int(rows.astype(np.int64) @ columns.astype(np.int64))
    rows = np.count_nonzero(left, axis=-2).astype(np.int64)
    columns = np.count_nonzero(right, axis=-1).astype(np.int64)
    shape = np.broadcast_shapes(rows.shape, columns.shape)
    return int((np.broadcast_to(rows, shape) * np.broadcast_to(columns, shape)).sum())


def _convolved_events(site: Site, events: NDArray[Any], weight: NDArray[Any]) -> int:
    size = events.shape[2:]
    form = _form(site, tuple(size), tuple(weight.shape[2:]))
    groups = site.attribute("group", 1)
    fan_out = convolution_fan_out(weight, size, groups=groups, **form)
    return int((np.count_nonzero(events, axis=0) * fan_out).sum())


def _form(site: Site, size: Shape, kernel: Shape) -> dict[str, Any]:
    dimensions = len(kernel)
    stride = site.attribute("strides", [1] * dimensions)
    dilation = site.attribute("dilations", [1] * dimensions)
    automatic = site.attribute("auto_pad", "NOTSET")
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        padding = [
            _same(size[axis], kernel[axis], stride[axis], dilation[axis], automatic)
            for axis in range(dimensions)
        ]
    else:
        pads = site.attribute("pads", [0] * 2 * dimensions)
        padding = list(zip(pads[:dimensions], pads[dimensions:], strict=True))
    return {"stride": stride, "padding": padding, "dilation": dilation}


def _same(size: int, taps: int, stride: int, dilation: int, automatic: str) -> Pair:
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilation * (taps - 1) + 1 - size)
    small, large = total // 2, total - total // 2
    return (small, large) if automatic == "SAME_UPPER" else (large, small)


def _nonzero(site: Site, *indices: int) -> int:
    names = (site.given(index) for index in indices)
    known = [site.constants[name] for name in names if name is not None and name in site.constants]
    return sum(int(np.count_nonzero(weights)) for weights in known)


def _matmul(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    left, right = (shapes[name] for name in site.node.input)
    out = prod(shapes[site.node.output[0]])
    return Cost({Kind.MAC: out * (left[-1] if left else 1)}, weights=_nonzero(site, 0, 1) if right else 0)


def _gemm(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    left = shapes[site.node.input[0]]
    inner = left[0] if site.attribute("transA", 0) else left[1]
    out = prod(shapes[site.node.output[0]])
    bias = out if site.given(2) else 0
    return Cost({Kind.MAC: out * inner, Kind.ADDITION: bias}, weights=_nonzero(site, 0, 1))


def _conv(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    data, weight = (shapes[name] for name in site.node.input[:2])
    form = _form(site, data[2:], weight[2:])
    ones = np.broadcast_to(np.uint8(1), weight)
    fan_out = convolution_fan_out(ones, data[2:], groups=site.attribute("group", 1), **form)
    outputs = convolution_outputs(data[2:], weight[2:], **form)
    bias = data[0] * weight[0] * prod(outputs) if site.given(2) else 0
    return Cost({Kind.MAC: data[0] * int(fan_out.sum()), Kind.ADDITION: bias}, weights=_nonzero(site, 1))


def _recurrent(gates: int, products: int, additions: int, activations: int) -> Callable[..., Cost]:
    """A recurrent cell; the last three numbers are elementwise operations a unit and step."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        steps, samples, inputs = _sequence(site, shapes[site.node.input[0]])
        directions, rows, _ = shapes[site.node.input[1]]
        hidden = rows // gates
        units = steps * samples * directions * hidden
        bias = gates if site.given(3) else 0
        peepholes = 3 if site.given(7) else 0
        operations = {
            Kind.MAC: units * gates * (inputs + hidden),
            Kind.PRODUCT: units * (products + peepholes),
            Kind.ADDITION: units * (additions + bias + peepholes),
            Kind.ACTIVATION: units * activations,
        }
        return Cost(operations, weights=_nonzero(site, 1, 2), neurons=directions * hidden)

    return rule


def _sequence(site: Site, shape: Shape) -> Shape:
    if site.given(4):
        raise GraphError(
            "has sequences of different lengths, which cannot be counted", where=f"node '{site.path}'"
        )
    return (shape[1], shape[0], shape[2]) if site.attribute("layout", 0) else shape


def _each_output(**kinds: int) -> Callable[..., Cost]:
    """So many operations for each element of the output."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        count = prod(shapes[site.node.output[0]])
        return Cost({Kind[name]: count * each for name, each in kinds.items()})

    return rule


def _sum_of_inputs(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    count = prod(shapes[site.node.output[0]])
    return Cost({Kind.ADDITION: count * (len(site.node.input) - 1)})


def _reduced(mean: bool) -> Callable[..., Cost]:
    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        given, left = prod(shapes[site.node.input[0]]), prod(shapes[site.node.output[0]])
        return Cost({Kind.ADDITION: given - left, Kind.PRODUCT: left if mean else 0})

    return rule


def _pooled(addition: bool) -> Callable[..., Cost]:
    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        window = prod(site.attribute("kernel_shape", []))
        out = prod(shapes[site.node.output[0]])
        if addition:
            return Cost({Kind.ADDITION: out * (window - 1), Kind.PRODUCT: out})
        return Cost({Kind.ACTIVATION: out * (window - 1)})

    return rule


_RULES: dict[str, Callable[[Site, Mapping[str, Shape]], Cost]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Conv": _conv,
    # LSTM: c = f * c + i * g, h = o * tanh(c): 3 products, 1 addition, 5 functions a unit and step.
    "LSTM": _recurrent(gates=4, products=3, additions=1, activations=5),
    # GRU: r * h, (1 - z) * n + z * h: 3 products, 2 additions, 3 functions.
    "GRU": _recurrent(gates=3, products=3, additions=2, activations=3),
    "RNN": _recurrent(gates=1, products=0, additions=0, activations=1),
    "Mul": _each_output(PRODUCT=1),
    "Div": _each_output(PRODUCT=1),
    "Pow": _each_output(PRODUCT=1),
    "Add": _each_output(ADDITION=1),
    "Sub": _each_output(ADDITION=1),
    "Sum": _sum_of_inputs,
    "BatchNormalization": _each_output(PRODUCT=1, ADDITION=1),
    "Softmax": _each_output(PRODUCT=1, ADDITION=1, ACTIVATION=1),
    "ReduceSum": _reduced(mean=False),
    "ReduceMean": _reduced(mean=True),
    "GlobalAveragePool": _reduced(mean=True),
    "AveragePool": _pooled(addition=True),
    "MaxPool": _pooled(addition=False),
    **{name: _each_output(ACTIVATION=1) for name in _ACTIVATIONS | TRUTH},
}
