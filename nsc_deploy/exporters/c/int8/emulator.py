"""The arithmetic of a network in 8 bits on a batch of samples, in numpy; C is held to it bit for bit.

The equations stand in `network`; this is their one implementation beside the C that is written.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.int8.network import (
    CELL_BITS,
    GATE_BITS,
    LARGEST,
    Convolution,
    Dense,
    HardGru,
    Int8Network,
    Lstm,
    Maximum,
    Outputs,
    Product,
    Recurrent,
    Wide,
)

SEGMENT_BITS = 7


def emulate(network: Int8Network, values: NDArray[np.int8], cut: NDArray[np.int64] | None = None) -> Outputs:
    """Run samples, each from rest.

    Args:
        network: what is run.
        values: [steps, samples, inputs].
        cut: [layers], to which the number of values that are cut off is added.

    Returns:
        [steps, samples, outputs].
    """
    samples = values.shape[1]
    states = {
        place: np.zeros((2, samples, layer.outputs), np.int64)
        for place, layer in enumerate(network.layers)
        if isinstance(layer, Recurrent)
    }
    given = []
    for step in values.astype(np.int64):
        flowing: Wide = step
        for place, layer in enumerate(network.layers):
            if isinstance(layer, Dense | Convolution):
                reached = layer.product.of(flowing) if isinstance(layer, Dense) else layer.of(flowing)
                flowing = np.clip(reached, layer.low, layer.high)
                if cut is not None:
                    cut[place] += _beyond(layer, reached)
            elif isinstance(layer, Maximum):
                flowing = layer.of(flowing)
            elif isinstance(layer, HardGru):
                flowing = _hard_gru(layer, flowing, states[place])
            else:
                update = _lstm if isinstance(layer, Lstm) else _gru
                flowing = update(layer.entering, layer.recurrent, flowing, states[place])
                if cut is not None and isinstance(layer, Lstm):
                    cut[place] += (np.abs(states[place][1]) >= 2**15 - 1).sum()
        given.append(flowing.astype(np.int16 if network.output_bits == 16 else np.int32))
    return np.stack(given)


def count_cut_off(network: Int8Network, values: NDArray[Any]) -> list[tuple[int, int]]:
    """How many values are cut off at the ends of their ranges, and of how many.

    What a ReLU holds back is none, and neither are gates of 16 bits: their functions are flat there.

    Args:
        network: of a graph in floating point.
        values: real inputs [steps, samples, *shape].

    Returns:
        Of what enters, then of each layer; of LSTM cells those are counted that are full.
    """
    entering = network.quantised(values)
    full = np.rint(values / network.input_scale)
    cut = np.zeros(len(network.layers), np.int64)
    emulate(network, entering, cut)
    runs = entering.shape[0] * entering.shape[1]
    beyond = int((np.abs(full) > LARGEST).sum())
    behind = [(int(count), runs * layer.outputs) for count, layer in zip(cut, network.layers, strict=True)]
    return [(beyond, values.size), *behind]


def _beyond(layer: Dense | Convolution, reached: Wide) -> int:
    """How many sums lie beyond the range of a layer; by one step of 8 bits is rounding."""
    step = layer.high // LARGEST
    below = reached < layer.low - step if layer.low < 0 else np.zeros(0)
    return int((reached > layer.high + step).sum() + below.sum())


def decide(network: Int8Network, outputs: Outputs) -> NDArray[np.int64]:
    """Outputs [steps, samples, outputs] to classes [samples], the first of equals."""
    shape = (outputs.shape[1], network.classes or 1, network.group)
    voting = outputs[-1:] if network.final else outputs
    votes = voting.sum(axis=0, dtype=np.int64).reshape(shape).sum(axis=2)
    decided: NDArray[np.int64] = votes.argmax(axis=1)
    return decided


def _lstm(entering: Product, recurrent: Product, values: Wide, state: Wide) -> Wide:
    """One step; `state` holds the output and the cell, [2, samples, cells], and is changed."""
    gates = _sat(entering.of(values) + recurrent.of(state[0]), 16)
    let_in, let_out, keep, new = np.split(gates, 4, axis=1)
    let_in, let_out, keep = (looked_up(SIGMOID, gate) for gate in (let_in, let_out, keep))
    new = looked_up(TANH, new)
    kept = (keep * state[1] + (1 << 14)) >> 15
    state[1] = _sat(kept + ((let_in * new + (1 << 18)) >> 19), 16)
    seen = looked_up(TANH, _sat(state[1] << (GATE_BITS - CELL_BITS), 16))
    state[0] = _sat((let_out * seen + (1 << 22)) >> 23, 8)
    shown: Wide = state[0].copy()
    return shown


def _gru(entering: Product, recurrent: Product, values: Wide, state: Wide) -> Wide:
    """One step; `state` holds what is shown and what is kept, [2, samples, units], and is changed."""
    arriving, own = entering.of(values), _sat(recurrent.of(state[0]), 16)
    units = state.shape[2]
    gates = _sat(arriving[:, : 2 * units] + own[:, : 2 * units], 16)
    keep, reset = np.split(looked_up(SIGMOID, gates), 2, axis=1)
    remembered = (reset * own[:, 2 * units :] + (1 << 14)) >> 15
    new = looked_up(TANH, _sat(arriving[:, 2 * units :] + remembered, 16))
    state[1] = (keep * state[1] + ((1 << 15) - keep) * new + (1 << 14)) >> 15
    state[0] = _sat((state[1] + (1 << 7)) >> 8, 8)
    shown: Wide = state[0].copy()
    return shown


def _hard_gru(layer: HardGru, values: Wide, state: Wide) -> Wide:
    """One step; `state[0]` holds the output, [samples, units], and is changed."""
    most = np.float32(layer.largest)
    share = np.float32(1 / layer.largest)

    def bounded(real: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.rint(np.clip(real, np.float32(0), most))

    def scaled(product: Product, entering: Wide) -> list[NDArray[np.float32]]:
        return np.split(product.in_single_precision(product.sums(entering)), 3, axis=1)

    arriving, own = scaled(layer.entering, values), scaled(layer.recurrent, state[0])
    keep, reset = bounded(arriving[0] + own[0]), bounded(arriving[1] + own[1])
    new = bounded(arriving[2] + reset * own[2] * share)
    state[0] = bounded((keep * state[0].astype(np.float32) + (most - keep) * new) * share)
    shown: Wide = state[0].copy()
    return shown


def _sat(values: Wide, bits: int) -> Wide:
    found: Wide = np.clip(values, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return found


def _table(function: Any) -> NDArray[np.int16]:
    """A function at 513 points from -8 to 8, 15 bits behind the point."""
    points = (np.arange(513) * 2**SEGMENT_BITS - 2**15) / 2**GATE_BITS
    found: NDArray[np.int16] = np.clip(np.rint(function(points) * 2**15), -(2**15), 2**15 - 1).astype(
        np.int16
    )
    return found


SIGMOID = _table(lambda points: 1 / (1 + np.exp(-points)))
TANH = _table(np.tanh)


def looked_up(table: NDArray[np.int16], values: Wide) -> Wide:
    """A function of values of 16 bits, linear between the points of its table."""
    wide = table.astype(np.int64)
    place = values + 2**15
    at, rest = place >> SEGMENT_BITS, place & (2**SEGMENT_BITS - 1)
    found: Wide = wide[at] + (((wide[at + 1] - wide[at]) * rest + 2 ** (SEGMENT_BITS - 1)) >> SEGMENT_BITS)
    return found
