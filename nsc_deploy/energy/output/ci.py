"""The outcome of a check as text, as annotations of GitHub Actions and as JUnit XML."""

from xml.etree import ElementTree as ET

from nsc_deploy.energy.report.budget import CheckResult, Finding


def as_text(result: CheckResult) -> str:
    """One line a limit, and below those that do not hold the layers that use most."""
    lines = []
    for finding in result.findings:
        lines.append(f"{'ok  ' if finding.passed else 'OVER'}  {finding.system}: {describe(finding)}")
        lines += [] if finding.passed else [f"        {line}" for line in culprits(finding)]
    over = sum(not finding.passed for finding in result.findings)
    lines.append(f"{over} of {len(result.findings)} limits exceeded" if over else "within the budget")
    return "\n".join(lines)


def as_github(result: CheckResult) -> str:
    """An ::error for each limit that does not hold, a ::notice for the rest together."""
    lines = [
        f"::error title={_property(f'energy budget, {finding.system}')}::"
        + _data("\n".join([describe(finding), *culprits(finding)]))
        for finding in result.findings
        if not finding.passed
    ]
    passed = sum(finding.passed for finding in result.findings)
    lines.append(f"::notice title=energy budget::{passed} of {len(result.findings)} limits hold")
    return "\n".join(lines)


def as_junit(result: CheckResult) -> str:
    """One test case a limit, a failure where it does not hold."""
    over = sum(not finding.passed for finding in result.findings)
    numbers = {"tests": str(len(result.findings)), "failures": str(over), "errors": "0"}
    root = ET.Element("testsuites", numbers)
    suite = ET.SubElement(root, "testsuite", {"name": "nsc-deploy energy check", **numbers})
    for finding in result.findings:
        case = ET.SubElement(
            suite, "testcase", {"classname": f"energy.{finding.system}", "name": finding.quantity}
        )
        if not finding.passed:
            failure = ET.SubElement(case, "failure", {"message": describe(finding)})
            failure.text = "\n".join(culprits(finding))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def describe(finding: Finding) -> str:
    """The limit in one line."""
    share = f" ({100 * finding.value / finding.limit:.0f} %)" if finding.limit else ""
    return f"{finding.quantity} ({finding.over}) {_number(finding.value)} of {_number(finding.limit)}{share}"


def culprits(finding: Finding) -> list[str]:
    """The layers that use most, one a line."""
    return [
        f"{one.part}/{one.layer}: {_number(one.value)} ({100 * one.share:.0f} %)" for one in finding.culprits
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
