"""Count, price, hold to a budget, compare and advise: what the commands and notebooks call.

from nsc_deploy.energy import Budget, count, estimate

counted = count("runs/event", target="loihi1")
priced = estimate(counted, profile="loihi")
priced.to_pandas()
priced.chip_to_pandas()
priced.compare(estimate("runs/event-quiet", profile="loihi"))
counted.check(Budget.read("budget.toml"))
counted.advise()

Every result shows as a table in a notebook and has a `to_pandas`. While systems are counted, a progress bar
goes to the standard error where that is a terminal.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, Unpack

import nir
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nsc_deploy.diagnostics import collected
from nsc_deploy.energy.counting.nir import Run, count_network
from nsc_deploy.energy.pricing.profile import DEFAULT_PROFILE, AnyProfile, Profile, load_profile
from nsc_deploy.energy.report.baseline import refuse_tolerance
from nsc_deploy.energy.report.budget import Budget, CheckResult
from nsc_deploy.energy.report.compare import Comparison, read_report
from nsc_deploy.energy.results import Counted, CountedGraph, Estimate, prices_of, target_of
from nsc_deploy.energy.sources import (
    Given,
    Inputs,
    Source,
    find_sources,
    is_exported,
    refuse_without_nir,
    refuse_without_onnx,
)
from nsc_deploy.energy.systems import CountedSystem, Options, count_source
from nsc_deploy.errors import ConfigError
from nsc_deploy.graphs.formats.recording import Layout, Recording
from nsc_deploy.graphs.network import Network, Reset, Signal
from nsc_deploy.io.progress import progress_bar

if TYPE_CHECKING:
    from nsc_deploy.energy.advice.records import AdviceReport

Paths = str | Path | Sequence[str | Path]
Build: TypeAlias = "Counted | Estimate | str | Path | nir.NIRGraph"
"""What can be compared: files, graphs, and what was made of them."""
Sources: TypeAlias = str | Path | nir.NIRGraph | Sequence[str | Path | nir.NIRGraph]
"""Run folders, graph files, deployment folders, or NIR graphs in memory."""
Recorded: TypeAlias = str | Path | NDArray[Any] | Recording
"""Inputs of one graph: a file, an array [steps, samples, *shape] (of torch too), or a recording."""


class CountOptions(TypedDict, total=False):
    """What `count` takes beside the systems; the functions that count on the way take it too."""

    inputs: Recorded | Sequence[Recorded]
    samples: int | None
    dt: float | None
    step_seconds: float | None
    reset: str | None
    classes: int | None
    signal: str | None
    samples_first: bool
    target: str | Path | None
    layout: str | None
    skip_zeros: bool


def count(
    sources: Sources,
    *,
    inputs: Recorded | Sequence[Recorded] = (),
    samples: int | None = None,
    dt: float | None = None,
    step_seconds: float | None = None,
    reset: str | None = None,
    classes: int | None = None,
    signal: str | None = None,
    samples_first: bool = False,
    target: str | Path | None = None,
    layout: str | None = None,
    skip_zeros: bool = False,
) -> Counted:
    """Count every operation of run folders or graphs over their recorded inputs.

    Args:
        sources: one or several run folders, .nir or .onnx files, NIR graphs, or deployment folders, of which
            what runs is counted: integers as integers.
        inputs: recordings (.npz) or arrays [steps, samples, *shape] of the graphs and deployment folders;
            these have some of their own.
        samples: count only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        step_seconds: what a step really takes, where that of a graph is nominal (every file of snnTorch says
            0.0001 s); figures a second are for it.
        reset: "zero" or "subtract", for a NIR file that does not state it.
        classes: how many the outputs of a NIR file vote for, where it does not say; labelled recordings then
            have an accuracy.
        signal: "events", "graded" or "real", for inputs that are plain arrays (also .npy, .npz), which need
            `dt` too.
        samples_first: whether such arrays are [samples, steps, *shape].
        target: name of a target, or the TOML file of a chip, on which NIR parts are placed and watched;
            None or "none" for nowhere.
        layout: of what enters the .onnx files: "steps-first" (as recordings are, the default),
            "batch-first" or "no-steps" ([samples, ...], of recordings with a single step).
        skip_zeros: charge products of real values in .onnx files only where neither the value nor the weight
            is zero, as a processor that skips zeros would.

    Raises:
        UserError: anything missing, damaged or inconsistent among them.
    """
    given: CountOptions = {
        "samples": samples,
        "dt": dt,
        "step_seconds": step_seconds,
        "reset": reset,
        "classes": classes,
        "signal": signal,
        "samples_first": samples_first,
        "target": target,
        "layout": layout,
        "skip_zeros": skip_zeros,
    }
    options = _options(given)
    with collected() as diagnostics:
        found = _found(_given(sources), _recorded(inputs), options)
        refuse_without_onnx(found, layout, skip_zeros=skip_zeros)
        refuse_without_nir(found, reset)
        counted = _count_found(found, options)
    return replace(counted, diagnostics=tuple(diagnostics))


def _options(given: CountOptions) -> Options:
    return Options(
        samples=given.get("samples"),
        dt=given.get("dt"),
        step_seconds=given.get("step_seconds"),
        reset=_reset(given.get("reset")),
        classes=given.get("classes"),
        signal=_signal(given.get("signal")),
        samples_first=given.get("samples_first", False),
        target=target_of(given.get("target")),
        layout=_layout(given.get("layout")),
        skip_zeros=given.get("skip_zeros", False),
    )


def _found(given: Sequence[Given], recordings: Sequence[Inputs], options: Options) -> tuple[Source, ...]:
    if options.target is not None and _only_exported(given):
        raise ConfigError(
            f"names {options.target.name}, and what a deployment folder runs is on its target already",
            where="--target",
            hint="Leave it out, or name the graph.",
        )
    return find_sources(given, recordings)


def _count_found(sources: Sequence[Source], options: Options) -> Counted:
    words = TextColumn("{task.description}", markup=False)
    columns = (words, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with collected() as diagnostics, progress_bar(*columns) as bar:
        systems = [_count(source, options, bar) for source in sources]
    return Counted(tuple(systems), options, tuple(diagnostics))


def _count(source: Source, options: Options, bar: Progress) -> CountedSystem:
    task = bar.add_task(f"counting {source.label}", total=None)
    return count_source(source, options, lambda done, total: bar.update(task, completed=done, total=total))


def count_graph(
    network: Network, recording: Recording, *, name: str = "graph", batch: int = 64, run: Run | None = None
) -> CountedGraph:
    """Count every operation of a graph in memory; arguments and errors as `count_network`."""
    return CountedGraph(count_network(network, recording, name=name, batch=batch, run=run))


def estimate(
    sources: Counted | Sources,
    profile: AnyProfile = DEFAULT_PROFILE,
    *,
    host_profile: AnyProfile | None = None,
    **options: Unpack[CountOptions],
) -> Estimate:
    """Price counts; run folders and graph files are counted first.

    Those that are counted here are placed on the chip of the profile, if it is of one and no target is named;
    for counts that are there already `count` decides.

    Args:
        sources: what `count` gave, or what it takes.
        profile: name of a profile, a TOML file, or a profile.
        host_profile: the prices of the parts on a host; those of `profile` if None.
        options: as for `count`.

    Raises:
        UserError: as `count`, and for a profile that is unknown or damaged.
    """
    prices = load_profile(profile)
    if not isinstance(sources, Counted):
        options["target"] = options.get("target") or _default_target(sources, prices.chip)
    return _counted(sources, options).estimate(profile, host_profile=host_profile)


def check(
    sources: Counted | Sources,
    budget: Budget | str | Path | None = None,
    *,
    baseline: Estimate | str | Path | None = None,
    tolerance: float = 0.0,
    profile: AnyProfile | None = None,
    host_profile: AnyProfile | None = None,
    **options: Unpack[CountOptions],
) -> CheckResult:
    """Hold systems against a budget, an earlier report, or both.

    Args:
        sources: what `count` gave, or what it takes, with its `options`.
        budget: limits, or their TOML file.
        baseline: an earlier estimate, or its report.json.
        tolerance: as for `Counted.check`.
        profile: the prices; those of the budget if None, else of the baseline, else the default.
        host_profile: the prices of the parts on a host; those of the budget if None.

    Systems that are counted here are placed on the target of `options`, else on that of the budget, of the
    baseline or of the prices.

    Raises:
        UserError: nothing to check against, or anything missing, damaged or inconsistent.
    """
    if budget is None and baseline is None:
        raise ConfigError(
            "has nothing to check against",
            where="energy check",
            hint="Name a --budget, a --baseline or both.",
        )
    refuse_tolerance(tolerance, against_baseline=baseline is not None)
    limits = Budget.read(budget) if isinstance(budget, str | Path) else budget
    earlier = Estimate(read_report(Path(baseline))) if isinstance(baseline, str | Path) else baseline
    if not isinstance(sources, Counted):
        signed = None if limits is None else _target_of_budget(budget, limits)
        before = None if earlier is None else earlier.report.target
        of_prices = prices_of(profile, host_profile, limits, earlier).profile.chip
        options["target"] = options.get("target") or _default_target(sources, signed or before or of_prices)
    return _counted(sources, options).check(
        limits, profile, host_profile=host_profile, baseline=earlier, tolerance=tolerance
    )


def compare(
    before: Build,
    after: Build,
    *,
    profile: AnyProfile | None = None,
    column: str | None = None,
    **options: Unpack[CountOptions],
) -> Comparison:
    """Compare two builds: run folders, graphs (files), a report.json, or what `count` or `estimate` gave.

    Args:
        before: the older one.
        after: the newer one.
        profile: the prices; those of an estimate or a report.json if None, else the default.
        column: accounting of the energy; with memory if None.
        options: as for `count`, for what is counted here, and refused where nothing is; of two recordings
            each graph has one, in their order.

    Raises:
        UserError: anything missing, damaged or inconsistent.
    """
    builds = [_read(build) for build in (before, after)]
    _refuse_unused(builds, profile, options)
    priced = [build for build in builds if isinstance(build, Estimate)]
    prices = _prices(profile, next(iter(priced), None))
    host = priced[0].report.host_profile if priced else None
    graphs = [index for index, build in enumerate(builds) if _is_graph(build)]
    recordings = _recorded(options.get("inputs", ()))
    if len(recordings) not in {0, 1, len(graphs)}:
        raise ConfigError(
            f"{len(recordings)} recordings are given for {len(graphs)} graph files",
            where="--inputs",
            hint="Give one for both of them, or one for each in the same order.",
        )
    told = [one for build in builds if isinstance(build, Counted) for one in build.diagnostics]
    results: list[Estimate] = []
    chosen = _options(options)
    with collected() as diagnostics:
        made: list[Counted | Estimate | tuple[Source, ...]] = []
        for index, build in enumerate(builds):
            own = recordings if index in graphs else []
            own = [own[graphs.index(index)]] if len(own) > 1 else own
            made.append(build if isinstance(build, Counted | Estimate) else _found([build], own, chosen))
        found = [one for one in made if isinstance(one, tuple)]
        if len(found) == len(made):  # what was counted before may have needed the same options
            refuse_without_onnx(
                [*chain(*found)], options.get("layout"), skip_zeros=options.get("skip_zeros", False)
            )
            refuse_without_nir([*chain(*found)], options.get("reset"))
        for one in made:
            counts = _count_found(one, chosen) if isinstance(one, tuple) else one
            results.append(
                counts if isinstance(counts, Estimate) else counts.estimate(prices, host_profile=host)
            )
    comparison = results[0].compare(results[1], column)
    diagnostics = list(dict.fromkeys([*told, *diagnostics]))
    return comparison.model_copy(update={"warnings": (*diagnostics, *comparison.warnings)})


def _refuse_unused(
    builds: Sequence[Counted | Estimate | Given], profile: AnyProfile | None, options: CountOptions
) -> None:
    """Refuse options of counting where all was counted before, and prices where all was priced."""
    named = _said(options) if all(isinstance(one, Counted | Estimate) for one in builds) else []
    if named:
        raise ConfigError(
            "is for what is counted here, and both were counted before",
            where=f"--{named[0].replace('_', '-')}",
            hint="Leave it out, or name the runs or graphs in place of their reports.",
        )
    if profile is not None and all(isinstance(one, Estimate) for one in builds):
        raise ConfigError(
            "is for what is priced here, and both were priced before",
            where="--profile",
            hint="Leave it out, or name the runs or graphs in place of their reports.",
        )


def advise(
    source: Counted | str | Path | nir.NIRGraph,
    *,
    profile: AnyProfile | None = None,
    host_profile: AnyProfile | None = None,
    column: str | None = None,
    by: str | None = None,
    budget: Budget | str | Path | None = None,
    rate_run: Counted | str | Path | None = None,
    write: str | Path | None = None,
    part: str | None = None,
    notify: Callable[[str], None] = lambda _line: None,
    **options: Unpack[CountOptions],
) -> "AdviceReport":
    """Try what could save energy in one system: a run folder, or a .nir file.

    Args:
        source: the system, with the `options` of `count`.
        profile: the prices; those of the budget if None, else the default.
        host_profile: the prices of the parts on a host; those of the budget if None.
        column: accounting of the energy: paper, compute or memory; by default the budget's, else memory.
        by: what the changes are ranked by: energy, synops or memory; by default what the system is over
            in, of the limits of the budget, or energy without one.
        budget: limits, or their TOML file; where they are for some parts, changes are ranked by what those
            save.
        rate_run: another run of the system, trained with a loss on the rate of spikes.
        write: where a NIR part goes with all that its outputs do not need taken out.
        part: which one is written; by default the last NIR part.
        notify: called with a line that says what was written.

    Raises:
        UserError: as `Counted.advise`, or anything missing, damaged or inconsistent among the files.
    """
    from nsc_deploy.energy.advice.advise import column_of

    if part is not None and write is None:
        raise ConfigError("names what is to be written, and nothing is", where="--part", hint="Add --write.")
    limits = Budget.read(budget) if isinstance(budget, str | Path) else budget
    column = column_of(column, limits)
    if not isinstance(source, Counted) and limits is not None:
        signed = _target_of_budget(budget, limits)
        options["target"] = options.get("target") or _default_target(source, signed)
    counted = _counted(source, options)
    rival = count(rate_run, **options | {"inputs": ()}) if isinstance(rate_run, str | Path) else rate_run
    return counted.advise(
        profile,
        column,
        host_profile=host_profile,
        by=by,
        budget=limits,
        rate_run=rival,
        write=write,
        part=part,
        notify=notify,
    )


def show(
    result: "Estimate | Comparison | AdviceReport | Profile | Sequence[Profile]",
    detail: str = "headline",
    *,
    top: int | None = None,
) -> None:
    """Print a result to the standard output, as the commands do.

    Args:
        result: what to print.
        detail: how much of an estimate: "headline", "systems", "parts" or "layers", which is all of it.
        top: how many changes of advice, also those that save next to nothing; None for those worth showing.
    """
    from nsc_deploy.energy.output import terminal

    console = terminal.wide_console()
    if isinstance(result, Estimate):
        if detail == "headline":
            terminal.print_headlines(result.report, console)
        elif detail == "systems":
            terminal.print_systems(result.report, console)
        else:
            terminal.print_report(result.report, console, layers=detail == "layers")
    elif isinstance(result, Comparison):
        terminal.print_comparison(result, console)
    elif isinstance(result, Profile):
        terminal.print_profile(result, console)
    elif isinstance(result, Sequence):
        terminal.print_profiles(result, console)
    else:
        terminal.print_advice(result, console, top)


def _counted(sources: Counted | Sources, options: CountOptions) -> Counted:
    if not isinstance(sources, Counted):
        return count(sources, **options)
    if _said(options):
        raise ConfigError("options of counting are for what is not counted yet", hint="Give them to count().")
    return sources


def _said(options: CountOptions) -> list[str]:
    """The options that say something; an empty sequence does not, and the truth of an array is none."""
    return [
        name
        for name, value in options.items()
        if value is not None and value is not False and not (isinstance(value, Sequence) and not value)
    ]


def _target_of_budget(given: Budget | str | Path | None, limits: Budget) -> str | None:
    """What a budget names; where there is no such target, the error is about the file that names it."""
    try:
        target_of(limits.target)
    except ConfigError as error:
        if given is limits or error.where != "--target":
            raise
        raise ConfigError(error.problem, where=f"{given}: target", hint=error.hint) from error
    return limits.target


def _default_target(sources: Sources, name: str | None) -> str | None:
    """The target that nobody named; none where all there is to count is on its target already."""
    return None if _only_exported(_given(sources)) else name


def _only_exported(given: Sequence[Given]) -> bool:
    return all(isinstance(one, Path) and is_exported(one) for one in given)


def _prices(profile: AnyProfile | None, earlier: Estimate | None) -> Profile:
    if profile is None and earlier is not None:
        return earlier.report.profile
    return load_profile(profile or DEFAULT_PROFILE)


def _read(build: Build) -> Counted | Estimate | Given:
    """A report.json as the estimate in it, a text as a path."""
    if isinstance(build, Counted | Estimate):
        return build
    (given,) = _given(build)
    if isinstance(given, Path) and given.suffix == ".json":
        return Estimate(read_report(given))
    return given


def _is_graph(build: Counted | Estimate | Given) -> bool:
    """Whether a build needs a recording of its own."""
    return isinstance(build, nir.NIRGraph) or (isinstance(build, Path) and build.suffix in {".nir", ".onnx"})


def _reset(name: str | None) -> Reset | None:
    try:
        return None if name is None else Reset(name)
    except ValueError as error:
        raise ConfigError(f"is {name!r} where zero or subtract is wanted", where="--reset") from error


def _layout(name: str | None) -> Layout:
    try:
        return Layout(name or Layout.STEPS_FIRST)
    except ValueError as error:
        listed = ", ".join(Layout)
        raise ConfigError(f"is {name!r} where one of {listed} is wanted", where="--layout") from error


def _signal(name: str | None) -> Signal | None:
    try:
        return None if name is None else Signal(name)
    except ValueError as error:
        raise ConfigError(
            f"is {name!r} where one of {', '.join(Signal)} is wanted", where="--signal"
        ) from error


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def _given(sources: Sources) -> list[Given]:
    """Sources as a list, texts as paths; of graphs in memory copies, which nobody changes afterwards."""
    if isinstance(sources, str | Path):
        return [Path(sources)]
    if isinstance(sources, nir.NIRGraph):
        return [deepcopy(sources)]
    return [one for some in sources for one in _given(some)]


def _recorded(inputs: Recorded | Sequence[Recorded]) -> list[Inputs]:
    """Inputs as a list, texts as paths, arrays (of torch too) as copies, which nobody changes afterwards."""
    if isinstance(inputs, str | Path):
        return [Path(inputs)]
    if isinstance(inputs, Recording):
        return [deepcopy(inputs)]
    if not isinstance(inputs, Sequence):
        return [np.array(inputs)]
    return [one for some in inputs for one in _recorded(some)]
