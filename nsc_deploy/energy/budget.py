"""Budgets: what a system may cost, as a TOML file that a person can sign and CI can check."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from nsc_deploy.deployment import Place, Side
from nsc_deploy.io.records import Record, read_toml_record

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


class Quantity(StrEnum):
    """What a budget can limit."""

    SYNOPS_PER_INFERENCE = "synops_per_inference"
    SYNOPS_PER_SECOND = "synops_per_second"
    ENERGY = "energy_uj"
    SPIKES = "spikes_per_inference"
    NEURONS = "neurons"
    MEMORY = "memory_bytes"
    LATENCY = "latency_steps"


class Limit(Record):
    """The most a quantity may be."""

    most: float = Field(ge=0)
    over: str | None = Field(default=None, description="mean, worst or a percentile such as p95")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.over is not None:
            _refuse_unknown(self.over)
        return self


def _from_number(value: Any) -> Any:
    return {"most": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


AnyLimit = Annotated[Limit, BeforeValidator(_from_number)]


class Budget(Record):
    """Limits for one inference (one sample), and what of the samples they are held against.

    Attributes:
        over: "mean", "worst" or a percentile over the samples ("p95"); a limit may have its own.
        column: accounting the energy is taken from.
        side: only the parts at this end of the link; None for all.
        place: only the parts on chip, or on the host; None for all.
        limits: at least one.
    """

    over: str = "worst"
    column: Literal["paper", "compute", "memory"] = "memory"
    side: Side | None = None
    place: Place | None = None
    limits: dict[Quantity, AnyLimit] = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> Self:
        _refuse_unknown(self.over)
        return self

    @classmethod
    def read(cls, path: str | Path) -> "Budget":
        """Read a budget file.

        Raises:
            ConfigError: missing, not TOML, or a field that is missing, unknown or out of range; the
                message names the field.
        """
        return read_toml_record(cls, Path(path), "a budget", remedy=_REMEDY)

    def over_of(self, limit: Limit) -> str:
        """What of the samples a limit is held against."""
        return limit.over or self.over


_REMEDY = "Limits are: " + ", ".join(Quantity) + ". docs/energy.md shows a budget."


def standing_for(values: NDArray[np.float64], over: str) -> NDArray[np.float64]:
    """How much each sample weighs in one number for all of them.

    Args:
        values: one a sample.
        over: "mean", "worst" (the largest) or a percentile, which lies between two samples (linear
            interpolation).

    Returns:
        Weights that add up to 1; the number is `weights @ values`.
    """
    if over == "mean":
        return np.full(len(values), 1 / len(values))
    weights = np.zeros(len(values))
    if over == "worst":
        weights[np.argmax(values)] = 1
        return weights
    order = np.argsort(values, kind="stable")
    at = float(over[1:]) / 100 * (len(values) - 1)
    below = int(at)
    weights[order[below]] = 1 - (at - below)
    if at > below:
        weights[order[below + 1]] = at - below
    return weights


def _refuse_unknown(over: str) -> None:
    if over not in {"mean", "worst"} and not _PERCENTILE.fullmatch(over):
        raise ValueError(f"{over!r} is none of mean, worst and p0 to p99.9")
