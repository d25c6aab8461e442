"""The quantities that budgets limit and a report says first, how each is answered, and the first block."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nsc_deploy.io.records import Record

Values = NDArray[np.float64]
_LAST_DIGITS = 1e-9
"""As a share: sums and products of floating point numbers differ by less."""


class Quantity(StrEnum):
    """What is measured of a system, and what a budget can limit."""

    SYNOPS_PER_INFERENCE = "synops_per_inference"
    SYNOPS_PER_STEP = "synops_per_step"
    SYNOPS_PER_SECOND = "synops_per_second"
    ENERGY = "energy_uj"
    SPIKES = "spikes_per_inference"
    NEURONS = "neurons"
    MEMORY = "memory_bytes"
    LATENCY_STEPS = "latency_steps"
    LATENCY_MS = "latency_ms"
    CORES = "cores"
    FLASH = "flash_bytes"
    RAM = "ram_bytes"
    CYCLES = "cycles_per_step"
    MICROSECONDS = "microseconds_per_step"
    ACCURACY = "accuracy"
    FITS = "fits"


UNITS: dict[Quantity, str] = {
    Quantity.SYNOPS_PER_INFERENCE: "SynOps",
    Quantity.SYNOPS_PER_STEP: "SynOps",
    Quantity.SYNOPS_PER_SECOND: "SynOps/s",
    Quantity.ENERGY: "uJ",
    Quantity.SPIKES: "spikes",
    Quantity.NEURONS: "neurons",
    Quantity.MEMORY: "B",
    Quantity.LATENCY_STEPS: "steps",
    Quantity.LATENCY_MS: "ms",
    Quantity.CORES: "cores",
    Quantity.FLASH: "B",
    Quantity.RAM: "B",
    Quantity.CYCLES: "cycles",
    Quantity.MICROSECONDS: "us",
    Quantity.ACCURACY: "",
    Quantity.FITS: "",
}
OF_SAMPLES = frozenset(
    {
        Quantity.SYNOPS_PER_INFERENCE,
        Quantity.SYNOPS_PER_STEP,
        Quantity.SYNOPS_PER_SECOND,
        Quantity.ENERGY,
        Quantity.SPIKES,
        Quantity.LATENCY_MS,
        Quantity.CYCLES,
        Quantity.MICROSECONDS,
    }
)
"""Quantities that differ from sample to sample; the others are one number."""
ON_DEMAND = frozenset({Quantity.CYCLES, Quantity.MICROSECONDS})
"""Quantities for which QEMU writes down every instruction: measured where a budget limits them."""


@dataclass(frozen=True)
class Measured:
    """A quantity of a system, or of some of its parts.

    Attributes:
        values: of each sample, [samples]; of one number for all of them [1].
        layers: part, layer and its share of `values`, which they add up to; none where no layer has a share.
        steps: in which step of each sample it is so much, [samples]; None where it is of no single step.
        bound: why the values are a lower bound; empty where they are complete.
        not_published: whether they are one because a price is not published.
        problems: of what does not fit a target, what stands against it.
        low: where only bounds are known, the lower ones, [samples]; `values` are the upper ones then.
        basis: what the bounds stand on; empty where there are none.
        left_out: of what fits a target, the parts that run on a host beside it, of which it is not said.
    """

    values: Values
    layers: tuple[tuple[str, str, Values], ...] = ()
    steps: NDArray[np.int64] | None = None
    bound: str = ""
    not_published: bool = False
    problems: tuple[str, ...] = ()
    low: Values | None = None
    basis: str = ""
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unanswered:
    """A quantity that cannot be told: why, what would tell it, and whether nothing is published of it."""

    why: str
    hint: str = ""
    not_published: bool = False

    def __str__(self) -> str:
        """Both, as sentences."""
        return f"{self.why}. {self.hint}".strip().rstrip(".") + "."


Answer = Measured | Unanswered


def keeps_to(value: float, limit: float, *, at_least: bool = False) -> bool:
    """Whether a value keeps to a limit; its last digits break none, but whole numbers are exact."""
    if float(value).is_integer() and float(limit).is_integer():
        return value >= limit if at_least else value <= limit
    return value >= limit * (1 - _LAST_DIGITS) if at_least else value <= limit * (1 + _LAST_DIGITS)


def same(value: float, limit: float) -> bool:
    """Whether a value differs from a limit in its last digits at most."""
    return keeps_to(value, limit) and keeps_to(value, limit, at_least=True)


def added(layers: Sequence[tuple[str, str, Values]]) -> Values:
    """The sum of the shares of layers."""
    total: Values = np.sum([values for _, _, values in layers], axis=0) if layers else np.zeros(1)
    return np.atleast_1d(total)


class Lows(Record):
    """Lower bounds of a quantity over the samples."""

    mean: float
    p95: float
    worst: float


class Figure(Record):
    """One quantity of a system over the samples; of one number for all of them the three are equal.

    All three are None where it cannot be told. Where only bounds are known they are the upper ones.
    """

    unit: str
    mean: float | None
    p95: float | None = Field(description="95th percentile over the samples, linear interpolation")
    worst: float | None
    sample: int | None = Field(description="the worst one, counted from 0; None for one number for all")
    step: int | None = Field(description="of that sample, the busiest one; None where it is of no step")
    lower_bound: bool = Field(description="whether a price is missing, so that it may be more")
    not_published: bool = Field(
        default=False, description="whether it is because something of the target or a price is not published"
    )
    why: str = Field(description="why it cannot be told, is a lower bound, or does not fit; else empty")
    low: Lows | None = Field(default=None, description="where only bounds are known, the lower ones")
    basis: str = Field(default="", description="what bounds stand on")
    of_samples: int | None = Field(default=None, description="of the first so many, where not of all of them")
    left_out: tuple[str, ...] = Field(
        default=(), description="of fits, the parts that run on a host, of which it is not said"
    )


class Headline(Record):
    """What a whole system takes, and what that was measured on."""

    samples: int
    steps: int = Field(description="of a sample; of several parts the most")
    dt: float = Field(description="seconds that a step takes")
    arrays: tuple[str, ...] = Field(default=(), description="how plain arrays were read, which do not say it")
    synapses: int
    column: str = Field(description="accounting of the energy")
    target: str | None
    figures: dict[Quantity, Figure]

    def __getitem__(self, quantity: Quantity) -> Figure:
        """The figure of a quantity."""
        return self.figures[quantity]
