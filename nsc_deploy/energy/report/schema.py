"""The report as data: one model for the terminal, JSON and HTML.

Energies are in microjoules for one sample (one utterance); counts are means over the samples.
"""

import math
from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, model_validator

from nsc_deploy.deployment import Place, Side
from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.chip_schema import EnergySpread, OnTarget, Spread
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.records import Record

SCHEMA_VERSION = 4
Whole = Annotated[int, Field(ge=0, lt=2**63)]
"""A number of things."""


class Energy(EnergySpread):
    """Energy of one sample in one accounting, in microjoules.

    A figure with `unpriced` kinds is a lower bound.
    """

    worst_sample: int = Field(description="index of the worst sample in the recording")
    with_rate_uj: float = Field(description="of the mean, what is proportional to the number of events")
    kinds_uj: dict[Kind | Store, float] = Field(description="mean by kind of operation and of memory")
    unpriced: tuple[Kind | Store, ...] = Field(
        description="kinds that occur but have no price in the profile"
    )


class Counts(Record):
    """Operations of one sample, mean over the samples."""

    acs: NonNegativeFloat
    macs: NonNegativeFloat
    products: NonNegativeFloat
    additions: NonNegativeFloat
    neuron_updates: NonNegativeFloat
    spikes: NonNegativeFloat
    activations: NonNegativeFloat
    dense: NonNegativeFloat = Field(
        description="synaptic operations if every input were non-zero, no weight zero"
    )


def _require_sum(what: str, whole: Counts, parts: Iterable[Counts]) -> None:
    """Refuse counts that are not the sum of what they are made up of: somebody changed one of them."""
    rows = list(parts)
    for name in Counts.model_fields:
        stated, summed = getattr(whole, name), sum(getattr(row, name) for row in rows)
        if not math.isclose(stated, summed, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(f"counts.{name} is {stated:g}, but the {what} add up to {summed:g}")


class Accesses(Record):
    """Values read and written for one sample, mean over the samples."""

    weight_reads: NonNegativeFloat
    state_reads: NonNegativeFloat
    state_writes: NonNegativeFloat
    activation_reads: NonNegativeFloat
    activation_writes: NonNegativeFloat


class StoreUse(Record):
    """What is kept of one kind, by a layer or by all layers of a part together."""

    values: Whole
    bytes: int | None = Field(description="None where the profile does not say how wide a value is")


class Kept(StoreUse):
    """What a layer keeps in one of its memories."""

    memory: str | None = Field(description="the memory of the profile it is priced as")
    capacity_bytes: int | None = Field(description="of that memory; None for one without a size")
    share: float | None = Field(description="of that memory in use")


class BreakEven(Record):
    """The rate at which a spiking layer costs what the bit-matched ANN does, both with memory.

    `factor` and `break_even_rate` are None where a price is missing or no event arrives; 0 says that
    the spiking side costs more even in silence.
    """

    layer: str
    rate: float = Field(description="events an input and step")
    factor: float | None = Field(description="how many times the events of now it may take")
    break_even_rate: float | None = Field(description="events an input and step")
    spiking_uj: float
    fixed_uj: float = Field(description="of the spiking energy, what does not depend on the rate")
    opponent_uj: float
    words: str = Field(description="what would have to change for the other side to win")


class Against(Record):
    """A spiking system against a conventional one of the same report, in one accounting.

    `factor` is None where a price is missing or no event arrives; 0 says that the spiking side costs more
    even in silence.
    """

    rival: str
    side: Side | None = Field(description="None: whole systems")
    column: str
    own_uj: float
    fixed_uj: float = Field(description="of the own energy, what does not depend on the number of events")
    rival_uj: float
    factor: float | None = Field(description="how many times the events of now cost as much as the rival")
    words: str


class Layer(Record):
    """One node of a graph."""

    name: str
    primitive: str
    arrives: Signal = Field(description="what its inputs carry, by the graph")
    neurons: Whole
    synapses: Whole = Field(description="non-zero; for a convolution in NIR all its connections")
    counts: Counts
    accesses: Accesses
    kept: dict[Store, Kept]
    spikes_over_time: tuple[float, ...] | None = Field(
        description="spikes of each step, mean over the samples; None for a layer that fires none"
    )
    energy: dict[str, Energy] = Field(description="by accounting")


class Load(Record):
    """Synaptic operations a second, at the step length of the recording: a sample over its duration.

    `busiest_step` is for the step in which, on the mean of the samples, most happens; None where steps cannot
    be told apart (a convolution over time in ONNX). Limit and share are None where the profile states no
    limit or the part runs on a host.
    """

    mean: float
    p95: float
    worst: float
    busiest_step: float | None = Field(description="in the busiest step, mean of the samples")
    limit: float | None = Field(description="of one unit of the device")
    limit_of: str | None = Field(description="the unit the limit is for: core or chip")
    share: float | None = Field(description="worst sample over the limit; above 1 one unit cannot keep up")


class MemoryUse(Record):
    """What a part keeps in memory."""

    stores: dict[Store, StoreUse]
    bytes: int | None = Field(description="all stores together")


class OverTime(Record):
    """The course of a sample: for each step, the mean over the samples."""

    synops: tuple[float, ...]
    spikes: tuple[float, ...]


class PartReport(Record):
    """One graph of a system."""

    name: str
    side: Side | None
    place: Place | None
    graph: str
    graph_sha256: str
    recording: str
    recording_sha256: str
    steps: Whole
    samples: Whole
    dt: float = Field(description="seconds")
    spiking: bool
    synapses: Whole
    events_per_synapse: float | None = Field(
        description="ACs of a sample over the synapses that events meet; compare with the break-even range"
    )
    counts: Counts
    accesses: Accesses
    synops: Spread
    spikes: Spread
    load: Load
    memory: MemoryUse
    over_time: OverTime | None = Field(description="None where steps cannot be told apart")
    energy: dict[str, Energy]
    layers: tuple[Layer, ...]
    break_even: tuple[BreakEven, ...] = Field(description="of the layers that events enter")
    on_target: OnTarget | None = Field(description="None where no target was asked for")
    free: tuple[str, ...] = Field(description="nodes that only move values")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        _require_sum("layers", self.counts, (layer.counts for layer in self.layers))
        return self


class Ratio(Record):
    """Energy over that of the first system of the report; None where either has no complete figure."""

    system: float | None
    receiver: float | None


class Poster(Record):
    """The figure of the Att-NeuroSC poster for a system of the same kind."""

    energy_uj: float
    ratio: float


class SystemReport(Record):
    """A whole system."""

    label: str
    path: str
    system: str | None
    receiver: str | None
    dataset: str | None
    spiking: bool
    samples: Whole
    accuracy: float | None = Field(description="of the trained model on its whole recorded test set")
    snr_db: float | None
    channel: str | None
    channel_uses: int | None = Field(description="of one sample")
    parts: tuple[PartReport, ...]
    sides: dict[Side, dict[str, Energy]] = Field(description="energy by side and accounting")
    counts: Counts
    accesses: Accesses
    synops: Spread
    spikes: Spread
    energy: dict[str, Energy] = Field(description="all parts, by accounting")
    network_uj: float | None = Field(
        description="messages and hops of all parts on the target, mean of a sample, in no column; None "
        "where a part does not fit, or nothing is known"
    )
    break_even: BreakEven | None = Field(description="of the whole spiking system")
    against: tuple[Against, ...] = Field(description="a spiking system against each conventional one")
    ratio: dict[str, Ratio]
    poster: Poster | None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        _require_sum("parts", self.counts, (part.counts for part in self.parts))
        return self


class Column(Record):
    """An accounting, in words."""

    name: str
    title: str
    short: str
    meaning: str
    leaves_out: str


class Term(Record):
    """A word of the report and what it means."""

    name: str
    meaning: str


class FrontPoint(Record):
    """A system among others, by accuracy and energy.

    A system is beaten by another that is at least as accurate and takes at most as much energy, and is better
    in one of the two.
    """

    system: str
    accuracy: float
    energy_uj: float
    on_front: bool
    beaten_by: tuple[str, ...] = Field(description="labels, the most frugal first")


class Report(Record):
    """Everything there is to tell."""

    schema_version: int = SCHEMA_VERSION
    created: str = Field(description="UTC, ISO 8601")
    versions: dict[str, str]
    options: dict[str, str]
    profile: Profile
    target: str | None = Field(description="where parts that are not for a host are placed")
    columns: tuple[Column, ...]
    systems: tuple[SystemReport, ...]
    fronts: dict[str, tuple[FrontPoint, ...]] = Field(
        description="by accounting: systems by accuracy and energy, the most frugal first"
    )
    definitions: tuple[Term, ...]
    estimated: tuple[str, ...] = Field(description="what is measured, counted and estimated")
    poster_note: str | None
    warnings: tuple[Diagnostic, ...] = Field(
        default=(), description="what looks like a fault of the program that wrote a graph"
    )

    def __repr__(self) -> str:
        """One line: the whole of it is for a file."""
        return f"<Report: {', '.join(system.label for system in self.systems)}; {self.profile.name}>"

    __str__ = __repr__

    @property
    def main(self) -> Column:
        """The column that charts and tables show where there is room for one alone."""
        return next((column for column in self.columns if column.name == "memory"), self.columns[-1])
