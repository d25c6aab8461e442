"""The whole way of `nsc-deploy energy report`: find, count, price, write.

The whole way of `nsc-deploy energy check` and `energy compare`: find, count, then hold or lay beside.

The whole way of `nsc-deploy energy advise`: find, count, try, write.
"""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nsc_deploy.diagnostics import collected
from nsc_deploy.energy.advice.advise import AdviceReport, Advisor
from nsc_deploy.energy.pricing.profile import Profile, load_profile
from nsc_deploy.energy.report.budget import Budget, CheckResult, check_budget
from nsc_deploy.energy.report.build import build_report
from nsc_deploy.energy.report.compare import Comparison, check_baseline, compare_reports, read_report
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.sources import CountedSystem, Options, Source, count_source, find_sources
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.network import Reset
from nsc_deploy.io.files import write_text
from nsc_deploy.io.progress import progress_bar, waiting

NOWHERE = "none"
"""The target of a report that places nothing."""


def make_report(
    paths: Sequence[Path],
    *,
    profile: str = "horowitz-45nm",
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    target: str | None = None,
) -> Report:
    """Count and price run folders and graph files.

    A progress bar goes to the standard error where that is a terminal.

    Args:
        paths: run folders, or .nir and .onnx files.
        profile: name of a profile, or a TOML file.
        recordings: inputs of the graph files.
        samples: count only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        reset: "zero" or "subtract", for a NIR file that does not state it.
        target: name of a target, or the TOML file of a chip, on which parts are placed; by default the chip
            of the profile, if it is of one; "none" for nowhere.

    Raises:
        UserError: anything missing, damaged or inconsistent among them.
    """
    prices = load_profile(profile)
    chosen = chosen_target(target, prices)
    with collected() as told:
        counted = count_systems(
            paths, recordings=recordings, samples=samples, dt=dt, reset=reset, target=chosen
        )
    options = asked(profile, samples=samples, dt=dt, reset=reset, target=chosen)
    return build_report(counted, prices, options=options).model_copy(update={"warnings": tuple(told)})


def chosen_target(target: str | None, profile: Profile) -> str | None:
    """The target a user asked for, else the chip of the profile; None for nowhere."""
    name = target or profile.chip
    return None if name == NOWHERE else name


def asked(profile: str, **options: object) -> dict[str, str]:
    """The options of a report as its header shows them; those left out are not named."""
    given = {name: str(value) for name, value in options.items() if value is not None}
    return {"profile": profile, "samples": "all"} | given


def count_systems(
    paths: Sequence[Path],
    *,
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    target: str | None = None,
) -> tuple[CountedSystem, ...]:
    """Count run folders and graph files; arguments and errors as `make_report`."""
    placed_on = None if target in {None, NOWHERE} else load_target(str(target))
    options = Options(samples=samples, dt=dt, reset=chosen_reset(reset), target=placed_on)
    return tuple(_count(find_sources(paths, recordings), options))


def chosen_reset(name: str | None) -> Reset | None:
    """The reset a user asked for.

    Raises:
        ConfigError: neither zero nor subtract.
    """
    if name is None:
        return None
    try:
        return Reset(name)
    except ValueError as error:
        raise ConfigError(f"is {name!r} where zero or subtract is wanted", where="--reset") from error


def _count(sources: Sequence[Source], options: Options) -> list[CountedSystem]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as progress:
        return [_counted(source, options, progress) for source in sources]


def _counted(source: Source, options: Options, progress: Progress) -> CountedSystem:
    task = progress.add_task(f"counting {source.label}", total=None)
    return count_source(
        source, options, lambda done, total: progress.update(task, completed=done, total=total)
    )


def write_report(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.json and report.html into a folder, each whole or not at all.

    Returns:
        The files written.
    """
    from nsc_deploy.energy.output.html import render_html

    page = render_html(report)
    files = {"report.json": report.model_dump_json(indent=2) + "\n", "report.html": page}
    for name, text in files.items():
        write_text(folder / name, text)
    return tuple(folder / name for name in files)


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
            hint="Name a --budget, a --baseline or both.",
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
            hint="Give one for both of them, or one for each in the same order.",
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


_COLUMNS = ("paper", "compute", "memory")


def make_advice(
    path: Path,
    *,
    profile: str = "horowitz-45nm",
    column: str = "memory",
    recordings: Sequence[Path] = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    rate_run: Path | None = None,
    write: Path | None = None,
    part: str | None = None,
) -> AdviceReport:
    """Try what could save energy in a run or a graph.

    Args:
        path: a run folder, or a .nir file.
        profile: name of a profile, or a TOML file.
        column: accounting of the energy: paper, compute or memory.
        recordings: the inputs of a graph file.
        samples: use only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        reset: "zero" or "subtract", for a NIR file that does not state it.
        rate_run: another run of the system, trained with a loss on the rate of spikes.
        write: where a NIR part goes with all that its outputs do not need taken out.
        part: which one is written; by default the last NIR part.

    Raises:
        UserError: anything missing, damaged or inconsistent among them; a price that is missing.
    """
    refuse_unknown_column(column)
    if part is not None and write is None:
        raise ConfigError("names what is to be written, and nothing is", where="--part", hint="Add --write.")
    prices = load_profile(profile)
    options = Options(samples=samples, dt=dt, reset=chosen_reset(reset))
    (source,) = find_sources([path], recordings)
    with waiting(f"counting {source.label}") as progress, collected() as told:
        advisor = Advisor(source, prices, options, column=column, progress=progress)
        rival = None if rate_run is None else count_source(find_sources([rate_run])[0], options)
        report = advisor.report(rival)
        if write is not None:
            name = advisor.write_pruned(write, part)
    if write is not None:
        Console(stderr=True).print(f"wrote {write} ({name})", highlight=False, markup=False)
    return report.model_copy(update={"warnings": tuple(told)})


def refuse_unknown_column(name: str) -> None:
    """Let pass only the accountings that advice can be given in.

    Raises:
        ConfigError: another one.
    """
    if name not in _COLUMNS:
        raise ConfigError(f"is {name!r} where one of {', '.join(_COLUMNS)} is wanted", where="--column")
