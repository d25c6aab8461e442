"""The whole way of `nsc-deploy energy report`: find, count, price, write."""

from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nsc_deploy.diagnostics import collected
from nsc_deploy.energy.pricing.profile import Profile, load_profile
from nsc_deploy.energy.report.build import build_report
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.sources import CountedSystem, Options, Source, count_source, find_sources
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.network import Reset
from nsc_deploy.io.files import write_text
from nsc_deploy.io.progress import progress_bar

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
