"""A report against an earlier one: what may not have grown."""

from collections.abc import Iterator

from nsc_deploy.energy.report.budget import CULPRITS, CheckedSystem, CheckResult, Culprit, Finding
from nsc_deploy.energy.report.compare import SystemChange, compare_reports
from nsc_deploy.energy.report.quantity import keeps_to
from nsc_deploy.energy.report.schema import Report, SystemReport
from nsc_deploy.errors import ConfigError

CHECKED = ("synops", "spikes", "neurons", "energy_uj")


def check_baseline(baseline: Report, now: Report, *, tolerance: float, column: str) -> CheckResult:
    """Hold means of a report against those of an earlier one.

    Args:
        baseline: the earlier report.
        now: the later one, with the same prices.
        tolerance: by how much each figure may have grown, as a share (0.05 for 5 per cent).
        column: accounting of the energy.

    Raises:
        ConfigError: a negative tolerance, other prices, an accounting that a system has not, or systems that
            do not match: one that the baseline has is not there, or the other way round.
    """
    refuse_tolerance(tolerance)
    comparison = compare_reports(baseline, now, column)
    gone = [system.label for system in comparison.systems if system.after is None]
    if gone:
        raise ConfigError(
            f"holds {', '.join(gone)} too, which {'is' if len(gone) == 1 else 'are'} not checked",
            where="--baseline",
            hint="Name all that it holds, or make a report of fewer: nsc-deploy energy report --out DIR",
        )
    findings = tuple(one for system in comparison.systems for one in _findings(system, tolerance))
    return CheckResult(
        baseline=baseline.created,
        profile=now.profile.name,
        host_profile=None if now.host_profile is None else now.host_profile.name,
        target=now.target,
        column=column,
        systems=tuple(_checked(system) for system in now.systems),
        findings=findings,
        warnings=comparison.warnings,
    )


def refuse_tolerance(tolerance: float, *, against_baseline: bool = True) -> None:
    """Let pass only shares that something may grow by.

    Raises:
        ConfigError: negative or no number, or there is nothing that it could have grown over.
    """
    if tolerance and not against_baseline:
        raise ConfigError(
            "is the growth over a baseline that is let pass, and there is no baseline",
            where="--tolerance",
            hint="Name one with --baseline, or leave it out.",
        )
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"is {tolerance:g} where 0 or more is wanted", where="--tolerance")


def _checked(system: SystemReport) -> CheckedSystem:
    return CheckedSystem(
        system=system.label,
        path=system.path,
        parts=tuple(part.name for part in system.parts),
        samples=system.samples,
        steps=max(part.steps for part in system.parts),
        dt=system.parts[0].dt,
    )


_UNITS = {"synops": "SynOps", "spikes": "spikes", "neurons": "neurons", "energy_uj": "uJ"}


def _findings(system: SystemChange, tolerance: float) -> Iterator[Finding]:
    """A figure each of those that both tell."""
    for field in CHECKED:
        change = system.total[field]
        if change.before is not None and change.after is not None:
            yield _finding(system, field, change.before * (1 + tolerance), change.after)


def _finding(system: SystemChange, field: str, limit: float, value: float) -> Finding:
    growth = [(layer, layer.changes[field].difference or 0.0) for layer in system.layers]
    grown = sorted((one for one in growth if one[1] > 0), key=lambda one: -one[1])
    all_growth = sum(more for _, more in grown)
    culprits = tuple(
        Culprit(part=layer.part, layer=layer.layer, value=more, share=more / all_growth)
        for layer, more in grown[:CULPRITS]
    )
    holds = keeps_to(value, limit)
    why = ""
    if field == "energy_uj" and system.unpriced and holds:
        why = f"the profile has no price for {', '.join(system.unpriced)}, which may have grown"
    return Finding(
        system=system.label,
        quantity=f"{field} against the baseline",
        unit=_UNITS[field],
        over="mean",
        value=value,
        limit=limit,
        passed=None if why else holds,
        why=why,
        culprits=culprits,
    )
