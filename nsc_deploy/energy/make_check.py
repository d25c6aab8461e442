"""The whole way of `nsc-deploy energy check` and `energy compare`: find, count, then hold or lay beside."""

from collections.abc import Sequence
from pathlib import Path

from nsc_deploy.diagnostics import collected
from nsc_deploy.energy.pipeline import asked, count_systems
from nsc_deploy.energy.pricing.profile import Profile, load_profile
from nsc_deploy.energy.report.budget import Budget, CheckResult, check_budget
from nsc_deploy.energy.report.build import build_report
from nsc_deploy.energy.report.compare import Comparison, check_baseline, compare_reports, read_report
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.errors import ConfigError

DEFAULT_PROFILE = "horowitz-45nm"


def make_check(
    paths: Sequence[Path],
    *,
    budget: Path | None = None,
    baseline: Path | None = None,
    tolerance: float = 0.0,
    profile: str | None = None,
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
) -> CheckResult:
    """Hold run folders and graph files against a budget, an earlier report, or both.

    Args:
        paths: run folders, or .nir and .onnx files.
        budget: a TOML file.
        baseline: an earlier report.json.
        tolerance: by how much figures may have grown since the baseline, as a share.
        profile: name or file of the prices; those of the baseline if None, else the default.
        recordings: inputs of the graph files.
        samples: count only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        reset: "zero" or "subtract", for a NIR file that does not state it.

    Raises:
        UserError: nothing to check against, or anything missing, damaged or inconsistent.
    """
    if budget is None and baseline is None:
        raise ConfigError(
            "has nothing to check against",
            where="energy check",
            remedy="Name a --budget, a --baseline or both.",
        )
    limits = None if budget is None else Budget.read(budget)
    earlier = None if baseline is None else read_report(baseline)
    prices = _prices(profile, earlier)
    with collected() as told:
        counted = count_systems(paths, recordings=recordings, samples=samples, dt=dt, reset=reset)
    found = () if limits is None else check_budget(counted, prices, limits).findings
    if earlier is not None:
        now = build_report(counted, prices, options=asked(prices.name, samples=samples, dt=dt, reset=reset))
        column = "memory" if limits is None else limits.column
        found += check_baseline(earlier, now, tolerance=tolerance, column=column).findings
    return CheckResult(profile=prices.name, findings=found, warnings=tuple(told))


def make_comparison(
    before: Path,
    after: Path,
    *,
    profile: str | None = None,
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    column: str | None = None,
) -> Comparison:
    """Compare two builds: each a run folder, a graph file or a report.json.

    A report brings its own prices, and they serve for the other side too; `dt` and `reset` are for NIR files
    that do not state them.

    Raises:
        UserError: anything missing, damaged or inconsistent.
    """
    reports = [read_report(path) if path.suffix == ".json" else None for path in (before, after)]
    prices = _prices(profile, next((report for report in reports if report is not None), None))
    graphs = [path for path in (before, after) if path.suffix in {".nir", ".onnx"}]
    if len(recordings) not in {0, 1, len(graphs)}:
        raise ConfigError(
            f"{len(recordings)} recordings are given for {len(graphs)} graph files",
            where="--inputs",
            remedy="Give one for both of them, or one for each in the same order.",
        )
    made: list[Report] = []
    with collected() as told:
        for path, report in zip((before, after), reports, strict=True):
            own = recordings[graphs.index(path)] if len(recordings) > 1 and path in graphs else None
            given = (own,) if own is not None else tuple(recordings) if path in graphs else ()
            made.append(report or _report(path, prices, given, samples, dt, reset))
    return compare_reports(made[0], made[1], column).model_copy(update={"warnings": tuple(told)})


def _report(
    path: Path,
    prices: Profile,
    recordings: Sequence[Path],
    samples: int | None,
    dt: float | None,
    reset: str | None,
) -> Report:
    counted = count_systems([path], recordings=recordings, samples=samples, dt=dt, reset=reset)
    return build_report(counted, prices, options=asked(prices.name, samples=samples, dt=dt, reset=reset))


def _prices(profile: str | None, report: Report | None) -> Profile:
    if profile is None and report is not None:
        return report.profile
    return load_profile(profile or DEFAULT_PROFILE)
