"""The answer to a budget: as text, as annotations of GitHub Actions, as JUnit XML; and a check that failed.

Plain characters in all of them, for logs and files.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from nsc_deploy.energy.report.quantity import same
from nsc_deploy.errors import UserError
from nsc_deploy.io.text import counted, percent, printable

if TYPE_CHECKING:
    from nsc_deploy.energy.report.budget import CheckedSystem, CheckResult, Finding

_NAMES = {"paper": "the paper's accounting", "compute": "MAC-aware", "memory": "with memory"}
_MARKS = (0.9, 1.0)
"""Shares of a limit that a verdict changes at."""
_SUITE = "nsc-deploy energy check"


def as_text(result: "CheckResult") -> str:
    """What the figures stand on, then a line a limit, and below those that do not hold what uses most."""
    lines = [_stands_on(result)]
    width = max((len(one.quantity) for one in result.findings), default=0)
    systems = {one.system: one for one in result.systems}
    for label in dict.fromkeys(one.system for one in result.findings):
        lines.append(_subject(label, systems.get(label)))
        for finding in (one for one in result.findings if one.system == label):
            lines.append(f"{_mark(finding):<5} {finding.quantity:<{width}}  {_figures(finding)}")
            lines += [f"        {line}" for line in _reasons(finding)]
    lines.append(_summary(result))
    return "\n".join(line.rstrip() for line in lines)


def as_github(result: "CheckResult") -> str:
    """An ::error for each limit that is not shown to hold, a ::warning near one, a ::notice for the rest."""
    lines = []
    for one in result.findings:
        kind = "error" if not one.passed else "warning" if one.near else None
        if kind is not None:
            text = "\n".join([f"{one.quantity} {_figures(one)}", *_reasons(one)])
            lines.append(_annotation(kind, f"energy budget, {one.system}", text))
    held = sum(one.passed is True for one in result.findings)
    text = f"{held} of {len(result.findings)} limits hold; {_stands_on(result)}"
    return "\n".join([*lines, _annotation("notice", "energy budget", text)])


def as_junit(result: "CheckResult") -> str:
    """One test case a limit: a failure where it does not hold, an error where it cannot be shown."""
    return _junit(
        [
            (
                f"energy.{one.system}",
                one.quantity,
                None if one.passed else "error" if one.passed is None else "failure",
                f"{one.quantity} {_figures(one)}",
                "\n".join(_reasons(one)),
            )
            for one in result.findings
        ],
        _stands_on(result),
    )


def failure_as_github(error: UserError) -> str:
    """An ::error for a check that could not be made."""
    return _annotation("error", "energy budget", error.message)


def failure_as_junit(error: UserError) -> str:
    """One test case that ended in an error."""
    return _junit([("energy", "check", "error", error.problem, error.message)], "")


def figure(value: float) -> str:
    """A figure in plain characters, for logs and files: thousands apart by commas, else four digits."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _stands_on(result: "CheckResult") -> str:
    """Prices, accounting and target in one line."""
    words = [f"prices {result.profile}, {_NAMES.get(result.column, result.column)}"]
    words += [] if result.host_profile is None else [f"host parts {result.host_profile}"]
    words.append("no target" if result.target is None else f"target {result.target}")
    words += [] if result.baseline is None else [f"against the report of {result.baseline}"]
    return "; ".join(words)


def _subject(label: str, system: "CheckedSystem | None") -> str:
    """A system, and what of it was held against the limits."""
    if system is None:
        return label
    steps = f"{counted(system.steps, 'step')} of {system.dt * 1000:g} ms"
    words = f"{label}: {', '.join(system.parts)}; {counted(system.samples, 'sample')}, {steps}"
    if system.float_synops is not None:
        words += f"; integers (the float graph: {figure(system.float_synops)} SynOps, mean)"
    read = [f"  array read {words}" for words in system.arrays]
    return "\n".join([words, *read])


def _mark(finding: "Finding") -> str:
    if finding.passed is None:
        return "?"
    if finding.quantity == "fits" and not finding.passed:
        return "NO"
    return "NEAR" if finding.near else "ok" if finding.passed else "UNDER" if finding.at_least else "OVER"


def _figures(finding: "Finding") -> str:
    """The value beside its limit."""
    if finding.quantity == "fits":
        unknown = "not published" if finding.not_published else "not known"
        return {True: "yes", False: "no", None: unknown}[finding.passed]
    unit = f" {finding.unit}" if finding.unit else ""
    limit = f"at least {figure(finding.limit)}" if finding.at_least else f"{figure(finding.limit)}"
    if finding.value is None:
        return f"cannot be shown to be {'' if finding.at_least else 'at most '}{limit}{unit}"
    more = "more than " if finding.passed is None else ""
    share = "" if finding.share is None or finding.at_least else f"  {percent(finding.share, apart=_MARKS)} %"
    where = f" in sample {finding.sample}" if finding.sample is not None else ""
    where += f", step {finding.step}" if finding.step is not None else ""
    over = f"  ({finding.over}{where})" if finding.over else ""
    rest = ", the rest not published" if finding.not_published else ""
    return f"{more}{_beside(finding.value, finding.limit)} of {limit}{unit}{rest}{share}{over}"


def _beside(value: float, limit: float) -> str:
    """A figure with as many digits as it takes to see on which side of its limit it lies."""
    if same(value, limit) or figure(value) != figure(limit):
        return figure(value)
    whole = len(f"{abs(value):.0f}") if abs(value) >= 1 else 0
    texts = (f"{value:,.{digits}f}" for digits in range(max(0, 5 - whole), 18))
    return next((text for text in texts if text != f"{limit:,.{len(text.partition('.')[2])}f}"), repr(value))


def _reasons(finding: "Finding") -> list[str]:
    """Of a limit that is not shown to hold: why, and the layers that use most; what bounds stand on."""
    bounds = [f"the upper of {finding.basis}"] if finding.basis else []
    bounds += [f"on a host: {', '.join(finding.left_out)}"] if finding.left_out else []
    if finding.passed:
        return bounds
    culprits = [
        f"{one.part}/{one.layer}: {figure(one.value)} ({100 * one.share:.0f} %)" for one in finding.culprits
    ]
    return [*([finding.why] if finding.why else []), *bounds, *culprits]


def _summary(result: "CheckResult") -> str:
    over, unknown = len(result.exceeded), len(result.unanswered)
    near = sum(one.near for one in result.findings)
    words = [f"{over} of {len(result.findings)} limits exceeded"] if over else []
    words += [f"{unknown} of {len(result.findings)} cannot be shown to hold"] if unknown else []
    words = words or ["within the budget"]
    words += [f"{near} from 90 % on"] if near else []
    return ", ".join(words)


def _annotation(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _junit(cases: Sequence[tuple[str, str, str | None, str, str]], stands_on: str) -> str:
    """JUnit XML of cases: class, name, how it ended (None: well), a line and the reasons."""
    ended = [how for _, _, how, _, _ in cases]
    numbers = {
        "tests": str(len(cases)),
        "failures": str(ended.count("failure")),
        "errors": str(ended.count("error")),
    }
    root = ET.Element("testsuites", numbers)
    suite = ET.SubElement(root, "testsuite", {"name": _SUITE, **numbers})
    if stands_on:
        properties = ET.SubElement(suite, "properties")
        ET.SubElement(properties, "property", {"name": "stands on", "value": _xml(stands_on)})
    for group, name, how, line, reasons in cases:
        case = ET.SubElement(suite, "testcase", {"classname": _xml(group), "name": name})
        if how is not None:
            ET.SubElement(case, how, {"message": _xml(line)}).text = _xml(reasons)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """A text with what XML cannot hold spelt out, names of nodes among it."""
    return printable(text, len(text) * 10)
