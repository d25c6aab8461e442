"""The report as data: one model for the terminal, JSON and HTML.

Energies are in microjoules for one sample (one utterance); counts are means over the samples.
"""

import math
from collections.abc import Iterable
from typing import Self

from pydantic import Field, NonNegativeFloat, model_validator

from nsc_deploy.deployment import Place, Side
from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import Store
from nsc_deploy.energy.pricing.price import Column
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.break_even import Against, BreakEven, RadioBreakEven
from nsc_deploy.energy.report.on_chip import OnTarget
from nsc_deploy.energy.report.quantity import Headline
from nsc_deploy.energy.report.statistics import (
    Energy,
    FrontPoint,
    Kept,
    Load,
    MemoryUse,
    OverTime,
    Spread,
    Whole,
)
from nsc_deploy.graphs.network import Signal
from nsc_deploy.io.records import Record

SCHEMA_VERSION = 5


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
    late: Whole = Field(description="of the steps, those that the pipeline of a deployment adds")
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
    unknown: tuple[str, ...] = Field(
        description="figures that an ONNX graph does not tell, and that are 0 here"
    )

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


class FloatGraph(Record):
    """The floating-point graphs that the integers of a deployment were made from, on the same inputs."""

    neurons: Whole
    synapses: Whole
    synops: Spread
    spikes: Spread


class PotentialWay(Record):
    """One way in which what a host makes of a decoder's potentials comes about, beside the decoder itself.

    All ways give the same. The first is the one that the graphs have and the columns hold.
    """

    way: str = Field(description="potentials, running-sum, by-events or at-once")
    meaning: str
    values_leaving: NonNegativeFloat = Field(
        description="graded values of a sample that leave the chip, mean; counted, not priced"
    )
    events_leaving: NonNegativeFloat = Field(description="binary events, likewise")
    chip: Counts = Field(description="what the chip does for it, beside the decoder's own layers")
    host: Counts = Field(description="what the host does for it, without the converter's bias and sigmoid")
    energy: dict[str, Energy] = Field(description="of both together, by accounting")


class SystemReport(Record):
    """A whole system."""

    label: str
    path: str
    system: str | None
    receiver: str | None
    dataset: str | None
    spiking: bool
    samples: Whole
    accuracy: float | None = Field(
        description="of a run that of the trained model on its test part, else of the last part on the "
        "samples that were counted; None without labels or a readout"
    )
    accuracy_of: str | None = Field(default=None, description="what that was measured on")
    snr_db: float | None
    snr_to_db: float | None = Field(description="upper end, where each sample has its own")
    channel: str | None
    channel_uses: int | None = Field(description="of one sample")
    parts: tuple[PartReport, ...]
    sides: dict[Side, dict[str, Energy]] = Field(description="energy by side and accounting")
    counts: Counts
    accesses: Accesses
    synops: Spread
    spikes: Spread
    float_graph: FloatGraph | None = Field(
        description="beside integers that were counted: what they were made from; else None"
    )
    headline: Headline = Field(description="what the system takes, in a few figures")
    energy: dict[str, Energy] = Field(description="all parts, by accounting")
    network_uj: float | None = Field(
        description="messages and hops of all parts on the target, mean of a sample, in no column; None "
        "where a part does not fit, or nothing is known"
    )
    radio_uj: float | None = Field(
        description="channel uses of a sample at the profile's price, in no column; None without a channel, "
        "or where the profile has no price of the radio"
    )
    addressing_uj: float | None = Field(
        default=None,
        description="finding the weights of a sample's synaptic operations at the profile's price, in no "
        "column; None where the profile has no such price",
    )
    static_uj: float | None = Field(
        default=None,
        description="static power of each end times the time that a sample lasts, in no column; None where "
        "the profile has none",
    )
    potentials: tuple[PotentialWay, ...] = Field(
        default=(),
        description="of a run whose decoder hands potentials to a converter on a host (snn-sc, s-jscc): how "
        "they could get there, the first as counted; in no column but that one",
    )
    break_even: BreakEven | None = Field(description="of the whole spiking system")
    against: tuple[Against, ...] = Field(description="a spiking system against each conventional one")
    radio_break_even: tuple[RadioBreakEven, ...] = Field(
        default=(),
        description="as a whole against each later system of the report; empty where the profile has no "
        "price of the radio",
    )
    ratio: dict[str, Ratio]
    poster: Poster | None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        _require_sum("parts", self.counts, (part.counts for part in self.parts))
        return self


class Term(Record):
    """A word of the report and what it means."""

    name: str
    meaning: str


class TrainedOpponent(Record):
    """A trained run of the network that the bit-matched column only prices, with memory."""

    system: str
    accuracy: float | None
    energy_uj: float | None = Field(description="mean of a sample; None where a price is missing")
    receiver_uj: float | None


class Report(Record):
    """Everything there is to tell."""

    schema_version: int = SCHEMA_VERSION
    created: str = Field(description="UTC, ISO 8601")
    versions: dict[str, str]
    options: dict[str, str]
    profile: Profile
    host_profile: Profile | None = Field(
        description="prices of parts on a host; None where they are the same"
    )
    target: str | None = Field(description="where parts that are not for a host are placed")
    columns: tuple[Column, ...]
    systems: tuple[SystemReport, ...]
    fronts: dict[str, tuple[FrontPoint, ...]] = Field(
        description="by accounting: systems by accuracy and energy, the most frugal first"
    )
    trained_opponents: tuple[TrainedOpponent, ...] = Field(
        default=(), description="beside spiking systems: runs of qnn, what the bit-matched column stands for"
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
