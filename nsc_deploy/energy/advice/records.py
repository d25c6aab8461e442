"""Advice as data: each change to a system with what was measured before and after it."""

from enum import StrEnum
from typing import Any

from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.io.records import Record

ADVICE_SCHEMA_VERSION = 1


class Change(StrEnum):
    """What is changed.

    - `PRUNE`: neurons that never fire, or whose spikes meet no synapse, are taken out.
    - `DROP`: weights that no event ever meets are set to zero.
    - `ALL_EXACT`: all changes of a part that leave its outputs as they are, at once.
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
    saved: float = Field(description="share of the energy of the whole system; negative where it rises")
    accuracy_before: float | None
    accuracy_after: float | None


class AdviceReport(Tabular, Record):
    """All changes that were tried, the one that saves most first; a table in a notebook."""

    schema_version: int = ADVICE_SCHEMA_VERSION
    system: str
    profile: str
    column: str
    samples: int
    energy_uj: float = Field(description="of the whole system, mean of a sample")
    accuracy: float | None = Field(description="of the last part on these samples, where it has labels")
    advice: tuple[Advice, ...]
    left_out: tuple[str, ...] = Field(description="what could not be tried, and why")
    warnings: tuple[Diagnostic, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row a change."""
        return [one.model_dump(mode="json") for one in self.advice]
