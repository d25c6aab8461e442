"""What is published about a chip: a TOML file, checked, with a source for every figure."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from nsc_deploy.exporters.base import Status
from nsc_deploy.exporters.chips.placement import Usage
from nsc_deploy.graphs.network import Reset
from nsc_deploy.graphs.primitives import PRIMITIVES
from nsc_deploy.io.records import Record, read_toml_record


class Sourced(Record):
    """Anything that rests on a source.

    Attributes:
        source: name of a source of the chip.
        place: page, section or table in it.
        note: what a reader should know beside the value.
    """

    source: str = ""
    place: str = ""
    note: str = ""

    @property
    def stated(self) -> bool:
        """Whether there is a value that needs a source."""
        return True

    @model_validator(mode="after")
    def _sourced(self) -> Self:
        if self.stated and not (self.source and self.place):
            raise ValueError("needs source and place, since it states a value")
        if not self.stated and not self.note:
            raise ValueError("has no value, so it needs a note that says why (not published, ...)")
        return self


class NodeSupport(Sourced):
    """How the chip takes a NIR primitive; one without an entry is refused."""

    status: Literal[Status.NATIVE, Status.SUBSTITUTED]
    becomes: str = Field(min_length=1)


class Refused(Record):
    """Why the chip does not take a primitive, where there is more to say than that."""

    reason: str = Field(min_length=1)
    hint: str = Field(min_length=1)


class Resets(Sourced):
    """What a spike can do to the potential.

    Attributes:
        values: as it is published.
        others: whether the chip cannot reset otherwise, or nothing is published of it; the note says more.
    """

    values: tuple[Reset, ...] = Field(min_length=1)
    others: Literal[Status.REFUSED, Status.NOT_PUBLISHED] = Status.REFUSED


class Decay(Sourced):
    """How the potential leaks.

    Attributes:
        form: "fraction": the potential loses n / 2^bits of itself in a step; "power-of-two": it loses
            1 / 2^n of itself; "none": it does not leak in proportion to itself.
        bits: of a fraction.
    """

    form: Literal["fraction", "power-of-two", "none"]
    bits: Annotated[int, Field(ge=1, le=32)] | None = None

    @model_validator(mode="after")
    def _fraction_has_bits(self) -> Self:
        if (self.form == "fraction") != (self.bits is not None):
            raise ValueError("a fraction has bits, the other forms have none")
        return self


Count = Annotated[int, Field(ge=0)]


class Figure(Sourced):
    """One number, or the statement that none has been published.

    Attributes:
        value: the number; left out where none has been published.
        lower: a lower number that another publication gives for the same.
    """

    value: Count | None = None
    lower: Count | None = None

    @property
    def stated(self) -> bool:
        """Whether a number has been published."""
        return self.value is not None

    def usage(self, pool: str, used: int, *, unit: str = "", at_least: bool = False) -> Usage:
        """So much used of it, as a pool."""
        return Usage(pool, used, self.value, unit, at_least, self.lower)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower is not None and (self.value is None or self.lower >= self.value):
            raise ValueError("lower must be below value")
        return self


class Neurons(Record):
    """What a neuron can be.

    Attributes:
        state_bits: width of the membrane potential, its sign included.
        fraction_bits: how many of them lie below one weight unit.
    """

    resets: Resets
    decay: Decay
    state_bits: Figure
    fraction_bits: Figure


class Allowed(Sourced):
    """A thing the chip can do or not."""

    value: bool


class Synapses(Record):
    """What a connection can be.

    Attributes:
        weight_bits: the most bits of a weight, its sign included.
        delay_steps: the longest delay of a synapse.
        connection_steps: how many steps a spike takes to the neurons it reaches.
        recurrence: whether cycles are possible.
    """

    weight_bits: Figure
    delay_steps: Figure
    connection_steps: Figure
    recurrence: Allowed


class ListFormat(Sourced):
    """How a core keeps the synapses of one input axon: a list of blocks, padded to words.

    Attributes:
        word_bits: a block takes a whole number of words.
        header_bits: of a block.
        block: the most synapses in a block.
        weight_widths: widths a stored weight can have.
    """

    word_bits: Annotated[int, Field(ge=1)]
    header_bits: Annotated[int, Field(ge=0)]
    block: Annotated[int, Field(ge=1)]
    weight_widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)


class Memory(Record):
    """The memory of a core.

    Attributes:
        capacity: bytes.
        holds_states: whether the states of the neurons take from it as well.
        lists: how synapses are kept; None where that has not been published: then only the bits of the
            weights are counted, and the figure is a lower bound.
    """

    capacity: Figure
    holds_states: bool = False
    lists: ListFormat | None = None


class Mesh(Sourced):
    """Where the cores lie: tiles in a rectangle, numbered row by row."""

    columns: Annotated[int, Field(ge=1)]
    rows: Annotated[int, Field(ge=1)]
    cores_per_tile: Annotated[int, Field(ge=1)]


Nanoseconds = Annotated[float, Field(ge=0, le=1e9)]


class Duration(Sourced):
    """Time of one event in nanoseconds.

    Attributes:
        value: as it is published.
        low: the shortest of several figures for it.
        high: the longest.
    """

    value: Nanoseconds
    low: Nanoseconds | None = None
    high: Nanoseconds | None = None

    @model_validator(mode="after")
    def _between(self) -> Self:
        if not self.shortest <= self.value <= self.longest:
            raise ValueError("needs low <= value <= high")
        return self

    @property
    def shortest(self) -> float:
        """The low end of the range, or the value itself."""
        return self.value if self.low is None else self.low

    @property
    def longest(self) -> float:
        """The high end of the range, or the value itself."""
        return self.value if self.high is None else self.high


class Wait(Record):
    """How long the cores of so many tiles wait for one another at the end of a step.

    Attributes:
        tiles: in use.
        nanoseconds: of the wait.
    """

    tiles: Annotated[int, Field(ge=1)]
    nanoseconds: Nanoseconds


class Barrier(Sourced):
    """The barrier that ends a step, published for some numbers of tiles."""

    waits: tuple[Wait, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        tiles = [one.tiles for one in self.waits]
        if tiles != sorted(set(tiles)) or tiles[0] != 1:
            raise ValueError("needs waits for ascending numbers of tiles, the first for 1")
        return self

    def nanoseconds(self, tiles: int) -> tuple[float, float]:
        """Shortest and longest wait of so many tiles: between two published numbers those of both."""
        below = [one for one in self.waits if one.tiles <= tiles][-1]
        above = next((one for one in self.waits if one.tiles >= tiles), self.waits[-1])
        low, high = sorted((below.nanoseconds, above.nanoseconds))
        return low, high


class StepTime(Record):
    """Durations of everything that fills a step.

    Attributes:
        barrier: at its end.
        synapse: a spike meets one synapse.
        neuron_access: of every neuron, in every step.
        neuron_update: of a neuron whose state changes.
        spike: a neuron fires.
        message_out: a spike leaves for one core.
        message_in: a spike reaches a core.
        hop_east_west: from tile to tile along a row.
        hop_north_south: along a column.
    """

    barrier: Barrier
    synapse: Duration
    neuron_access: Duration
    neuron_update: Duration
    spike: Duration
    message_out: Duration
    message_in: Duration
    hop_east_west: Duration
    hop_north_south: Duration


class ManyCores(Record):
    """Many equal cores; the neurons of a population may lie on several of them."""

    kind: Literal["many-cores"]
    cores: Figure
    neurons_per_core: Figure
    axons_in: Figure
    axons_out: Figure
    neurons_per_chip: Figure
    synapses_per_chip: Figure
    memory: Memory
    shared_convolutions: Allowed
    mesh: Mesh | None = None
    step_time: StepTime | None = None


class CoreSize(Record):
    """Entries in the memories of one core, or those that a layer needs there."""

    kernel: Annotated[int, Field(ge=1)]
    neurons: Annotated[int, Field(ge=1)]
    biases: Annotated[int, Field(ge=0)]

    def holds(self, need: Self) -> bool:
        """Whether the core has what a layer needs."""
        return self.kernel >= need.kernel and self.neurons >= need.neurons and self.biases >= need.biases


class CoreSizes(Sourced):
    """The cores of a chip, one after another."""

    each: tuple[CoreSize, ...] = Field(min_length=1)


class Figures(Sourced):
    """Several allowed numbers."""

    values: tuple[Count, ...] = Field(min_length=1)


class LayerCores(Record):
    """One core a layer: a convolution, its neurons, and a pooling of their spikes."""

    kind: Literal["layer-cores"]
    cores: CoreSizes
    destinations: Figure
    channels: Figure
    input_size: Figure
    output_size: Figure
    kernel_size: Figure
    strides: Figures
    paddings: Figures
    poolings: Figures


class HiddenAndOutput(Record):
    """One core with hidden neurons, which may reach one another, and output neurons."""

    kind: Literal["hidden-and-output"]
    inputs: Figure
    hidden: Figure
    outputs: Figure
    fan_out: Figure
    hidden_synapses: Figure


Layout = Annotated[ManyCores | LayerCores | HiddenAndOutput, Field(discriminator="kind")]


class Source(Record):
    """A publication or document that figures are taken from."""

    title: str = Field(min_length=1, description="authors, title, where it appeared")
    year: Annotated[int, Field(ge=1950, le=2100)]
    url: str = ""


class Chip(Record):
    """A chip.

    Attributes:
        sources: publications by a short name that every figure refers to.
        conflicts: what publications say against one another.
        notes: what the check leaves out.
        refused: reasons for primitives that have no entry in `nodes`.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    title: str = Field(min_length=1)
    sources: dict[str, Source] = Field(min_length=1)
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    nodes: dict[str, NodeSupport]
    refused: dict[str, Refused] = Field(default_factory=dict)
    neurons: Neurons
    synapses: Synapses
    layout: Layout

    @model_validator(mode="after")
    def _known_names(self) -> Self:
        for path, part in parts(self):
            if part.source and part.source not in self.sources:
                raise ValueError(f"{path} names the source '{part.source}', which is not among the sources")
        unknown = sorted((self.nodes.keys() | self.refused.keys()) - PRIMITIVES)
        if unknown:
            raise ValueError(f"{unknown[0]} is no NIR primitive")
        return self

    @property
    def unpublished(self) -> dict[str, str]:
        """Figures that have not been published: dotted name and what is known instead."""
        return {
            path: part.note for path, part in parts(self) if isinstance(part, Figure) and part.value is None
        }


def bundled_chip(name: str) -> Chip:
    """A chip that ships with the package."""
    return read_chip(Path(str(resources.files("nsc_deploy.exporters.chips") / f"{name}.toml")))


def read_chip(path: Path) -> Chip:
    """Read and check the description of a chip.

    Raises:
        ConfigError: missing, not TOML, or a field that is missing, unknown or out of range.
    """
    return read_toml_record(
        Chip, path, "the description of a chip", hint="docs/fitting.md shows every field of it."
    )


NOT_PUBLISHED = "not published"


def parts(record: BaseModel, path: str = "") -> Iterator[tuple[str, Sourced]]:
    """Every sourced part of a record, with its dotted name."""
    if isinstance(record, Sourced):
        yield path, record
    for name in type(record).model_fields:
        place = f"{path}.{name}" if path else name
        yield from _inside(getattr(record, name), place)


def _inside(value: object, path: str) -> Iterator[tuple[str, Sourced]]:
    if isinstance(value, BaseModel):
        yield from parts(value, path)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _inside(one, f"{path}.{key}")
    elif isinstance(value, tuple):
        for index, one in enumerate(value):
            yield from _inside(one, f"{path}.{index}")
