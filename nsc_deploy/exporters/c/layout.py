"""How a program lies in C: the rings of its events, its parameters, the bounds of its potentials.

How weights are stored stands in `packing`.
"""

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from nsc_deploy.exporters.c.comparators import Comparators
from nsc_deploy.exporters.c.packing import Delivery, Ring, Table, deliver, fits_lanes, form_of, unsigned
from nsc_deploy.exporters.c.program import STATE_LIMIT, UNITY, Integers, Population, Program

_TAKEN = re.compile(r"main|harness|start|stdint|comparators|l\d+(_.*)?")
"""Names of files that lie beside NAME.c when it is compiled, and of layers: l0_step, comparators_step."""


def lay_out(program: Program, name: str, *, classes: int | None = None, group: int | None = None) -> "Layout":
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
    leaving = program.output.source if program.output.potentials else None
    layers = tuple(
        replace(_layer(one, names[one.name], rings), leaves=one.name == leaving)
        for one in program.populations
    )
    votes = 1 if classes is None else group or max(1, program.outputs // classes)
    return Layout(program, name, entrance, layers, classes, votes)


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
class Addend:
    """A constant of a population as it is written.

    Attributes:
        start: the first step that it arrives in.
        value: what arrives.
    """

    start: int
    value: Value


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
        constants: what arrives beside events.
        leaves: whether its potentials before the reset are what leaves.
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
    constants: tuple[Addend, ...] = ()
    leaves: bool = False

    @property
    def values(self) -> tuple[Value, ...]:
        """Its parameters, those that it has."""
        own = (self.keep_v, self.keep_u, self.bias, self.threshold, self.floor)
        return (*(one for one in own if one is not None), *(one.value for one in self.constants))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.population.size

    @property
    def tables(self) -> tuple[Table, ...]:
        """Everything of it in flash."""
        own = [one.table for one in self.values if one.table is not None]
        return (*(table for one in self.deliveries for table in one.tables), *own)

    @property
    def remembers(self) -> bool:
        """Whether its potential lasts from one step to the next, or is what it gives out."""
        return self.keep_v.number != 0 or self.threshold is None

    @property
    def uses_state(self) -> bool:
        """Whether an update reads or writes the state."""
        late = any(one.start for one in self.constants)
        return self.remembers or self.keep_u is not None or late or self.leaves

    @property
    def uses_neuron(self) -> bool:
        """Whether an update needs to know which neuron it is about."""
        tables = any(one.table is not None and not one.by_channel for one in self.values)
        return self.remembers or self.keep_u is not None or tables or self.leaves

    @property
    def lane_words(self) -> int:
        """Words of shared sums that its rows of weights reach."""
        return max((one.stride * 16 // one.bits for one in self.deliveries), default=0) if self.lanes else 0

    @property
    def by_channel(self) -> bool:
        """Whether a parameter has one value a channel."""
        return any(one.by_channel for one in self.values)


@dataclass(frozen=True, eq=False)
class FrontEndTables:
    """Comparators as they are written: which sample each looks at, and with which pair of limits.

    Attributes:
        comparators: what they are.
        each: comparators a line.
        tables: samples, which pair of limits, and the pairs.
    """

    comparators: Comparators
    each: int
    tables: tuple[Table, Table, Table, Table]

    @classmethod
    def of(cls, one: Comparators) -> Self:
        """The tables of some comparators."""
        limits = np.stack([one.low.reshape(-1), one.high.reshape(-1)], axis=1)
        pairs, which = np.unique(limits, axis=0, return_inverse=True)
        which = which.reshape(-1).astype(np.int64)
        sources, low, high = (values.astype(np.int64) for values in (one.source.reshape(-1), *pairs.T))
        tables = (
            Table("comparators_sample", unsigned(sources), sources, "which sample", one.name),
            Table("comparators_pair", unsigned(which), which, "which limits", one.name),
            Table("comparators_low", "int16_t", low, "lower limits", one.name),
            Table("comparators_high", "int16_t", high, "upper limits", one.name),
        )
        return cls(one, one.source.shape[1], tables)


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

    @cached_property
    def front_end(self) -> "FrontEndTables | None":
        """The comparators as they are written; None where events come in."""
        found = self.program.front_end
        return None if found is None else FrontEndTables.of(found)

    @property
    def tables(self) -> tuple[Table, ...]:
        """Everything in flash but code."""
        front = () if self.front_end is None else self.front_end.tables
        return (*front, *(table for one in self.layers for table in one.tables))

    @property
    def entry(self) -> str:
        """What runs a step: of events or of received samples."""
        return "step" if self.front_end is None else "receive"

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
        if self.program.gives_values:
            return None
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
        if self.program.output.potentials:
            found[self.program.output.source] += 4 * self.program.outputs
        found["sums"] = 4 * (self.lane_words + self.sums)
        votes = 0 if self.classes is None else self.classes * (8 if self.program.gives_values else 4)
        found["rest"] = 4 + votes + 4 * len(self.ring_lengths) + 4 * (self.program.settled > 0)
        if votes and self.program.gives_values:
            found["rest"] += -sum(found.values()) % 8  # words of 64 bits are aligned
        return found


def identifier(text: str) -> str:
    """A prefix in C out of any text: lower-case letters, digits and underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40] or "network"
    return f"n_{name}" if name[0].isdigit() or _TAKEN.fullmatch(name) else name


def _layer(population: Population, name: str, rings: dict[str, Ring]) -> Layer:
    forms = [form_of(one) for one in population.connections]
    spiking = population.threshold is not None
    lanes = spiking and all(form == "dense" for form in forms) and fits_lanes(population)
    kernels = [one.kernel for one in population.connections if one.kernel is not None]
    channels = kernels[0].output_shape[0] if kernels else 1
    deliveries = tuple(
        deliver(one, form, rings[one.source], f"{name}_{index}", population, lanes)
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
        constants=tuple(
            Addend(one.start, value(f"constant_{one.start}", one.value, "int32_t"))
            for one in population.constants
        ),
    )


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
