"""Dense layers and LSTM cells on whole numbers: the arithmetic that the C code is held to, bit for bit.

    acc = W x + b                           x, W of 8 bits, a factor for each row of W; b and acc of 32
    y   = sat((acc m + 2^(s - 1)) >> s)     m of 31 bits, s a shift, each for its row: a real factor

Values are symmetric, without a zero point. An LSTM sums two of these products as 16 bits with 12 behind the
point, looks sigmoid and tanh up between 513 points (15 bits behind the point), and keeps its cell with 11
bits behind the point and its output with 7:

    c = sat16(((f c + 2^14) >> 15) + ((i g + 2^18) >> 19))      h = sat8((o tanh(c) + 2^22) >> 23)

`>>` rounds down. This is the requantisation of TensorFlow Lite with a single rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wide = NDArray[np.int64]
GATE_BITS, CELL_BITS, HIDDEN_BITS = 12, 11, 7
SEGMENT_BITS = 7


@dataclass(frozen=True, eq=False)
class Product:
    """A matrix and the factor of each of its rows.

    Attributes:
        weight: [outputs, inputs] int8.
        bias: [outputs] int32.
        multiplier: [outputs] int32, at least 2^30.
        shift: [outputs] 1..62.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]

    def of(self, values: Wide) -> Wide:
        """Values [samples, inputs] to [samples, outputs], before anything is cut off."""
        total = values @ self.weight.T.astype(np.int64) + self.bias
        shift = self.shift.astype(np.int64)
        found: Wide = (total * self.multiplier + (np.int64(1) << (shift - 1))) >> shift
        return found


@dataclass(frozen=True, eq=False)
class Dense:
    """A layer without memory.

    Attributes:
        name: of its node.
        product: weights.
        low: the least that leaves: 0 behind a ReLU.
        high: the most.
    """

    name: str
    product: Product
    low: int
    high: int

    @property
    def outputs(self) -> int:
        """Number of values that leave."""
        return len(self.product.weight)


@dataclass(frozen=True, eq=False)
class Lstm:
    """A layer of LSTM cells; rows by gate: input, output, forget, cell.

    Attributes:
        name: of its node.
        entering: weights of what comes in, with the bias.
        recurrent: weights of its own output.
    """

    name: str
    entering: Product
    recurrent: Product

    @property
    def outputs(self) -> int:
        """Number of cells."""
        return int(self.recurrent.weight.shape[1])


@dataclass(frozen=True, eq=False)
class Int8Network:
    """A network in 8 bits.

    Attributes:
        inputs: values that come in with a step.
        input_scale: what 1 of an input stands for.
        layers: in their order; the last gives out 16 bits.
        output_scale: what 1 of an output stands for.
        classes: that its outputs vote for.
        group: consecutive outputs that vote for a class.
    """

    inputs: int
    input_scale: float
    layers: tuple[Dense | Lstm, ...]
    output_scale: float
    classes: int
    group: int

    @property
    def products(self) -> Iterator[tuple[str, str, Product]]:
        """Every product with its layer and its part there."""
        for layer in self.layers:
            if isinstance(layer, Dense):
                yield layer.name, "weights", layer.product
            else:
                yield layer.name, "weights of inputs", layer.entering
                yield layer.name, "weights of its own", layer.recurrent

    def quantised(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """Real inputs as they enter."""
        return np.clip(np.rint(values / self.input_scale), -127, 127).astype(np.int8)


def emulate(network: Int8Network, values: NDArray[np.int8]) -> NDArray[np.int16]:
    """Run samples, each from rest: inputs [steps, samples, inputs] to [steps, samples, outputs]."""
    samples = values.shape[1]
    states = [
        np.zeros((2, samples, layer.outputs), np.int64) for layer in network.layers if isinstance(layer, Lstm)
    ]
    given = []
    for step in values.astype(np.int64):
        entering, cells = step, iter(states)
        for layer in network.layers:
            if isinstance(layer, Dense):
                entering = np.clip(layer.product.of(entering), layer.low, layer.high)
            else:
                entering = _cell(layer, entering, next(cells))
        given.append(entering.astype(np.int16))
    return np.stack(given)


def decide(network: Int8Network, outputs: NDArray[np.int16]) -> NDArray[np.int64]:
    """Outputs [steps, samples, outputs] to classes [samples], the first of equals."""
    votes = outputs.sum(axis=0, dtype=np.int64).reshape(-1, network.classes, network.group).sum(axis=2)
    decided: NDArray[np.int64] = votes.argmax(axis=1)
    return decided


def _cell(layer: Lstm, entering: Wide, state: Wide) -> Wide:
    """One step; `state` holds the output and the cell, [2, samples, cells], and is changed."""
    gates = _sat(layer.entering.of(entering) + layer.recurrent.of(state[0]), 16)
    let_in, let_out, keep, new = np.split(gates, 4, axis=1)
    let_in, let_out, keep = (looked_up(SIGMOID, gate) for gate in (let_in, let_out, keep))
    new = looked_up(TANH, new)
    kept = (keep * state[1] + (1 << 14)) >> 15
    state[1] = _sat(kept + ((let_in * new + (1 << 18)) >> 19), 16)
    seen = looked_up(TANH, _sat(state[1] << (GATE_BITS - CELL_BITS), 16))
    state[0] = _sat((let_out * seen + (1 << 22)) >> 23, 8)
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
