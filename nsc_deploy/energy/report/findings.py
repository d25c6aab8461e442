"""The outcome of a check: as data, as text, as annotations of GitHub Actions and as JUnit XML."""

from typing import Any
from xml.etree import ElementTree as ET

from pydantic import Field

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.report.notebook import Tabular
from nsc_deploy.io.records import Record


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
        return f"{self.quantity} ({self.over}) {_number(self.value)} of {_number(self.limit)}{share}"

    def culprit_lines(self) -> list[str]:
        """The layers that use most, one a line."""
        return [
            f"{one.part}/{one.layer}: {_number(one.value)} ({100 * one.share:.0f} %)" for one in self.culprits
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
                suite, "testcase", {"classname": f"energy.{finding.system}", "name": finding.quantity}
            )
            if not finding.passed:
                failure = ET.SubElement(case, "failure", {"message": finding.describe()})
                failure.text = "\n".join(finding.culprit_lines())
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
