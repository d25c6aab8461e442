"""How a program lies in C: the tables of its weights, the width of its sums, the bounds of its potentials.

Weights are stored by their source, for the loops follow the events. A connection takes one of three forms:

dense    a row of weights for each source
sparse   a list of targets and weights for each source, where most weights are 0
kernel   the weights of a convolution once, in a row of output channels for each input channel and tap

Where all connections of a population are dense and no sum can leave 16 bits, two neurons share a word of
sums and one addition serves both (`lanes`): weights are stored without a sign, 2^(bits - 1) more than they
are, and what each event added too much is taken off once. Else sums have 32 bits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.exporters.c.program import (
    STATE_LIMIT,
    UNITY,
    Connection,
    Integers,
    Kernel,
    Population,
    Program,
)
from nsc_deploy.graphs.connectivity import KernelAxis

LANE_LIMIT = 2**16 - 1
SPARSE_SHARE = 1 / 3
"""A list takes some three times as many instructions a weight as a row does."""
_TAKEN = frozenset({"main", "harness", "start"})
"""Names of files that lie beside NAME.c when it is compiled."""


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
class Value:
    """A parameter of a population: one number, or a table by neuron or by channel.

    Attributes:
        number: where all are equal; else None.
        table: where they are not.
        by_channel: whether the table has one for each channel of a convolution.
    """

    number: int | None
    table: Table | None = None
    by_channel: bool = False


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


@dataclass(frozen=True, eq=False)
class Layer:
    """A population as it is written.

    Attributes:
        name: in C.
        population: what it is.
        deliveries: its connections.
        lanes: whether two neurons share a word of sums.
        spikes: its ring; None for an integrator.
        channels: of a convolution; 1 otherwise.
        keep_v: what stays of the potential.
        keep_u: what stays of the current, or None.
        bias: added in every step.
        threshold: None for an integrator.
        floor: potential after a spike; None where the threshold is taken off.
        clip_low: whether a potential could fall below what is allowed.
        clip_high: whether it could rise above.
    """

    name: str
    population: Population
    deliveries: tuple[Delivery, ...]
    lanes: bool
    spikes: Ring | None
    channels: int
    keep_v: Value
    keep_u: Value | None
    bias: Value
    threshold: Value | None
    floor: Value | None
    clip_low: bool
    clip_high: bool

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.population.size

    @property
    def tables(self) -> tuple[Table, ...]:
        """Everything of it in flash."""
        values = (self.keep_v, self.keep_u, self.bias, self.threshold, self.floor)
        own = [one.table for one in values if one is not None and one.table is not None]
        return (*(table for one in self.deliveries for table in one.tables), *own)

    @property
    def remembers(self) -> bool:
        """Whether its potential lasts from one step to the next, or is what it gives out."""
        return self.keep_v.number != 0 or self.threshold is None

    @property
    def uses_state(self) -> bool:
        """Whether an update reads or writes the state."""
        return self.remembers or self.keep_u is not None

    @property
    def uses_neuron(self) -> bool:
        """Whether an update needs to know which neuron it is about."""
        values = (self.keep_v, self.keep_u, self.bias, self.threshold, self.floor)
        tables = any(one is not None and one.table is not None and not one.by_channel for one in values)
        return self.uses_state or tables

    @property
    def lane_words(self) -> int:
        """Words of shared sums that its rows of weights reach."""
        return max((one.stride * 16 // one.bits for one in self.deliveries), default=0) if self.lanes else 0

    @property
    def by_channel(self) -> bool:
        """Whether a parameter has one value a channel."""
        values = (self.keep_v, self.keep_u, self.bias, self.threshold, self.floor)
        return any(one is not None and one.by_channel for one in values)


@dataclass(frozen=True, eq=False)
class Layout:
    """A program as it is written.

    Attributes:
        program: what it computes.
        name: prefix of everything in C.
        input: the ring of the input.
        layers: in the order of a step.
        classes: of the readout, or None.
        group: outputs that vote for a class.
    """

    program: Program
    name: str
    input: Ring
    layers: tuple[Layer, ...]
    classes: int | None
    group: int

    @property
    def macro(self) -> str:
        """Prefix of its macros."""
        return self.name.upper()

    @cached_property
    def output(self) -> Layer | None:
        """The population that leaves; None where the input does."""
        return next((one for one in self.layers if one.population.name == self.program.output.source), None)

    @property
    def output_ring(self) -> Ring | None:
        """Where the spikes that leave lie; None for values."""
        return self.input if self.output is None else self.output.spikes

    @property
    def ring_lengths(self) -> tuple[int, ...]:
        """How many steps the rings are long, longer than one step, each once."""
        rings = [self.input, *(one.spikes for one in self.layers if one.spikes is not None)]
        return tuple(sorted({one.slots for one in rings if one.slots > 1}))

    @property
    def lane_words(self) -> int:
        """Words of shared sums."""
        return max((one.lane_words for one in self.layers), default=0)

    @property
    def sums(self) -> int:
        """Sums of 32 bits."""
        return max((one.size for one in self.layers if not one.lanes), default=0)

    @property
    def state_bytes(self) -> dict[str, int]:
        """What the state takes, by layer; "input", "sums" and "rest" beside them."""
        found = {"input": 4 * self.input.words * self.input.slots}
        for one in self.layers:
            states = 4 * one.size * (one.remembers + (one.keep_u is not None))
            found[one.population.name] = states + (
                0 if one.spikes is None else 4 * one.spikes.words * one.spikes.slots
            )
        found["sums"] = 4 * (self.lane_words + self.sums)
        votes = 0 if self.classes is None else self.classes * (8 if self.program.gives_values else 4)
        found["rest"] = 4 + votes + 4 * len(self.ring_lengths)
        if votes and self.program.gives_values:
            found["rest"] += -sum(found.values()) % 8  # words of 64 bits are aligned
        return found


def lay_out(program: Program, name: str, *, classes: int | None = None, group: int | None = None) -> Layout:
    """Choose a form for everything.

    Args:
        program: valid (see `program.validate`).
        name: prefix of everything in C (see `identifier`).
        classes: of the readout, or None.
        group: outputs that vote for one class; all in equal parts by default.
    """
    entrance = Ring("input", program.inputs, program.depth(program.input) + 1)
    names = {one.name: f"l{index}_{identifier(one.name)}" for index, one in enumerate(program.populations)}
    rings = {program.input: entrance} | {
        one.name: Ring(f"{names[one.name]}_spikes", one.size, program.depth(one.name) + 1)
        for one in program.populations
    }
    layers = tuple(_layer(one, names[one.name], rings) for one in program.populations)
    votes = 1 if classes is None else group or max(1, program.outputs // classes)
    return Layout(program, name, entrance, layers, classes, votes)


def identifier(text: str) -> str:
    """A prefix in C out of any text: lower-case letters, digits and underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "network"
    return f"n_{name}" if name[0].isdigit() or name in _TAKEN else name


def _layer(population: Population, name: str, rings: dict[str, Ring]) -> Layer:
    forms = [_form(one) for one in population.connections]
    spiking = population.threshold is not None
    lanes = spiking and all(form == "dense" for form in forms) and _fits_lanes(population)
    kernels = [one.kernel for one in population.connections if one.kernel is not None]
    channels = kernels[0].output_shape[0] if kernels else 1
    deliveries = tuple(
        _delivery(one, form, rings[one.source], f"{name}_{index}", population, lanes)
        for index, (one, form) in enumerate(zip(population.connections, forms, strict=True))
    )
    low, high = _range_of(population)

    def value(what: str, values: Integers, ctype: str) -> Value:
        return _value(f"{name}_{what}", values, ctype, channels, population.name, what)

    return Layer(
        name=name,
        population=population,
        deliveries=deliveries,
        lanes=lanes,
        spikes=None if population.threshold is None else rings[population.name],
        channels=channels,
        keep_v=value("keep", population.keep_v, "uint16_t"),
        keep_u=None if population.keep_u is None else value("keep_current", population.keep_u, "uint16_t"),
        bias=value("bias", population.bias, "int32_t"),
        threshold=None
        if population.threshold is None
        else value("threshold", population.threshold, "int32_t"),
        floor=None if population.floor is None else value("floor", population.floor, "int32_t"),
        clip_low=low <= -STATE_LIMIT,
        clip_high=high >= STATE_LIMIT,
    )


def _form(connection: Connection) -> str:
    if connection.kernel is not None:
        return "kernel"
    places = prod(connection.weight.shape)
    return "sparse" if connection.weight.synapses < SPARSE_SHARE * places else "dense"


def _fits_lanes(population: Population) -> bool:
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


def _range_of(population: Population) -> tuple[float, float]:
    """Bounds of the potential before it is clipped, that hold whatever comes in."""
    current = population.strongest_current().astype(np.float64)
    pushed = current + np.abs(population.bias)
    kept = population.keep_v / UNITY
    with np.errstate(divide="ignore", invalid="ignore"):
        settled = np.where(pushed > 0, pushed / (1 - kept), 0.0)
    if population.threshold is None:
        return -float(settled.max()), float(settled.max())
    rest = 0.0 if population.floor is None else np.abs(population.floor)
    if population.floor is None:
        return -float(settled.max()), float(np.where(kept < 1, settled, np.inf).max(initial=0.0))
    highest = np.maximum(np.maximum(population.threshold, rest), 0) * kept + pushed
    return -float((settled + rest).max()), float(highest.max())


def _value(name: str, values: Integers, ctype: str, channels: int, layer: str, what: str) -> Value:
    if (values == values[0]).all():
        return Value(int(values[0]))
    rows = values.reshape(channels, -1)
    by_channel = channels > 1 and rows.shape[1] > 1 and bool((rows == rows[:, :1]).all())
    kept = rows[:, 0] if by_channel else values
    if ctype == "int32_t" and np.abs(kept).max() < 2**15:
        ctype = "int16_t"
    return Value(None, Table(name, ctype, kept.astype(np.int64), what, layer), by_channel)


def _delivery(
    connection: Connection, form: str, source: Ring, name: str, population: Population, lanes: bool
) -> Delivery:
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
        Table(f"{name}_start", _unsigned(start), start.astype(np.int64), "where lists start", layer),
        Table(f"{name}_target", _unsigned(weight.target), _listed(weight.target[order]), "targets", layer),
        Table(f"{name}_weight", "int8_t", _listed(weight.values[order]), "weights", layer),
    )


def _listed(values: NDArray[np.int32]) -> NDArray[np.int64]:
    """C has no empty arrays."""
    return values.astype(np.int64) if len(values) else np.zeros(1, np.int64)


def _unsigned(values: Sequence[int] | NDArray[np.int64]) -> str:
    largest = int(np.max(values, initial=0))
    return "uint8_t" if largest < 2**8 else "uint16_t" if largest < 2**16 else "uint32_t"
