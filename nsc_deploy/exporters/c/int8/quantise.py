"""From layers in floating point to 8 bits: a factor a row, ranges from recorded inputs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.exporters.c.int8.emulator import count_cut_off
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
from nsc_deploy.io.text import counted
from nsc_deploy.passes.base import Note

_MOST_SHIFT = 62


@dataclass(frozen=True)
class Ranges:
    """The largest sizes of values on recorded inputs.

    Attributes:
        entering: of what enters.
        behind: of what leaves each layer.
        silent: names of the layers that give out nothing but 0; their sums are their range.
    """

    entering: float
    behind: tuple[float, ...]
    silent: tuple[str, ...] = ()


def choose_ranges(chain: Chain, calibration: NDArray[Any]) -> Ranges:
    """Run the layers in floating point.

    Args:
        chain: the layers.
        calibration: recorded inputs [steps, samples, *shape], not all 0, none of those that accuracy is
            measured on.
    """
    values = chain.entering(calibration).astype(np.float64)
    entering = before = _largest(values)
    behind, silent = [], []
    for layer in chain.layers:
        arriving, values = values, layer.run(values)
        found = _largest(values)
        if not found:
            silent.append(layer.name)
            # What a ReLU holds back says how large it would be.
            if isinstance(layer, FloatDense | FloatConvolution):
                found = _largest(replace(layer, relu=False).run(arriving))
        before = found or before
        behind.append(before)
    return Ranges(entering, tuple(behind), tuple(silent))


def quantise(chain: Chain, ranges: Ranges, *, classes: int | None = None, group: int = 1) -> Int8Network:
    """Round.

    Args:
        chain: the layers.
        ranges: of what enters and leaves them.
        classes: that outputs vote for, or None.
        group: consecutive outputs that vote for a class.

    Raises:
        GraphError: sums that could leave 32 bits, or ranges that no factor can bridge.
    """
    input_scale = scale = ranges.entering / LARGEST
    layers: list[Layer] = []
    for layer, largest in zip(chain.layers, ranges.behind, strict=True):
        last = layer is chain.layers[-1]
        after = largest / (LARGEST_OUTPUT if last else LARGEST)
        rounded, scale = _rounded(layer, scale, after, last=last)
        layers.append(rounded)
    inputs = chain.layers[0].inputs
    return Int8Network(inputs, input_scale, tuple(layers), scale, classes, group, chain.whole)


def notes_on_ranges(network: Int8Network, ranges: Ranges, values: NDArray[Any]) -> list[Note]:
    """What the ranges cost: values of recorded inputs [steps, samples, *shape] that lie beyond them."""
    dead = "gives out nothing but 0 where ranges were chosen: its sums are its range"
    notes = [Note("silent", name, dead, exact=False) for name in ranges.silent]
    names = [None, *(layer.name for layer in network.layers)]
    for name, (cut, all_) in zip(names, count_cut_off(network, values), strict=True):
        if cut:
            what = f"{counted(cut, 'value')} of {all_:,}{' that enter' if name is None else ''}"
            text = f"cuts off {what} on recorded inputs, beyond the range that was chosen"
            notes.append(Note("cut-off", name, text, exact=False, error=cut / all_))
    return notes


def _largest(values: Reals) -> float:
    return float(np.abs(values).max(initial=0))


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
    # A row of small weights has a factor that still holds its bias; one of zeros has any.
    size = np.maximum(np.abs(weight).max(axis=1), np.abs(bias) / before * 2.0**-20)
    factor = np.where(size > 0, size, after / before) / LARGEST
    fraction, exponent = np.frexp(before * factor / after)
    # Sums of 32 bits times a factor that takes more than 62 places round to 0, whatever enters.
    vanishing = 31 - exponent > _MOST_SHIFT
    shift = np.where(vanishing, _MOST_SHIFT, 31 - exponent)
    multiplier = np.where(vanishing, 2**30, np.minimum(np.rint(fraction * 2**31), 2**31 - 1))
    whole = np.where(vanishing[:, None], 0, np.rint(weight / factor[:, None]))
    added = np.where(vanishing, 0, np.rint(bias / (factor * before)))
    if not ((np.abs(whole).sum(axis=1) * 128 + np.abs(added)).max() < 2**31):  # nor NaN
        raise GraphError("has sums that could leave 32 bits", where=f"node '{name}'")
    if shift.min() < 1:
        raise GraphError(
            "gives out values that are too small beside its weights for a factor",
            where=f"node '{name}'",
            hint="Choose ranges on inputs that stir it: --calibration FILE.npz",
        )
    return Product(
        whole.astype(np.int8), added.astype(np.int32), multiplier.astype(np.int32), shift.astype(np.uint8)
    )
