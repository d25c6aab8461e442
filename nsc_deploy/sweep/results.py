"""What a sweep has come to: the state of each run, read from folders alone, and one table and one picture."""

import csv
import hashlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

import nsc_deploy
from nsc_deploy.config.families import Experiment
from nsc_deploy.energy import estimate, load_profile
from nsc_deploy.energy.report.quantity import Quantity
from nsc_deploy.errors import ConfigError, DataError, UserError
from nsc_deploy.experiment_file import FILE_NAME, differing_fields, load_experiment
from nsc_deploy.io.files import REPLACE, is_locked, read_json, sha256, write_json, write_text
from nsc_deploy.io.pictures import save_figure
from nsc_deploy.sweep.execute import log_of
from nsc_deploy.sweep.grid import JOBS, RESULTS, SEED, SLURM, TABLE, Grid, Point, Value

_METRICS, _DEPLOYMENT = "metrics.json", "deployment.json"
_THREADS = "training.threads"
_TAIL = 64 * 1024
_ERROR = "error: "
_TRACEBACK, _IGNORED = "Traceback (most recent call last)", "Exception ignored"


class State(StrEnum):
    """How far a run of a sweep has come; OTHER: what lies in its folder is of another experiment."""

    FINISHED = "finished"
    OTHER = "other"
    FAILED = "failed"
    SUBMITTED = "submitted"
    UNFINISHED = "unfinished"
    WAITING = "waiting"


@dataclass(frozen=True)
class PointProgress:
    """The state of a run, and why: the error that one that failed ended with, the fields in which another
    experiment differs.
    """

    point: Point
    state: State
    why: str = ""


@dataclass(frozen=True)
class Result:
    """What a finished run reached.

    Attributes:
        run: name of its folder.
        fields: what varies, by dotted name.
        accuracy: on the test part, a part of 1.
        energy_uj: of one sample, mean, with memory; None where the run has no graphs, or no price.
        synops: of one sample, mean; None likewise.
        lower_bound: whether a price is missing, so that the energy may be more.
        metrics: further numbers of metrics.json by name; None where the run has none.
        metrics_sha256: of the file that the run ended with.
        profile: of the prices.
        prices_sha256: of what the profile held.
        version: of this tool, which counted: another one may count otherwise.
        note: why there is no energy.
    """

    run: str
    fields: dict[str, Value]
    accuracy: float
    energy_uj: float | None = None
    synops: float | None = None
    lower_bound: bool = False
    metrics: dict[str, float | None] = field(default_factory=dict)
    metrics_sha256: str = ""
    profile: str = ""
    prices_sha256: str = ""
    version: str = ""
    note: str = ""


def progress_of(grid: Grid, out: Path) -> list[PointProgress]:
    """The state of each run; nothing but folders is read, so any machine that sees them can ask."""
    jobs = read_jobs(out)
    return [_progress(point, out, jobs.get(point.name)) for point in grid.points]


def at_work(grid: Grid, out: Path) -> list[str]:
    """The folders of runs that wait at Slurm or that some process is training, on whatever machine."""
    unfinished = (one for one in progress_of(grid, out) if one.state is not State.FINISHED)
    return [
        one.point.name
        for one in unfinished
        if one.state is State.SUBMITTED or is_locked(out / one.point.name)
    ]


def read_jobs(out: Path) -> dict[str, str]:
    """The numbers of the jobs that Slurm was given, by the name of each run.

    Raises:
        DataError: the file is damaged.
    """
    path = out / JOBS
    if not path.is_file():
        return {}
    jobs = read_json(path)
    if not isinstance(jobs, dict) or not all(isinstance(job, str) for job in jobs.values()):
        hint = "Delete it: what Slurm has goes on, and --status tells a run once it has begun."
        raise DataError("does not give a job for each run", where=path, hint=hint)
    return jobs


def _progress(point: Point, out: Path, job: str | None) -> PointProgress:
    run = out / point.name
    others = _others(point.experiment, run)
    if others:
        return PointProgress(point, State.OTHER, others)
    if (run / _METRICS).is_file():
        return PointProgress(point, State.FINISHED)
    log = log_of(point, out) if job is None else out / SLURM / f"{job}_0_log.err"
    why = _last_error(log)
    if why:
        return PointProgress(point, State.FAILED, why)
    if job is not None and not log.is_file():
        return PointProgress(point, State.SUBMITTED, f"job {job}")
    return PointProgress(point, State.UNFINISHED if (run / FILE_NAME).is_file() else State.WAITING)


def _others(wanted: Experiment, run: Path) -> str:
    """In which fields what was trained in a folder differs from what is wanted; empty where in none."""
    path = run / FILE_NAME
    if not path.is_file():
        return f"{_METRICS} of no {FILE_NAME}" if (run / _METRICS).is_file() else ""
    try:
        fields = differing_fields(load_experiment(path), wanted)
    except UserError as error:
        return f"{FILE_NAME}: {error.problem}"
    # 0 is whatever the machine of the run offered.
    differing = ", ".join(one for one in fields if one != _THREADS or wanted.training.threads)
    return f"different: {differing}" if differing else ""


def _last_error(log: Path) -> str:
    """The last error in a log, as every command of this tool ends with one; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line for line in lines if _ERROR in line]
    return told[-1].partition(_ERROR)[2] if told else _crash(lines)


def _crash(lines: Sequence[str]) -> str:
    """What the last traceback in a log ends with; empty where there is none that ended a run."""
    starts = [
        number
        for number, line in enumerate(lines)
        if line.startswith(_TRACEBACK) and not lines[max(number - 1, 0)].startswith(_IGNORED)
    ]
    if not starts:
        return ""
    return next((line for line in lines[starts[-1] + 1 :] if line.strip() and line[0] != " "), _TRACEBACK)


def collect(grid: Grid, out: Path, advance: Callable[[], None] = lambda: None) -> list[Result]:
    """Accuracy and energy of every run that has finished; what was worked out before is read again.

    Args:
        grid: the runs.
        out: the folder of the sweep; results.json, results.csv and, of more than one run, results.png.
        advance: called after each run.
    """
    counted = _earlier(out)
    prices = hashlib.sha256(load_profile(grid.profile).model_dump_json().encode()).hexdigest()
    results = []
    for one in progress_of(grid, out):
        if one.state is State.FINISHED:
            reached = replace(_reached(one.point, out, grid), prices_sha256=prices)
            before = counted.get(_counting(reached))
            if before is None:
                results.append(_counted(reached, out / one.point.name, grid.profile))
            else:
                energy, synops, bound = before.energy_uj, before.synops, before.lower_bound
                results.append(replace(reached, energy_uj=energy, synops=synops, lower_bound=bound))
        advance()
    write_json(out / RESULTS, [asdict(one) for one in results])
    write_text(out / TABLE, as_csv(results))
    return results


def _counting(one: Result) -> tuple[str, ...]:
    """What the energy of a run is a function of."""
    return one.run, one.metrics_sha256, one.prices_sha256, one.version


def _earlier(out: Path) -> dict[tuple[str, ...], Result]:
    """Runs that were counted before; one that could not be is none: what was in the way may be gone."""
    try:
        known = TypeAdapter(list[Result]).validate_python(read_json(out / RESULTS))
    except (UserError, ValidationError):
        return {}
    sound = (one for one in known if not one.note and all(map(_is_number, (one.energy_uj, one.synops))))
    return {_counting(one): one for one in sound}


def _is_number(value: float | None) -> bool:
    return value is None or abs(value) <= sys.float_info.max


def require_numbers(grid: Grid) -> None:
    """Refuse a further number that no run of a grid will have; asked before the first is trained.

    Raises:
        ConfigError: there is one.
    """
    if not grid.metrics:
        return
    from nsc_deploy.training.metrics import metrics_of

    known = {
        name: None
        for family in {type(point.experiment): point.experiment for point in grid.points}.values()
        for name, about in metrics_of(family).model_fields.items()
        if set(get_args(about.annotation) or (about.annotation,)) <= {int, float, type(None)}
    }
    for name in grid.metrics:
        if name not in known:
            raise ConfigError(
                f"no run of it has a number {name}",
                where=f"{grid.path}, field metrics",
                hint=f"Numbers there are {', '.join(known)}.",
            )


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and _is_number(value) else None


def _reached(point: Point, out: Path, grid: Grid) -> Result:
    """What a run says of itself, before its energy is counted.

    Raises:
        DataError: its metrics are damaged.
    """
    path = out / point.name / _METRICS
    metrics = read_json(path)
    accuracy = _number(metrics.get("test_accuracy")) if isinstance(metrics, dict) else None
    if accuracy is None:
        raise DataError("holds no test_accuracy", where=path, hint=REPLACE)
    return Result(
        run=point.name,
        fields=dict(point.fields),
        accuracy=float(accuracy),
        metrics={name: _number(metrics.get(name)) for name in grid.metrics},
        metrics_sha256=sha256(path),
        profile=grid.profile,
        version=nsc_deploy.__version__,
    )


def _counted(reached: Result, run: Path, profile: str) -> Result:
    """A result with its energy, or the reason why there is none."""
    if not (run / _DEPLOYMENT).is_file():
        return replace(reached, note="no graphs to count")
    try:
        headline = estimate(run, profile).report.systems[0].headline
    except UserError as error:
        return replace(
            reached, note=error.problem if error.where is None else f"{error.where}: {error.problem}"
        )
    energy = headline[Quantity.ENERGY]
    synops = headline[Quantity.SYNOPS_PER_INFERENCE].mean
    return replace(reached, energy_uj=energy.mean, lower_bound=energy.lower_bound, synops=synops)


def as_csv(results: Sequence[Result]) -> str:
    """A row a run, a column a field."""
    names = list(dict.fromkeys(name for one in results for name in one.fields))
    further = list(dict.fromkeys(name for one in results for name in one.metrics))
    figures = ("accuracy", "energy_uj", "synops", "lower_bound", "note")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["run", *names, *figures, *further])
    for one in results:
        given = [one.fields.get(name, "") for name in names]
        more = [one.metrics.get(name) for name in further]
        rows.writerow([one.run, *given, *(getattr(one, name) for name in figures), *more])
    return text.getvalue()


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but their seed.

    Attributes:
        fields: what they share of what varies.
        results: theirs.
    """

    fields: dict[str, Value]
    results: list[Result] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The values of the fields."""
        return ", ".join(_words(self.fields)) or "all"

    def of(self, figure: str) -> list[float]:
        """A figure of the runs that have it."""
        values = [getattr(one, figure) for one in self.results]
        return [value for value in values if value is not None]


def groups(results: Sequence[Result], without: Sequence[str] = (SEED,)) -> list[Group]:
    """Runs together that differ in the fields `without` alone, in their order."""
    found: dict[tuple[tuple[str, Value], ...], Group] = {}
    for one in results:
        shared = {name: value for name, value in one.fields.items() if name not in without}
        found.setdefault(tuple(shared.items()), Group(shared)).results.append(one)
    return list(found.values())


def _words(fields: dict[str, Value]) -> Iterator[str]:
    for name, value in fields.items():
        spelt = f"{value:g}" if isinstance(value, float) else str(value)
        yield spelt if isinstance(value, str) else f"{name.rpartition('.')[2]} {spelt}"


def as_rows(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """The heads and cells of a table: a row a group, means and standard deviations over the seeds."""
    made = groups(results)
    names = list(dict.fromkeys(name for one in made for name in one.fields))
    further = list(dict.fromkeys(name for one in results for name in one.metrics))
    known = [name.rpartition(".")[2] for name in names]
    heads = [*known, "runs", "accuracy, %", "energy, uJ", "SynOps", *further]
    rows = []
    for one in made:
        given = [str(one.fields.get(name, "")) for name in names]
        percent = [100 * value for value in one.of("accuracy")]
        more = "> " if any(result.lower_bound for result in one.results) else ""
        energy = _spread([result.energy_uj for result in one.results], ".4g")
        synops = _spread([result.synops for result in one.results], ",.0f")
        figures = [_spread(percent, ".1f"), f"{more}{energy}", synops]
        further_values = ([result.metrics.get(name) for result in one.results] for name in further)
        figures += [_spread(some, ".4g") for some in further_values]
        rows.append([*given, str(len(one.results)), *figures])
    return heads, rows


def _spread(of_runs: Sequence[float | None], form: str) -> str:
    """Mean and standard deviation, and over how many runs where not all have the figure."""
    values = [value for value in of_runs if value is not None]
    if not values:
        return "-"
    mean = format(fmean(values), form)
    spread = mean if len(values) == 1 else f"{mean} ± {format(stdev(values), form)}"
    return spread if len(values) == len(of_runs) else f"{spread} ({len(values)} of {len(of_runs)})"


def draw(results: Sequence[Result], path: Path) -> None:
    """Accuracy along the field of numbers with most values, and against energy; bars span the seeds."""
    from matplotlib.figure import Figure

    axis = _axis(results)
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, line in enumerate(groups(results, (SEED, axis or SEED))):
        _draw_line(left, line, axis, f"C{number % 10}")
        known = [one for one in groups(line.results) if one.of("energy_uj")]
        right.plot(
            [fmean(one.of("energy_uj")) for one in known],
            [100 * fmean(one.of("accuracy")) for one in known],
            "o", color=f"C{number % 10}",
        )  # fmt: skip
    left.set(xlabel="" if axis is None else axis, ylabel="test accuracy (%)", title="Accuracy")
    right.set(xlabel="energy of a sample, with memory (uJ)", xscale="log", title="Accuracy against energy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    save_figure(figure, path)


def _axis(results: Sequence[Result]) -> str | None:
    """The field, numbers in every run, seeds aside, that has most values; None without one of two."""
    values: dict[str, set[Value]] = {}
    for one in results:
        for name, value in one.fields.items():
            values.setdefault(name, set()).add(value)
    values.pop(SEED, None)
    numeric = [
        name
        for name, found in values.items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found)
    ]
    most = max(numeric, key=lambda name: len(values[name]), default=None)
    return most if most is not None and len(values[most]) > 1 else None


def _draw_line(axes: Any, line: Group, axis: str | None, colour: str) -> None:
    points = groups(line.results)
    across = [float(one.fields.get(axis or "", number)) for number, one in enumerate(points)]
    accuracies = [[100 * value for value in one.of("accuracy")] for one in points]
    order = sorted(range(len(points)), key=lambda index: across[index])
    means = [fmean(accuracies[index]) for index in order]
    below = [mean - min(accuracies[index]) for mean, index in zip(means, order, strict=True)]
    above = [max(accuracies[index]) - mean for mean, index in zip(means, order, strict=True)]
    places = [across[index] for index in order]
    axes.errorbar(places, means, yerr=[below, above], marker="o", capsize=3, color=colour, label=line.label)
