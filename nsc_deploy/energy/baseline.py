"""Regressions: what may not have grown since an earlier report."""

from pathlib import Path

from nsc_deploy.energy.report.budget import CheckResult, Culprit, Finding
from nsc_deploy.energy.report.compare import SystemChange, compare_reports
from nsc_deploy.energy.report.schema import SCHEMA_VERSION, Report
from nsc_deploy.errors import ConfigError, DataError
from nsc_deploy.io.files import read_json
from nsc_deploy.io.records import checked

WATCHED = ("synops", "spikes", "neurons", "energy_uj")
_CULPRITS = 3
_REMEDY = "Make it anew: nsc-deploy energy report RUN --out DIR"


def read_report(path: Path) -> Report:
    """Read a report.json.

    Raises:
        DataError: missing or damaged, or written by another version of the report.
    """
    data = read_json(path)
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"is no energy report of schema version {SCHEMA_VERSION} (it says {version})",
            where=path,
            remedy=_REMEDY,
        )
    return checked(Report, data, "an energy report", where=path, remedy=_REMEDY, kind=DataError)


def check_baseline(baseline: Report, now: Report, *, tolerance: float, column: str) -> CheckResult:
    """Hold means of a report against those of an earlier one.

    Args:
        baseline: the earlier report.
        now: the later one, with the same prices.
        tolerance: by how much each figure may have grown, as a share (0.05 for 5 per cent).
        column: accounting of the energy.

    Raises:
        ConfigError: a negative tolerance, other prices, or systems that do not match.
    """
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"is {tolerance:g} where 0 or more is wanted", where="--tolerance")
    comparison = compare_reports(baseline, now, column)
    findings = tuple(_finding(system, field, tolerance) for system in comparison.systems for field in WATCHED)
    return CheckResult(profile=now.profile.name, findings=findings)


def _finding(system: SystemChange, field: str, tolerance: float) -> Finding:
    change = system.total[field]
    limit = change.before * (1 + tolerance)
    grown = sorted(system.layers, key=lambda layer: -layer.changes[field].difference)
    all_growth = sum(max(0.0, layer.changes[field].difference) for layer in grown) or 1.0
    culprits = tuple(
        Culprit(
            part=layer.part,
            layer=layer.layer,
            value=layer.changes[field].difference,
            share=layer.changes[field].difference / all_growth,
        )
        for layer in grown[:_CULPRITS]
        if layer.changes[field].difference > 0
    )
    return Finding(
        system=system.after,
        quantity=f"{field} against the baseline",
        over="mean",
        value=change.after,
        limit=limit,
        # Sums of floating point numbers: a last digit is no regression.
        passed=change.after <= limit * (1 + 1e-9),
        culprits=culprits,
    )
