"""How weights lie in flash: the form of each connection, and its tables.

Weights are stored by their source, for the loops follow the events. A connection takes one of three forms:

dense    a row of weights for each source
sparse   a list of targets and weights for each source, where most weights are 0
kernel   the weights of a convolution once, in a row of output channels for each input channel and tap

Where all connections of a population are dense and no sum can leave 16 bits, two neurons share a word of
sums and one addition serves both (`lanes`): weights are stored without a sign, 2^(bits - 1) more than they
are, and what each event added too much is taken off once. Else sums have 32 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.program import Connection, Integers, Kernel, Population
from nsc_deploy.graphs.connectivity import KernelAxis

LANE_LIMIT = 2**16 - 1
SPARSE_SHARE = 1 / 3
"""A list takes some three times as many instructions a weight as a row does."""


def deliver(
    connection: Connection, form: str, source: "Ring", name: str, population: Population, lanes: bool
) -> "Delivery":
    """Store the weights of a connection.

    Args:
        connection: what it is.
        form: of it (see `form_of`).
        source: the ring that it reads.
        name: prefix of its tables in C.
        population: what it drives.
        lanes: whether two neurons share a word of sums.
    """
    layer, bits = population.name, _bits(connection)
    if form == "sparse":
        tables, width = _sparse_tables(connection, name, layer), 0
        return Delivery(connection, form, source, 8, False, tables, width, 0)
    rows = _kernel_rows(connection.kernel) if connection.kernel is not None else connection.weight.dense().T
    width = rows.shape[1]
    words = -(-width * bits // 32)
    packed = lanes or 4 * words < width
    if not packed:
        table = Table(f"{name}_weight", "int8_t", rows.reshape(-1).astype(np.int64), "weights", layer)
        return Delivery(connection, form, source, 8, False, (table,), width, width)
    stored = _packed(rows, bits, lanes)
    table = Table(f"{name}_weight", "uint32_t", stored.reshape(-1), f"weights of {bits} bits", layer)
    return Delivery(connection, form, source, bits, True, (table,), width, words)


def form_of(connection: Connection) -> str:
    """Dense, sparse or kernel."""
    if connection.kernel is not None:
        return "kernel"
    places = prod(connection.weight.shape)
    return "sparse" if connection.weight.synapses < SPARSE_SHARE * places else "dense"


def fits_lanes(population: Population) -> bool:
    """Whether all sources at once, with what each adds too much, leave no sum beyond 16 bits."""
    total = np.zeros(population.size)
    for one in population.connections:
        offset = 2 ** (_bits(one) - 1)
        total += one.weight.shape[1] * offset + one.weight.sums(one.weight.values.clip(0))
    return bool(population.connections) and bool((total <= LANE_LIMIT).all())


def _bits(connection: Connection) -> int:
    """The fewest of 2, 4 and 8 bits that hold every weight."""
    largest = connection.weight.largest
    return next(bits for bits in (2, 4, 8) if largest < 2 ** (bits - 1))


@dataclass(frozen=True, eq=False)
class Table:
    """Constants in flash.

    Attributes:
        name: in C.
        ctype: of an element.
        values: as they are written.
        holds: in a few words.
        layer: the population they belong to.
    """

    name: str
    ctype: str
    values: NDArray[np.int64]
    holds: str
    layer: str

    @property
    def bytes(self) -> int:
        """Size in flash."""
        return int(self.values.size) * _BYTES[self.ctype]


_BYTES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}


@dataclass(frozen=True)
class Ring:
    """Events of a signal, kept for as many steps as anything reads them late.

    Attributes:
        name: of the array in the state.
        size: lines.
        slots: steps kept, the present one among them.
    """

    name: str
    size: int
    slots: int

    @property
    def words(self) -> int:
        """Words of 32 bits a step."""
        return -(-self.size // 32)

    @property
    def last(self) -> int:
        """The bits of the last word that are lines."""
        return int((1 << (self.size % 32 or 32)) - 1)


@dataclass(frozen=True)
class Plane:
    """The sizes of a convolution in two dimensions; a sequence has a height of 1."""

    pixels: int
    width: int
    per_group: int
    places: int
    taps_y: int
    taps_x: int
    out_y: int
    out_x: int
    stride_y: int
    stride_x: int
    pad_y: int
    pad_x: int
    dilation_y: int
    dilation_x: int

    @classmethod
    def of(cls, kernel: Kernel) -> "Plane":
        """The sizes of a kernel."""
        down, right = (KernelAxis(1, 1), *kernel.axes)[-2:]
        return cls(
            pixels=down.inputs * right.inputs,
            width=right.inputs,
            per_group=int(kernel.weight.shape[1]),
            places=down.outputs * right.outputs,
            taps_y=down.kernel,
            taps_x=right.kernel,
            out_y=down.outputs,
            out_x=right.outputs,
            stride_y=down.stride,
            stride_x=right.stride,
            pad_y=down.padding[0],
            pad_x=right.padding[0],
            dilation_y=down.dilation,
            dilation_x=right.dilation,
        )


@dataclass(frozen=True, eq=False)
class Delivery:
    """A connection in its form.

    Attributes:
        connection: what it is.
        form: dense, sparse or kernel.
        source: ring it reads.
        bits: of a stored weight.
        packed: whether weights are stored without a sign, several in a word.
        tables: weights, and where each list starts and leads.
        width: weights a row.
        stride: elements of the table of weights from one row to the next.
    """

    connection: Connection
    form: str
    source: Ring
    bits: int
    packed: bool
    tables: tuple[Table, ...]
    width: int
    stride: int

    @property
    def offset(self) -> int:
        """What every stored weight is more than it is."""
        return 2 ** (self.bits - 1) if self.packed else 0

    @property
    def kernel(self) -> Kernel | None:
        """The convolution, where it is one."""
        return self.connection.kernel

    @property
    def plane(self) -> "Plane":
        """The sizes of the convolution."""
        if self.kernel is None:
            raise TypeError("a convolution has sizes")
        return Plane.of(self.kernel)


def _kernel_rows(kernel: Kernel) -> Integers:
    """[input channels * taps, output channels of the group]."""
    channels, per_group = kernel.weight.shape[:2]
    grouped = kernel.weight.reshape(kernel.groups, channels // kernel.groups, per_group, -1)
    return np.ascontiguousarray(grouped.transpose(0, 2, 3, 1)).reshape(-1, channels // kernel.groups)


def _packed(rows: Integers, bits: int, lanes: bool) -> NDArray[np.int64]:
    """Weights [rows, width] without a sign as words [rows, words]; places behind the last hold a weight of 0.

    In order from the lowest bits, or for lanes so that each step of `bits` within 16 gives two neurons that
    stand side by side.
    """
    each = 32 // bits
    width = -(-rows.shape[1] // each) * each
    stored = np.full((len(rows), width), 2 ** (bits - 1), np.int64)
    stored[:, : rows.shape[1]] += rows
    places = stored.reshape(len(rows), -1, each)
    shifts = np.arange(each) * bits
    if lanes:
        shifts = np.arange(each) // 2 * bits + np.arange(each) % 2 * 16
    words: NDArray[np.int64] = (places << shifts).sum(axis=2)
    return words


def _sparse_tables(connection: Connection, name: str, layer: str) -> tuple[Table, ...]:
    weight = connection.weight
    order = np.lexsort((weight.target, weight.source))
    start = np.searchsorted(weight.source[order], np.arange(weight.shape[1] + 1))
    return (
        Table(f"{name}_start", unsigned(start), start.astype(np.int64), "where lists start", layer),
        Table(f"{name}_target", unsigned(weight.target), _listed(weight.target[order]), "targets", layer),
        Table(f"{name}_weight", "int8_t", _listed(weight.values[order]), "weights", layer),
    )


def _listed(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """C has no empty arrays."""
    return values.astype(np.int64) if len(values) else np.zeros(1, np.int64)


def unsigned(values: Sequence[int] | NDArray[np.int64]) -> str:
    """The type of numbers that are not negative."""
    largest = int(np.max(values, initial=0))
    return "uint8_t" if largest < 2**8 else "uint16_t" if largest < 2**16 else "uint32_t"
