"""ONNX operators with weights: matrix products, convolutions and recurrent layers.

A rule gives the cost of one execution as if every value were real. Where an input is proven to carry
events, `meetings` counts those that meet a synapse; the caller then leaves the dense number out.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.axes import leading, recurrent, rows, stacked
from nsc_deploy.energy.counting.onnx.operators import (
    OPERATORS,
    Accesses,
    Contents,
    Cost,
    CostRule,
    Holds,
    Shape,
    Site,
    TrafficRule,
    Values,
    attribute_of,
    register,
)
from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.connectivity import Convolution, KernelAxis


def streamed(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
    """The memory accesses of a product: a weight for each multiply-accumulate, and for each bias.

    Where no operand is constant, the second takes the place of the weights: it is read once for each.
    """
    macs, biases = price.operations.get(Kind.MAC, 0), price.operations.get(Kind.ADDITION, 0)
    read = [prod(shapes[name]) for name in site.node.input[:2] if name in site.changing]
    both = len(read) == 2
    return Accesses(
        weight_reads=biases + (0 if both else macs),
        activation_reads=read[0] + macs if both else sum(read),
        activation_writes=prod(shapes[site.node.output[0]]),
    )


def meetings(site: Site, values: Values) -> int:
    """Operations of one execution of an operator fed with events: those not zero times existing synapses.

    A changing tensor of real values that the events meet is there with all its values, zeros too.

    Args:
        site: the operator.
        values: of the inputs that meet, by name.
    """
    fan_out = OPERATORS[site.node.op_type].fan_out
    if fan_out is None:
        raise ValueError(f"{site.node.op_type} has no weights")
    left, right = (_existing(site, index, values[name]) for index, name in enumerate(site.node.input[:2]))
    # One matrix may stand against each of a stack.
    return int((left * fan_out(site, right, left.shape)).sum())


def _existing(site: Site, index: int, values: NDArray[Any]) -> NDArray[np.bool_]:
    name = site.node.input[index]
    if name in site.constants or name in site.events:
        return site.there(index, values)
    return np.broadcast_to(np.True_, values.shape)


def _row_sums(weight: NDArray[Any], axis: int) -> Integers:
    return np.asarray(np.count_nonzero(weight, axis=axis), dtype=np.int64)


def _columns(site: Site, weight: NDArray[Any], shape: Shape) -> Integers:
    """[.., inner, outputs] -> [.., 1, inner], against values [.., rows, inner]."""
    if weight.ndim == 1:
        return weight.astype(np.int64)
    found = _row_sums(weight, -1)
    return found if found.ndim == 1 or len(shape) == 1 else found[..., None, :]


@register("MatMul", "MatMulInteger", axes=stacked, traffic=streamed, fan_out=_columns)
def matmul(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Each output takes as many products as the inner axis is long."""
    inner = shapes[site.node.input[0]][-1]
    out = prod(shapes[site.node.output[0]])
    return Cost({Kind.MAC: out * inner}, weights=site.nonzero(0, 1))


def _turned_columns(site: Site, weight: NDArray[Any], shape: Shape) -> Integers:
    leaving = _row_sums(weight, 0 if site.attribute("transB", 0) else 1)
    return leaving[:, None] if site.attribute("transA", 0) else leaving


@register("Gemm", axes=rows, traffic=streamed, fan_out=_turned_columns)
def gemm(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Products of matrices, alpha A B + beta C; factors of 1 are free."""
    left = shapes[site.node.input[0]]
    inner = left[0] if site.attribute("transA", 0) else left[1]
    out = prod(shapes[site.node.output[0]])
    bias = site.given(2) is not None
    factors = (site.attribute("alpha", 1.0) != 1) + (bias and site.attribute("beta", 1.0) != 1)
    operations = {Kind.MAC: out * inner, Kind.ADDITION: out * bias, Kind.PRODUCT: out * factors}
    return Cost(operations, weights=site.nonzero(0, 1))


def windows_of(site: Site, size: Shape, kernel: Shape) -> tuple[KernelAxis, ...]:
    """The axes of space of a convolution or a pooling, as the operator states them.

    Args:
        site: the operator.
        size: of its input, for each axis.
        kernel: taps, for each axis.
    """
    ones, zeros = [1] * len(kernel), [0] * len(kernel)
    strides, dilations = site.attribute("strides", ones), site.attribute("dilations", ones)
    pads = site.attribute("pads", [*zeros, *zeros])
    padding = zip(pads[: len(kernel)], pads[len(kernel) :], strict=True)
    axes = tuple(map(KernelAxis, size, kernel, strides, padding, dilations))
    automatic = site.attribute("auto_pad", "NOTSET")
    if automatic not in {"SAME_UPPER", "SAME_LOWER"}:
        return axes
    return tuple(_same(axis, more_before=automatic == "SAME_LOWER") for axis in axes)


def _same(axis: KernelAxis, *, more_before: bool) -> KernelAxis:
    """With as many zeros as make an output for each stride of the input."""
    outputs = -(-axis.inputs // axis.stride)
    total = max(0, (outputs - 1) * axis.stride + axis.window - axis.inputs)
    small, large = total // 2, total - total // 2
    return replace(axis, padding=(large, small) if more_before else (small, large))


def window_pairs(site: Site, size: Shape, kernel: Shape, outputs: Shape) -> int:
    """Pairs of an output and a value inside its window, zeros of the padding left out.

    Args:
        site: the operator.
        size: of its input, for each axis.
        kernel: taps, for each axis.
        outputs: of its output, for each axis; a pooling may have more of them than whole windows.
    """
    axes = zip(windows_of(site, size, kernel), outputs, strict=True)
    return prod(axis.pair_count(count) for axis, count in axes)


def filled_windows(site: Site, size: Shape, kernel: Shape, outputs: Shape) -> int:
    """Windows that a value lies inside; with the arguments of `window_pairs`."""
    axes = zip(windows_of(site, size, kernel), outputs, strict=True)
    return prod(len(np.unique(axis.pairs(count)[0])) for axis, count in axes)


def _taps(site: Site, weight: NDArray[Any], shape: Shape) -> Integers:
    axes = windows_of(site, shape[2:], weight.shape[2:])
    return Convolution(weight != 0, axes, site.attribute("group", 1)).fan_out()


def _window_sums(node: Any, contents: Contents) -> Holds:
    """A convolution of each channel with ones adds up windows, as a sum pool does."""
    weight = contents.constants.get(node.input[1])
    if weight is None or node.input[0] not in contents.binary | contents.graded or any(node.input[2:]):
        return Holds.ANY
    each_channel = weight.shape[1] == 1 and weight.shape[0] == attribute_of(node, "group", 1)
    return Holds.GRADED if each_channel and bool((weight == 1).all()) else Holds.ANY


@register("Conv", "ConvInteger", axes=leading, traffic=streamed, holds=_window_sums, fan_out=_taps)
def conv(site: Site, shapes: Mapping[str, Shape]) -> Cost:
    """Each output takes the taps that fall inside the input, of the channels of its group."""
    data, weight = (shapes[name] for name in site.node.input[:2])
    out = shapes[site.node.output[0]]
    pairs = window_pairs(site, data[2:], weight[2:], out[2:])
    bias = prod(out) if site.node.op_type == "Conv" and site.given(2) else 0
    return Cost(
        {Kind.MAC: data[0] * weight[0] * weight[1] * pairs, Kind.ADDITION: bias}, weights=site.nonzero(1)
    )


def from_states(gates: int, cells: int) -> TrafficRule:
    """The memory accesses of a recurrent layer.

    Args:
        gates: matrices, one above the other.
        cells: states of a unit; the hidden one is read here and written as the output, others both.
    """

    def rule(site: Site, shapes: Mapping[str, Shape], price: Cost) -> Accesses:
        directions, height, _ = shapes[site.node.input[1]]
        entering = prod(shapes[site.node.input[0]])
        steps_and_samples = entering // max(1, shapes[site.node.input[0]][-1])
        units = steps_and_samples * directions * (height // gates)
        constants = _biases(site, gates) + _peepholes(site)
        return Accesses(
            weight_reads=price.operations[Kind.MAC] + units * constants,
            state_reads=cells * units,
            state_writes=(cells - 1) * units,
            activation_reads=entering * directions,
            activation_writes=units,
        )

    return rule


def unrolled(gates: int, cells: int, products: int, additions: int, activations: int) -> CostRule:
    """A recurrent layer; the last three numbers are elementwise operations a unit and step."""

    def rule(site: Site, shapes: Mapping[str, Shape]) -> Cost:
        steps, samples, inputs = _sequence(site, shapes[site.node.input[0]])
        directions, height, _ = shapes[site.node.input[1]]
        hidden = height // gates
        units = steps * samples * directions * hidden
        peepholes = _peepholes(site)
        operations = {
            Kind.MAC: units * gates * (inputs + hidden),
            Kind.PRODUCT: units * (products + peepholes),
            Kind.ADDITION: units * (additions + _biases(site, gates) + peepholes),
            Kind.ACTIVATION: units * activations,
        }
        return Cost(
            operations,
            weights=site.nonzero(1, 2),
            neurons=directions * hidden,
            states=cells * directions * hidden,
        )

    return rule


# LSTM: c = f * c + i * g, h = o * tanh(c): 3 products, 1 addition, 5 functions a unit and step.
register("LSTM", axes=recurrent, traffic=from_states(4, 2))(unrolled(4, 2, 3, 1, 5))
# GRU: r * h, (1 - z) * n + z * h: 3 products, 2 additions, 3 functions.
register("GRU", axes=recurrent, traffic=from_states(3, 1))(unrolled(3, 1, 3, 2, 3))
register("RNN", axes=recurrent, traffic=from_states(1, 1))(unrolled(1, 1, 0, 0, 1))


def _biases(site: Site, gates: int) -> int:
    """Additions of biases a unit and step: those of input and state are one, unless a gate stands between."""
    if not site.given(3):
        return 0
    return gates + (1 if site.attribute("linear_before_reset", 0) else 0)


def _peepholes(site: Site) -> int:
    """Products of an LSTM's cell with a weight, a unit and step: to input, output and forget gate."""
    return 3 if site.given(7) else 0


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
