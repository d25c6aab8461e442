"""Budgets: what a system may cost, as a TOML file that a person can sign, and whether it keeps to it.

The result of a check is data, text, annotations of GitHub Actions and JUnit XML.
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from xml.etree import ElementTree as ET

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from nsc_deploy.deployment import Place, Side
from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import LayerCount, PartCount, Store
from nsc_deploy.energy.pricing.price import ACCOUNTINGS, MICROJOULE, price_layer
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report.tabular import Tabular
from nsc_deploy.energy.sources import CountedSystem
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.records import Record, read_toml_record
from nsc_deploy.io.text import printable

Values = NDArray[np.float64]
CULPRITS = 3
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


_HINT = "Limits are: " + ", ".join(Quantity) + ". docs/energy.md shows a budget."


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
        return read_toml_record(cls, Path(path), "a budget", hint=_HINT)


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
    over: str
    value: float
    limit: float
    passed: bool
    culprits: tuple[Culprit, ...]

    def describe(self) -> str:
        """The limit in one line."""
        share = f" ({100 * self.value / self.limit:.0f} %)" if self.limit else ""
        return f"{self.quantity} ({self.over}) {figure(self.value)} of {figure(self.limit)}{share}"

    def culprit_lines(self) -> list[str]:
        """The layers that use most, one a line."""
        return [
            f"{one.part}/{one.layer}: {figure(one.value)} ({100 * one.share:.0f} %)" for one in self.culprits
        ]


class CheckResult(Tabular, Record):
    """All limits of all systems; a table in a notebook."""

    profile: str
    findings: tuple[Finding, ...]
    warnings: tuple[Diagnostic, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return all(finding.passed for finding in self.findings)

    def rows(self) -> list[dict[str, Any]]:
        """A row a limit, with the layer that uses most."""
        return [
            finding.model_dump(exclude={"culprits"})
            | {"culprit": " ".join(f"{one.part}/{one.layer}" for one in finding.culprits[:1])}
            for finding in self.findings
        ]

    def as_text(self) -> str:
        """One line a limit, and below those that do not hold the layers that use most."""
        lines = []
        for finding in self.findings:
            lines.append(f"{'ok  ' if finding.passed else 'OVER'}  {finding.system}: {finding.describe()}")
            lines += [] if finding.passed else [f"        {line}" for line in finding.culprit_lines()]
        over = sum(not finding.passed for finding in self.findings)
        lines.append(f"{over} of {len(self.findings)} limits exceeded" if over else "within the budget")
        return "\n".join(lines)

    def as_github(self) -> str:
        """An ::error for each limit that does not hold, a ::notice for the rest together."""
        lines = [
            f"::error title={_property(f'energy budget, {finding.system}')}::"
            + _data("\n".join([finding.describe(), *finding.culprit_lines()]))
            for finding in self.findings
            if not finding.passed
        ]
        passed = sum(finding.passed for finding in self.findings)
        lines.append(f"::notice title=energy budget::{passed} of {len(self.findings)} limits hold")
        return "\n".join(lines)

    def as_junit(self) -> str:
        """One test case a limit, a failure where it does not hold."""
        over = sum(not finding.passed for finding in self.findings)
        numbers = {"tests": str(len(self.findings)), "failures": str(over), "errors": "0"}
        root = ET.Element("testsuites", numbers)
        suite = ET.SubElement(root, "testsuite", {"name": "nsc-deploy energy check", **numbers})
        for finding in self.findings:
            case = ET.SubElement(
                suite, "testcase", {"classname": _xml(f"energy.{finding.system}"), "name": finding.quantity}
            )
            if not finding.passed:
                failure = ET.SubElement(case, "failure", {"message": _xml(finding.describe())})
                failure.text = _xml("\n".join(finding.culprit_lines()))
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """A text with what XML cannot hold spelt out, names of nodes among it."""
    return printable(text, len(text) * 10)


def figure(value: float) -> str:
    """A figure in plain characters, for logs and files: thousands apart by spaces, else four digits."""
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def check_budget(systems: Sequence[CountedSystem], profile: Profile, budget: Budget) -> CheckResult:
    """Hold each system against each limit.

    Raises:
        ConfigError: the budget names a side or place that a system has no part at, or needs a price or
            a width that the profile does not have.
    """
    findings = tuple(
        _check_limit(system, profile, budget, quantity) for system in systems for quantity in budget.limits
    )
    return CheckResult(profile=profile.name, findings=findings)


def _check_limit(system: CountedSystem, profile: Profile, budget: Budget, quantity: Quantity) -> Finding:
    parts = _chosen_parts(system, budget)
    limit = budget.limits[quantity]
    over = limit.over or budget.over
    culprits: tuple[Culprit, ...] = ()
    if quantity is Quantity.LATENCY:
        over, value = "worst", float(max(part.steps for part in parts))
    else:
        _refuse_untold(system, parts, quantity)
        measure = _measure(quantity, profile, budget, spiking=system.spiking)
        layers = [(part.name, layer.name, measure(part, layer)) for part in parts for layer in part.layers]
        total: Values = np.sum([values for _, _, values in layers], axis=0)
        # Layers are weighed by the samples that decide, so that they add up to the number they explain.
        weights = sample_weights(np.atleast_1d(total), over)
        value = float(weights @ total)
        used = [(part, layer, float(weights @ values)) for part, layer, values in layers]
        culprits = tuple(
            Culprit(part=part, layer=layer, value=amount, share=amount / value)
            for part, layer, amount in sorted(used, key=lambda one: -one[2])[:CULPRITS]
            if amount > 0
        )
    return Finding(
        system=system.label,
        quantity=quantity,
        over=over,
        value=value,
        limit=limit.most,
        passed=value <= limit.most,
        culprits=culprits,
    )


_FIELDS = {Quantity.SPIKES: "spikes", Quantity.NEURONS: "neurons"}


def _refuse_untold(system: CountedSystem, parts: Sequence[PartCount], quantity: Quantity) -> None:
    """Refuse a limit on what a graph does not tell: none of 5 spikes is not what was counted."""
    field = _FIELDS.get(quantity)
    untold = [part.name for part in parts if field in part.unknown]
    if untold:
        raise ConfigError(
            f"holds ONNX graphs ({', '.join(untold)}), which do not tell their {field}, so no limit of "
            f"{field} can be shown to hold",
            where=system.path,
            hint="Limit synops, count the NIR graph, or let the budget name a side or place without ONNX.",
        )


def _chosen_parts(system: CountedSystem, budget: Budget) -> list[PartCount]:
    parts = [
        part
        for part in system.parts
        if budget.side in {None, part.side} and budget.place in {None, part.place}
    ]
    if not parts:
        wanted = " ".join(str(one) for one in (budget.side, budget.place) if one is not None)
        raise ConfigError(
            f"the budget is for the {wanted}, and {system.label} has no such part", where=system.path
        )
    return parts


def _measure(
    quantity: Quantity, profile: Profile, budget: Budget, *, spiking: bool
) -> Callable[[PartCount, LayerCount], Values]:
    """What one layer uses of a quantity, for each sample."""

    def energy(part: PartCount, layer: LayerCount) -> Values:
        accounting = next(one for one in ACCOUNTINGS if one.name == budget.column)
        priced = price_layer(layer, profile, accounting, spiking=spiking)
        if priced.unpriced:
            raise ConfigError(
                f"has no price for {', '.join(priced.unpriced)} of {part.name}/{layer.name}, so no limit of "
                "energy can be shown to hold",
                where=f"profile {profile.name}",
                hint="Choose another profile or column, or limit synops instead.",
            )
        return priced.total * MICROJOULE

    def memory(part: PartCount, layer: LayerCount) -> Values:
        if profile.operand_bits is None:
            raise ConfigError(
                "does not say how wide a value is, so bytes cannot be counted",
                where=f"profile {profile.name}",
                hint="Give it operand_bits, or choose a profile that has them.",
            )
        values = sum(layer.footprint.of(store) for store in Store)
        return np.full(part.samples, float(-(-values * profile.operand_bits // 8)))

    rules: dict[Quantity, Callable[[PartCount, LayerCount], Values]] = {
        Quantity.SYNOPS_PER_INFERENCE: lambda part, layer: layer.per_sample.synaptic.astype(float),
        Quantity.SYNOPS_PER_SECOND: lambda part, layer: layer.per_sample.synaptic / (part.steps * part.dt),
        Quantity.SPIKES: lambda part, layer: layer.per_sample.spikes.astype(float),
        Quantity.NEURONS: lambda part, layer: np.full(part.samples, float(layer.neurons)),
        Quantity.ENERGY: energy,
        Quantity.MEMORY: memory,
    }
    return rules[quantity]


def sample_weights(values: NDArray[np.float64], over: str) -> NDArray[np.float64]:
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
