"""Conventional layers on whole numbers: the arithmetic that the C code is held to, bit for bit.

    acc = W x + b                           x, W of 8 bits, a factor for each row of W; b and acc of 32
    y   = sat((acc m + 2^(s - 1)) >> s)     m of 31 bits, s a shift, each for its row: a real factor

Values are symmetric, without a zero point. An LSTM sums two of these products as 16 bits with 12 behind the
point, looks sigmoid and tanh up between 513 points (15 bits behind the point), and keeps its cell with 11
bits behind the point and its output with 7:

    c = sat16(((f c + 2^14) >> 15) + ((i g + 2^18) >> 19))      h = sat8((o tanh(c) + 2^22) >> 23)

A gated recurrent unit has the same gates, keeps its state with 15 bits behind the point and shows 7 of them:

    n = tanh(sat16(Wn x + ((r Un h + 2^14) >> 15)))    s = (z s + (2^15 - z) n + 2^14) >> 15
    h = sat8((s + 2^7) >> 8)

`>>` rounds down. This is the requantisation of TensorFlow Lite with a single rounding.

A graph that computes in integers keeps its own: its activations are 0..L, m and s are chosen so that y is
what the graph rounds to for every sum (see `rounding`), and sums that leave it as real values keep 32 bits.
Where no m and s are, and in the gates of its recurrent unit, which add two scaled sums, C computes in single
precision as the graph does, rounding for rounding, on integers alone, with R(x) = rint(x within 0..L):

    z, r = R(f a + g b)      n = R(f a + (r (g b)) / L)      h = R((z h + (L - z) n) / L)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.int8.geometry import Windows
from nsc_deploy.exporters.c.int8.layers import convolve, entering

Wide = NDArray[np.int64]
Outputs: TypeAlias = NDArray[np.int16] | NDArray[np.int32]
GATE_BITS, CELL_BITS, HIDDEN_BITS = 12, 11, 7
LARGEST, LARGEST_OUTPUT = 127, 2**15 - 1


@dataclass(frozen=True, eq=False)
class Product:
    """A matrix and the factor of each of its rows.

    Attributes:
        weight: [outputs, inputs] int8.
        bias: [outputs] int32.
        multiplier: [outputs] int32, at least 2^30.
        shift: [outputs] 1..62.
        single: whether sums times multiplier 2^-shift are rounded as in single precision: to 24 bits, then
            half to even. The lowest 7 bits of the multipliers are 0.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.uint8]
    single: bool = False

    def of(self, values: Wide) -> Wide:
        """Values [samples, inputs] to [samples, outputs], before anything is cut off."""
        return self.scaled(self.sums(values))

    def sums(self, values: Wide) -> Wide:
        """The same before they are scaled."""
        # Sums below 2^31 are exact in float64, in which products of matrices are fast.
        total = (values.astype(np.float64) @ self.weight.T.astype(np.float64)).astype(np.int64)
        return total + self.bias

    def in_single_precision(self, total: Wide) -> NDArray[np.float32]:
        """Sums [..., outputs] times their factors."""
        factors = self.multiplier * 2.0 ** -self.shift.astype(np.float64)
        found: NDArray[np.float32] = total.astype(np.float32) * factors.astype(np.float32)
        return found

    def scaled(self, total: Wide) -> Wide:
        """Sums [..., outputs] in the units of what leaves."""
        if self.single:
            return np.rint(self.in_single_precision(total)).astype(np.int64)
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
class Convolution:
    """The same over windows of an image.

    Attributes:
        name: of its node.
        product: weights [outputs, channels / groups * taps].
        windows: which values meet.
        groups: of channels that do not meet.
        low: the least that leaves.
        high: the most.
    """

    name: str
    product: Product
    windows: Windows
    groups: int
    low: int
    high: int

    @property
    def outputs(self) -> int:
        """Number of values that leave."""
        rows, columns = self.windows.places
        return len(self.product.weight) * rows * columns

    def of(self, values: Wide) -> Wide:
        """Images [..., inputs] to [..., outputs], before anything is cut off."""
        product = self.product
        total = convolve(values, product.weight, product.bias, self.windows, self.groups)
        by_place = np.moveaxis(total.reshape(*values.shape[:-1], len(product.weight), -1), -2, -1)
        scaled = np.moveaxis(product.scaled(by_place.astype(np.int64)), -1, -2)
        return scaled.reshape(*values.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class Maximum:
    """The largest value of each window.

    Attributes:
        name: of its node.
        windows: which values meet.
    """

    name: str
    windows: Windows

    @property
    def outputs(self) -> int:
        """Number of values that leave."""
        rows, columns = self.windows.places
        return self.windows.shape[0] * rows * columns

    def of(self, values: Wide) -> Wide:
        """Images [..., inputs] to [..., outputs]."""
        found: Wide = self.windows.gather(values, -128).max(axis=-1)
        return found.reshape(*values.shape[:-1], -1)


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
class Gru:
    """A layer of gated recurrent units; rows by gate: update, reset, new.

    Attributes:
        name: of its node.
        entering: weights of what comes in, with the bias.
        recurrent: weights of its own output, with the bias that the reset gate acts on.
    """

    name: str
    entering: Product
    recurrent: Product

    @property
    def outputs(self) -> int:
        """Number of units."""
        return int(self.recurrent.weight.shape[1])


@dataclass(frozen=True, eq=False)
class HardGru:
    """Gated recurrent units of a graph in integers: gates and candidate are cut off, 0..L stands for 0..1.

    The output after the last step of a sample is the graph's. All rows of a product have one factor.

    Attributes:
        name: of its node.
        entering: weights of what comes in, with the bias.
        recurrent: weights of its own output, without one.
        largest: L.
    """

    name: str
    entering: Product
    recurrent: Product
    largest: int

    @property
    def outputs(self) -> int:
        """Number of units."""
        return int(self.recurrent.weight.shape[1])


Layer: TypeAlias = Dense | Convolution | Maximum | Lstm | Gru | HardGru
Recurrent: TypeAlias = Lstm | Gru | HardGru


@dataclass(frozen=True, eq=False)
class Int8Network:
    """A network in 8 bits.

    Attributes:
        inputs: values that come in with a step, or with a sample that enters whole.
        input_scale: what 1 of an input stands for.
        layers: in their order; sums of the last one have 16 bits, those of a graph in integers 32.
        output_scale: what 1 of an output stands for.
        classes: that its outputs vote for, or None.
        group: consecutive outputs that vote for a class.
        whole: steps of a sample that enters whole; None where steps enter one by one.
        integer: whether the graph computes in integers itself: whole numbers 0 to 127 enter as they are.
    """

    inputs: int
    input_scale: float
    layers: tuple[Layer, ...]
    output_scale: float
    classes: int | None = None
    group: int = 1
    whole: int | None = None
    integer: bool = False

    @property
    def outputs(self) -> int:
        """Values that leave."""
        return self.layers[-1].outputs

    @property
    def output_bits(self) -> int:
        """Of a value that leaves."""
        last = self.layers[-1]
        wide = isinstance(last, Dense | Convolution) and last.high > LARGEST_OUTPUT
        return 32 if wide else 16

    @property
    def final(self) -> bool:
        """Whether only what leaves after the last step of a sample is the graph's."""
        return any(isinstance(layer, HardGru) for layer in self.layers)

    def quantised(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """Real inputs [steps, samples, *shape] as they enter, [steps or 1, samples, inputs]."""
        flat = entering(values, self.whole)
        return np.clip(np.rint(flat / self.input_scale), -127, 127).astype(np.int8)


def products_of(layer: Layer) -> Iterator[tuple[str, Product]]:
    """Every product of a layer, with what it is there."""
    if isinstance(layer, Dense | Convolution):
        yield "weights", layer.product
    elif isinstance(layer, Recurrent):
        yield "weights of inputs", layer.entering
        yield "weights of its own", layer.recurrent
