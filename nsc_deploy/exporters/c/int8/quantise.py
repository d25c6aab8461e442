"""From layers in floating point to 8 bits: a factor a row, ranges from recorded inputs."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.layers import (
    Chain,
    FloatConvolution,
    FloatDense,
    FloatLayer,
    FloatLstm,
    FloatMaximum,
    Reals,
)
from nsc_deploy.exporters.c.int8.network import (
    GATE_BITS,
    HIDDEN_BITS,
    LARGEST,
    LARGEST_OUTPUT,
    Convolution,
    Dense,
    Gru,
    Int8Network,
    Layer,
    Lstm,
    Maximum,
    Product,
)

_LEAST = 1e-9
"""Range of values that are all zero."""


def quantise(
    chain: Chain, calibration: NDArray[Any], *, classes: int | None = None, group: int = 1
) -> Int8Network:
    """Choose ranges and round.

    Args:
        chain: the layers.
        calibration: recorded inputs [steps, samples, *shape], none of those that accuracy is measured on.
        classes: that outputs vote for, or None.
        group: consecutive outputs that vote for a class.

    Raises:
        GraphError: sums that could leave 32 bits, or ranges that no factor can bridge.
    """
    values = chain.entering(calibration).astype(np.float64)
    input_scale = scale = _range(values) / LARGEST
    layers: list[Layer] = []
    for layer in chain.layers:
        values = layer.run(values)
        last = layer is chain.layers[-1]
        after = _range(values) / (LARGEST_OUTPUT if last else LARGEST)
        rounded, scale = _rounded(layer, scale, after, last=last)
        layers.append(rounded)
    inputs = chain.layers[0].inputs
    return Int8Network(inputs, input_scale, tuple(layers), scale, classes, group, chain.whole)


def _range(values: Reals) -> float:
    return max(float(np.abs(values).max(initial=0)), _LEAST)


def _rounded(layer: FloatLayer, before: float, after: float, *, last: bool) -> tuple[Layer, float]:
    """A layer in 8 bits, and what 1 of what leaves it stands for.

    Args:
        layer: in floating point.
        before: what 1 of its inputs stands for.
        after: what 1 of its outputs shall stand for, where it can be chosen.
        last: whether nothing comes behind it.
    """
    name = layer.name
    if isinstance(layer, FloatMaximum):
        return Maximum(name, layer.windows), before
    if isinstance(layer, FloatDense | FloatConvolution):
        product = _product(name, layer.weight, layer.bias, before, after)
        high = LARGEST_OUTPUT if last else LARGEST
        low = 0 if layer.relu else -high
        if isinstance(layer, FloatDense):
            return Dense(name, product, low, high), after
        return Convolution(name, product, layer.windows, layer.groups, low, high), after
    gate, hidden = 2.0**-GATE_BITS, 2.0**-HIDDEN_BITS
    entering = _product(name, layer.weight, layer.bias, before, gate)
    if isinstance(layer, FloatLstm):
        none = np.zeros(len(layer.bias))
        return Lstm(name, entering, _product(name, layer.recurrent, none, hidden, gate)), hidden
    return Gru(name, entering, _product(name, layer.recurrent, layer.recurrent_bias, hidden, gate)), hidden


def _product(name: str, weight: Reals, bias: Reals, before: float, after: float) -> Product:
    """A matrix with a factor a row; `before` and `after` are what 1 of its inputs and outputs stands for."""
    # A row of small weights has a factor that still holds its bias.
    size = np.maximum(np.abs(weight).max(axis=1), np.abs(bias) / before * 2.0**-20)
    factor = np.maximum(size, _LEAST) / LARGEST
    whole = np.rint(weight / factor[:, None])
    added = np.rint(bias / (factor * before))
    if (np.abs(whole).sum(axis=1) * 128 + np.abs(added)).max() >= 2**31:
        raise GraphError("has sums that could leave 32 bits", where=f"node '{name}'")
    fraction, exponent = np.frexp(before * factor / after)
    multiplier = np.minimum(np.rint(fraction * 2**31), 2**31 - 1)
    shift = 31 - exponent
    if shift.min() < 1 or shift.max() > 62:
        raise GraphError("has values of impossible ranges", where=f"node '{name}'")
    return Product(
        whole.astype(np.int8), added.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.uint8)
    )
