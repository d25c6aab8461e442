"""Budgets: what a system may cost, as a TOML file that a person can sign, and whether it keeps to it.

A budget names what its figures stand on: the prices, the target, the parts and the accounting. Its limits are
held against what `measures` finds; one that cannot be answered says why and hides none of the others.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, computed_field, model_validator

from nsc_deploy.deployment import Place, Side
from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import PartCount
from nsc_deploy.energy.pricing.price import ACCOUNTINGS, PriceBook
from nsc_deploy.energy.report import answers
from nsc_deploy.energy.report.measures import Meter
from nsc_deploy.energy.report.quantity import (
    OF_SAMPLES,
    UNITS,
    Measured,
    Quantity,
    Unanswered,
    keeps_to,
    same,
)
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.energy.systems import CountedSystem
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.records import Record, UserRecord, read_toml_record

CULPRITS = 3
NEAR = 0.9
"""From this share of a limit on it is said to be near."""
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
_HINT = "Limits are: " + ", ".join(Quantity) + ". docs/energy.md shows a budget."


class Most(UserRecord):
    """The most that a quantity may be."""

    what: ClassVar[str] = "a limit"
    most: float = Field(ge=0)
    over: str | None = Field(default=None, description="mean, worst or a percentile such as p95")

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.over is not None:
            _refuse_unknown(self.over)
        return self


class Least(UserRecord):
    """The least that a quantity may be."""

    what: ClassVar[str] = "a limit"
    least: float = Field(ge=0, le=1)


def _most(value: Any) -> Any:
    return {"most": _number(value, "most")} if not isinstance(value, dict | Most) else value


def _least(value: Any) -> Any:
    return {"least": _number(value, "least")} if not isinstance(value, dict | Least) else value


def _number(value: Any, name: str) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        # pydantic names the field of a ValueError alone.
        raise ValueError(f"is neither a number nor {{ {name} = ... }}")  # noqa: TRY004
    return value


AnyMost = Annotated[Most, BeforeValidator(_most)]
AnyLeast = Annotated[Least, BeforeValidator(_least)]


class Limits(UserRecord):
    """At least one limit; of one inference, which is one sample."""

    what: ClassVar[str] = "limits"
    hint: ClassVar[str | None] = _HINT
    synops_per_inference: AnyMost | None = None
    synops_per_step: AnyMost | None = Field(default=None, description="in the busiest step of a sample")
    synops_per_second: AnyMost | None = Field(
        default=None, description="of a sample over its duration, that of its longest part"
    )
    energy_uj: AnyMost | None = None
    spikes_per_inference: AnyMost | None = None
    neurons: AnyMost | None = None
    memory_bytes: AnyMost | None = Field(
        default=None, description="of weights, states and inputs; of C code its flash and RAM"
    )
    latency_steps: AnyMost | None = Field(
        default=None, description="from the first input to the last output, with the target's pipeline"
    )
    latency_ms: AnyMost | None = Field(default=None, description="the same, in milliseconds")
    cores: AnyMost | None = Field(default=None, description="of the target")
    flash_bytes: AnyMost | None = Field(default=None, description="of a microcontroller: code and constants")
    ram_bytes: AnyMost | None = Field(default=None, description="of a microcontroller: state and stack")
    cycles_per_step: AnyMost | None = Field(
        default=None, description="the most of the costliest step of a sample, without wait states"
    )
    microseconds_per_step: AnyMost | None = Field(default=None, description="the same at the fastest clock")
    accuracy: AnyLeast | None = Field(default=None, description="share of right decisions, 0 to 1")
    fits: Literal[True] | None = Field(default=None, description="every part that is on the target fits it")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not any(True for _ in self.named()):
            raise ValueError("is empty")
        for quantity, limit in self.named():
            if quantity not in OF_SAMPLES and isinstance(limit, Most) and limit.over is not None:
                raise ValueError(f"{quantity} is one number for all samples and takes no 'over'")
        return self

    def named(self) -> Iterator[tuple[Quantity, Most | Least]]:
        """The limits that are there; one that has to be true is a least of 1."""
        for quantity in Quantity:
            limit = getattr(self, quantity.value)
            if limit is not None:
                yield quantity, Least(least=1) if limit is True else limit


class Budget(UserRecord):
    """Limits for one inference, what of the samples they are held against, and what the figures stand on.

    Attributes:
        profile: prices of the operations: a name, or a TOML file beside the budget.
        host_profile: prices of the parts on a host; those of `profile` if None.
        target: where the parts that are not for a host are placed.
        part: only the part of this name.
        side: only the parts at this end of the link; None for all.
        place: only the parts on chip, or on the host; None for all.
        column: accounting the energy is taken from.
        over: "mean", "worst" or a percentile over the samples ("p95"); a limit may have its own.
    """

    what: ClassVar[str] = "a budget"
    hint: ClassVar[str | None] = _HINT
    profile: str | None = None
    host_profile: str | None = None
    target: str | None = None
    part: str | None = None
    side: Side | None = None
    place: Place | None = None
    column: Literal["paper", "compute", "memory"] = "memory"
    over: str = "worst"
    limits: Limits

    @model_validator(mode="after")
    def _known(self) -> Self:
        _refuse_unknown(self.over)
        return self

    @classmethod
    def read(cls, path: str | Path) -> "Budget":
        """Read a budget file; files that it names lie beside it.

        Raises:
            ConfigError: missing, not TOML, or a field that is missing, unknown or out of range; the
                message names the field.
        """
        budget = read_toml_record(cls, Path(path), cls.what, hint=cls.hint)
        named = {name: getattr(budget, name) for name in ("profile", "host_profile", "target")}
        files = {
            name: str(Path(path).parent / value)
            for name, value in named.items()
            if value is not None and value.endswith(".toml")
        }
        return budget.model_copy(update=files)


class Culprit(Record):
    """A layer and what it uses."""

    part: str
    layer: str
    value: float = Field(description="in the unit of the limit, in the samples that decide")
    share: float = Field(description="of all layers")


class Finding(Record):
    """One limit of one system."""

    system: str
    quantity: str
    unit: str
    over: str = Field(description="mean, worst or a percentile of the samples; empty for one number for all")
    value: float | None = Field(description="None where it cannot be told")
    limit: float
    at_least: bool = Field(default=False, description="whether the limit is the least, and not the most")
    passed: bool | None = Field(description="None where it cannot be shown")
    near: bool = Field(default=False, description="whether it holds with less than a tenth to spare")
    not_published: bool = Field(
        default=False, description="whether that is for something of the target or a price is not published"
    )
    why: str = Field(default="", description="what keeps it from being shown, or from fitting")
    basis: str = Field(default="", description="where the value is an upper bound, what that stands on")
    sample: int | None = Field(default=None, description="the worst one, where it decides")
    step: int | None = Field(default=None, description="of that sample, the busiest one")
    culprits: tuple[Culprit, ...] = ()
    left_out: tuple[str, ...] = Field(
        default=(), description="of fits, the parts that run on a host, of which it is not said"
    )

    @property
    def share(self) -> float | None:
        """The value over the limit."""
        if self.value is None or not self.limit:
            return None
        return 1.0 if same(self.value, self.limit) else self.value / self.limit


class CheckedSystem(Record):
    """What the limits of one system were held against."""

    system: str
    path: str
    parts: tuple[str, ...] = Field(description="those that the budget is for")
    samples: int
    steps: int = Field(description="of a sample; of several parts the most")
    dt: float = Field(description="seconds that a step takes")
    arrays: tuple[str, ...] = Field(default=(), description="how plain arrays were read, which do not say it")
    float_synops: float | None = Field(
        default=None,
        description="where integers of a deployment were counted: mean SynOps of the graph they were made "
        "from, of an inference",
    )


class CheckResult(Tabular, Record):
    """All limits of all systems; a table in a notebook."""

    budget: Budget | None = Field(default=None, description="None for a baseline alone")
    baseline: str | None = Field(default=None, description="when the earlier report was made")
    profile: str
    host_profile: str | None = None
    target: str | None = None
    column: str = Field(description="accounting of the energy")
    systems: tuple[CheckedSystem, ...] = ()
    findings: tuple[Finding, ...]
    warnings: tuple[Diagnostic, ...] = ()

    @computed_field(description="whether every limit is shown to hold")  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool:
        """Whether every limit is shown to hold."""
        return all(finding.passed for finding in self.findings)

    @property
    def exceeded(self) -> tuple[Finding, ...]:
        """The limits that do not hold."""
        return tuple(one for one in self.findings if one.passed is False)

    @property
    def unanswered(self) -> tuple[Finding, ...]:
        """The limits that nothing is known of."""
        return tuple(one for one in self.findings if one.passed is None)

    def rows(self) -> list[dict[str, Any]]:
        """A row a limit, with the layer that uses most."""
        return [
            finding.model_dump(exclude={"culprits"})
            | {"culprit": " ".join(f"{one.part}/{one.layer}" for one in finding.culprits[:1])}
            for finding in self.findings
        ]

    def as_text(self) -> str:
        """The answer for a terminal or a log."""
        return answers.as_text(self)

    def as_github(self) -> str:
        """Annotations of GitHub Actions."""
        return answers.as_github(self)

    def as_junit(self) -> str:
        """JUnit XML."""
        return answers.as_junit(self)


def check_budget(systems: Sequence[CountedSystem], prices: PriceBook, budget: Budget) -> CheckResult:
    """Hold each system against each limit.

    Raises:
        ConfigError: the budget names a part, side or place that a system has not.
    """
    checked, findings = [], []
    for system in systems:
        parts = _chosen_parts(system, budget)
        accounting = next(one for one in ACCOUNTINGS if one.name == budget.column)
        meter = Meter(system, parts, prices, accounting)
        checked.append(checked_system(system, [system.parts[index] for index in parts]))
        findings += [_held(meter, budget, quantity, limit) for quantity, limit in budget.limits.named()]
    return CheckResult(
        budget=budget,
        profile=prices.profile.name,
        host_profile=None if prices.host is None else prices.host.name,
        target=systems[0].target if systems else None,
        column=budget.column,
        systems=tuple(checked),
        findings=tuple(findings),
    )


def checked_system(system: CountedSystem, parts: Sequence[PartCount]) -> CheckedSystem:
    """What of a system is held against limits."""
    names = {part.name for part in parts}
    # Parts on a host alone are the same in both.
    made = any(part.place is not Place.HOST for part in parts)
    floats = [one for one in system.floats if made and one.name in names]
    return CheckedSystem(
        system=system.label,
        path=str(system.path),
        parts=tuple(part.name for part in parts),
        samples=system.samples,
        steps=max(part.steps for part in parts),
        dt=parts[0].dt,
        arrays=system.arrays,
        float_synops=float(sum(one.per_sample.synaptic.mean() for one in floats)) if floats else None,
    )


def _held(meter: Meter, budget: Budget, quantity: Quantity, limit: Most | Least) -> Finding:
    """One limit of one system."""
    found = meter.measure(quantity)
    at_least = isinstance(limit, Least)
    bound = limit.least if isinstance(limit, Least) else limit.most
    over = (limit.over if isinstance(limit, Most) else None) or budget.over
    known: dict[str, Any] = {
        "system": meter.system.label,
        "quantity": quantity,
        "unit": UNITS[quantity],
        "over": over if quantity in OF_SAMPLES else "",
        "limit": bound,
        "at_least": at_least,
    }
    if isinstance(found, Measured):
        known["basis"] = found.basis
    if isinstance(found, Unanswered):
        known["not_published"] = found.not_published
        return Finding(**known, value=None, passed=None, why=str(found))
    # Layers are weighed by the samples that decide, so that they add up to the number they explain.
    weights = sample_weights(found.values, over) if len(found.values) > 1 else np.ones(1)
    value = _over_samples(found.values, weights, over)
    holds = keeps_to(value, bound, at_least=at_least)
    if found.bound and holds:
        known["not_published"] = found.not_published
        return Finding(**known, value=value, passed=None, why=f"{found.bound}, so it may be more")
    worst = int(np.argmax(found.values)) if quantity in OF_SAMPLES and over == "worst" else None
    return Finding(
        **known,
        value=value,
        passed=holds,
        near=holds and not at_least and value >= NEAR * bound > 0,
        why="; ".join(found.problems),
        sample=worst,
        step=None if found.steps is None or worst is None else int(found.steps[worst]),
        culprits=_culprits(found, weights, value),
        left_out=found.left_out,
    )


def _over_samples(values: NDArray[np.float64], weights: NDArray[np.float64], over: str) -> float:
    """One number for all samples; a mean is divided once: 23 weights of 1 / 23 make more than 30 of 30."""
    return math.fsum(values) / len(values) if over == "mean" else float(weights @ values)


def _culprits(found: Measured, weights: NDArray[np.float64], value: float) -> tuple[Culprit, ...]:
    used = [(part, layer, float(weights @ np.atleast_1d(values))) for part, layer, values in found.layers]
    return tuple(
        Culprit(part=part, layer=layer, value=amount, share=amount / value)
        for part, layer, amount in sorted(used, key=lambda one: -one[2])[:CULPRITS]
        if amount > 0
    )


def _chosen_parts(system: CountedSystem, budget: Budget) -> tuple[int, ...]:
    chosen = tuple(
        index
        for index, part in enumerate(system.parts)
        if budget.part in {None, part.name}
        and budget.side in {None, part.side}
        and budget.place in {None, part.place}
    )
    if not chosen:
        wanted = {"part": budget.part, "side": budget.side, "place": budget.place}
        asked = ", ".join(f"{name} = {str(value)!r}" for name, value in wanted.items() if value is not None)
        there = "; ".join(_described(part) for part in system.parts)
        raise ConfigError(
            f"the budget is for {asked}, and {system.label} has no such part (it has: {there})",
            where=system.path,
            hint="Change part, side or place in the budget, or leave them out for the whole system.",
        )
    return chosen


def parts_of(system: CountedSystem, budget: Budget) -> tuple[str, ...]:
    """Names of the parts that a budget is for.

    Raises:
        ConfigError: the system has none of them.
    """
    return tuple(system.parts[index].name for index in _chosen_parts(system, budget))


def _described(part: PartCount) -> str:
    """A part with its end of the link and its place, where they are known."""
    words = " ".join(str(one) for one in (part.side, part.place) if one is not None)
    return f"{part.name} ({words})" if words else part.name


def sample_weights(values: NDArray[np.float64], over: str) -> NDArray[np.float64]:
    """How much each sample weighs in one number for all of them.

    Args:
        values: one a sample.
        over: "mean", "worst" (the largest) or a percentile, which lies between two samples (linear
            interpolation).

    Returns:
        Weights that add up to 1; the number is `weights @ values`, but for the last digit.
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
