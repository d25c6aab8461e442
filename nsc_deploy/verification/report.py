"""A verification for machines, and as one HTML page that needs nothing from outside."""

import dataclasses
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from nsc_deploy.io.files import write_json, write_text
from nsc_deploy.verification.course_chart import course_chart
from nsc_deploy.verification.output import (
    class_names,
    divergence_sentence,
    finding_sentence,
    number,
    rows,
    share,
)
from nsc_deploy.verification.verify import Verification

HTML_FILE, JSON_FILE = "verification.html", "verification.json"


def as_json(verification: Verification) -> dict[str, Any]:
    """Everything, as JSON takes it."""
    found = dataclasses.asdict(verification)
    return {**found, "equal": verification.comparison.equal, "passed": verification.passed}


def write_report(folder: Path, verification: Verification) -> tuple[Path, Path]:
    """Write verification.html and verification.json.

    Raises:
        UserError: the folder cannot be written.
    """
    html, machine = folder / HTML_FILE, folder / JSON_FILE
    write_text(html, render_html(verification))
    write_json(machine, as_json(verification))
    return html, machine


def render_html(verification: Verification) -> str:
    """The whole page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("nsc_deploy.verification").joinpath("templates/verification.html.j2")
    one = verification.comparison
    return environment.from_string(template.read_text("utf-8")).render(
        verification=verification,
        comparison=one,
        rows=rows(verification),
        divergence=divergence_sentence(one.first_divergence, one.reference, one.other),
        findings=[(finding, finding_sentence(finding)) for finding in verification.findings],
        names=class_names(verification),
        peak=_peak(verification),
        chart=None if one.first_course is None else course_chart(one.first_course, one.reference, one.other),
        share=share,
        number=number,
    )


def _peak(verification: Verification) -> int:
    """Most samples in one place of the confusion, for its shades."""
    decisions = verification.comparison.decisions
    return 1 if decisions is None else max(1, *(max(row) for row in decisions.confusion))
