"""The quantities that budgets limit and a report says first, and how each is answered."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


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
    """

    values: Values
    layers: tuple[tuple[str, str, Values], ...] = ()
    steps: NDArray[np.int64] | None = None
    bound: str = ""
    not_published: bool = False
    problems: tuple[str, ...] = ()


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
