"""What the ONNX operators with weights cost: matrix products, convolutions and recurrent layers."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.energy.counting.onnx.operators import Cost, Rule, Shape, Site, Values
from nsc_deploy.energy.counting.operations import Integers, Kind
from nsc_deploy.energy.onnx_windows import windows_of
from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.connectivity import convolution_fan_out


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
