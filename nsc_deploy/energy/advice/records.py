"""Advice as data: each change to a system with what was measured before and after it."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.io.records import Record

ADVICE_SCHEMA_VERSION = 2


class Objective(StrEnum):
    """What is to become less, of the whole system: mean of a sample, and what it keeps."""

    ENERGY = "energy"
    SYNOPS = "synops"
    MEMORY = "memory"


class Change(StrEnum):
    """What is changed.

    - `PRUNE`: neurons that never fire, or whose spikes meet no synapse, are taken out.
    - `DROP`: weights that no event ever meets are set to zero.
    - `ALL_EXACT`: all changes of a part, or of all parts, that leave the outputs as they are, at once.
    - `STEPS`: the recordings end earlier.
    - `BITS`: the weights of a layer are rounded to fewer bits.
    - `RATE`: another run, trained with a loss on the rate of spikes.
    """

    PRUNE = "prune"
    DROP = "drop"
    ALL_EXACT = "all exact changes"
    STEPS = "fewer steps"
    BITS = "fewer bits"
    RATE = "lower rate"


class Advice(Record):
    """One change and what it does to the whole system, measured on the recordings.

    Accuracies are None where they cannot be measured on recordings: without labels and a readout.
    """

    change: Change
    part: str | None = Field(description="None: the whole system")
    layer: str | None = Field(description="None: several layers")
    words: str = Field(description="what is changed")
    same_outputs: bool = Field(description="whether every output value of the part stays as it was")
    before_uj: float = Field(description="of the whole system, mean of a sample")
    after_uj: float
    before_synops: float
    after_synops: float
    before_bytes: int | None = Field(description="None where the profile does not say how wide a value is")
    after_bytes: int | None
    saved: float = Field(
        description="share of what the report ranks by, of the parts it names; negative where it rises"
    )
    accuracy_before: float | None
    accuracy_after: float | None


class AdviceReport(Tabular, Record):
    """All changes that were tried, the one that saves most of `by` first; a table in a notebook."""

    schema_version: int = ADVICE_SCHEMA_VERSION
    system: str
    profile: str
    column: str
    samples: int
    by: Objective = Field(description="what the changes are ranked by")
    why: str = Field(description="where a budget decides that: the limit, and how much of it is used")
    of_parts: tuple[str, ...] = Field(
        default=(), description="parts that `saved` is of, where a budget is for some alone"
    )
    energy_uj: float = Field(description="of the whole system, mean of a sample")
    synops: float
    memory_bytes: int | None
    accuracy: float | None = Field(description="of the last part on these samples, where it has labels")
    advice: tuple[Advice, ...]
    together: Advice | None = Field(
        description="all changes of all parts that leave their outputs as they are; None without any"
    )
    left_out: tuple[str, ...] = Field(description="what could not be tried, and why")
    warnings: tuple[Diagnostic, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row a change."""
        return [one.model_dump(mode="json") for one in self.advice]
