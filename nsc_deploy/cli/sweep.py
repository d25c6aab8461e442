"""`nsc-deploy sweep`: the runs of a grid file, here or on Slurm, and one table of them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nsc_deploy.sweep.grid import Grid, Point
    from nsc_deploy.sweep.results import PointProgress, Result


class Executor(StrEnum):
    """What runs what is missing."""

    LOCAL = "local"
    SLURM = "slurm"


def sweep(
    grid: Annotated[
        Path,
        typer.Argument(
            metavar="GRID.toml", help="An experiment and lists of values for its fields.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the runs, their table and their picture.", metavar="DIR")
    ],
    executor: Annotated[
        Executor, typer.Option("--executor", help="Processes of this machine, or jobs of Slurm.")
    ] = Executor.LOCAL,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many runs at a time.")] = 1,
    status: Annotated[
        bool, typer.Option("--status", help="Train nothing: say how far each run is, from its folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train every combination of a grid file, and collect accuracy and energy.

    Finished runs are skipped, killed ones go on, what Slurm has stays there. Exit code 1 where one failed.

    For example: nsc-deploy sweep examples/grids/fsdd_results.toml --out runs/fsdd --jobs 2
    """
    from nsc_deploy.io.files import locked_folder, require_writable
    from nsc_deploy.sweep.grid import JOBS, read_grid
    from nsc_deploy.sweep.results import State, progress_of, require_numbers

    asked = read_grid(grid)
    found = progress_of(asked, out)
    if status:
        _print_progress(found, as_json=as_json)
        return
    require_writable(out / JOBS)
    _refuse_others(found, out)
    missing = [one.point for one in found if one.state is not State.FINISHED]
    require_numbers(asked)
    with locked_folder(out, "another sweep is at work there"):
        if missing and executor is Executor.SLURM:
            _submit(asked, missing, out, jobs)
            return
        if missing:
            _refuse_jobs(asked, out)
            _forget_jobs(asked, out)
        failed = _train(missing, out, jobs) if missing else 0
        _collect(asked, out, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _refuse_others(found: "list[PointProgress]", out: Path) -> None:
    """Before the first run begins: the figures of another experiment are none of this grid's."""
    from nsc_deploy.errors import ConfigError
    from nsc_deploy.sweep.results import State

    others = [one for one in found if one.state is State.OTHER]
    if others:
        more = f", and {len(others) - 1} more runs" if len(others) > 1 else ""
        raise ConfigError(
            f"holds a run of another experiment ({others[0].why}){more}",
            where=out / others[0].point.name,
            hint="Name another --out, or delete this folder to train the run anew.",
        )


def _refuse_jobs(grid: "Grid", out: Path) -> None:
    """Train nothing here that Slurm will: it would be trained twice, and the numbers of its jobs be lost."""
    from nsc_deploy.errors import ConfigError
    from nsc_deploy.io.text import counted
    from nsc_deploy.sweep.grid import JOBS
    from nsc_deploy.sweep.results import at_work, read_jobs

    with_slurm = [name for name in at_work(grid, out) if name in read_jobs(out)]
    if with_slurm:
        raise ConfigError(
            f"names jobs of Slurm that have not ended, of {counted(len(with_slurm), 'run')}: {with_slurm[0]}"
            + (" and others" if len(with_slurm) > 1 else ""),
            where=out / JOBS,
            hint="Wait for them (--status tells), or cancel them and delete this file.",
        )


def _forget_jobs(grid: "Grid", out: Path) -> None:
    """What is trained here tells of itself in its log, and no more in that of a job.

    Jobs of runs that the grid file had before it was edited may still wait: theirs stay.
    """
    from nsc_deploy.io.files import write_json
    from nsc_deploy.sweep.grid import JOBS
    from nsc_deploy.sweep.results import read_jobs

    of_grid = {point.name for point in grid.points}
    others = {name: job for name, job in read_jobs(out).items() if name not in of_grid}
    if others:
        write_json(out / JOBS, others)
    else:
        (out / JOBS).unlink(missing_ok=True)


def _submit(grid: "Grid", points: "list[Point]", out: Path, jobs: int) -> None:
    """Hand over what is missing, but for what Slurm has already or another process trains."""
    from nsc_deploy.io.files import write_json
    from nsc_deploy.io.text import counted
    from nsc_deploy.sweep.execute import submit
    from nsc_deploy.sweep.grid import JOBS
    from nsc_deploy.sweep.results import at_work, read_jobs

    known, taken = read_jobs(out), at_work(grid, out)
    if taken:
        left_out = f"left out {counted(len(taken), 'run')} that are submitted or being trained"
        typer.echo(f"{left_out}; of jobs that were cancelled, delete {out / JOBS}", err=True)
    wanted = [point for point in points if point.name not in taken]
    submitted = submit(wanted, out, jobs, grid.slurm) if wanted else {}
    write_json(out / JOBS, known | submitted)
    typer.echo(f"submitted {counted(len(submitted), 'run')}; --status says how far along", err=True)


def _train(points: "list[Point]", out: Path, jobs: int) -> int:
    """Train what is missing; returns how many runs failed."""
    from nsc_deploy.io.progress import progress_bar
    from nsc_deploy.sweep.execute import log_of, run_here

    failed: list[str] = []
    with progress_bar() as bar:
        task = bar.add_task("runs", total=len(points))

        def tell(point: "Point", code: int) -> None:
            bar.advance(task)
            if code:
                failed.append(point.name)
                line = f"{point.name} failed, see {log_of(point, out)}"
                bar.console.print(line, markup=False, soft_wrap=True)

        run_here(points, out, jobs, tell)
    return len(failed)


def _collect(grid: "Grid", out: Path, *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from nsc_deploy.io.progress import progress_bar
    from nsc_deploy.sweep.grid import PICTURE, RESULTS, TABLE
    from nsc_deploy.sweep.results import State, collect, draw, progress_of

    with progress_bar() as bar:
        task = bar.add_task("counting", total=len(grid.points))
        results = collect(grid, out, lambda: bar.advance(task))
    written = [RESULTS, TABLE]
    if results:
        try:
            draw(results, out / PICTURE)
            written.append(PICTURE)
        except ImportError:
            typer.echo("no picture: pip install 'nsc-deploy[pictures]'", err=True)
    if as_json:
        answer = {"runs": _told(progress_of(grid, out)), "results": [asdict(one) for one in results]}
        typer.echo(json.dumps(answer, indent=2))
    else:
        _print_results(results)
        _tell_uncounted(results)
        left = [one for one in progress_of(grid, out) if one.state is not State.FINISHED]
        if left:
            _print_progress(left, as_json=False)
    typer.echo(f"wrote {', '.join(str(out / name) for name in written)}", err=True)


def _print_results(results: "list[Result]") -> None:
    from rich.console import Console
    from rich.table import Table

    from nsc_deploy.sweep.results import as_rows

    heads, rows = as_rows(results)
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)


def _tell_uncounted(results: "list[Result]") -> None:
    """Why some runs have no energy, each reason once."""
    why: dict[str, list[str]] = {}
    for one in results:
        if one.note:
            why.setdefault(one.note, []).append(one.run)
    for note, runs in why.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        typer.echo(f"no energy of {runs[0]}{more}: {note}", err=True)


def _print_progress(found: "list[PointProgress]", *, as_json: bool) -> None:
    import json
    from collections import Counter

    if as_json:
        typer.echo(json.dumps(_told(found), indent=2))
        return
    width = max((len(one.point.name) for one in found), default=0)
    for one in found:
        typer.echo(f"{one.point.name:<{width}}  {one.state:<10}  {one.why}".rstrip())
    numbers = Counter(one.state for one in found)
    typer.echo(", ".join(f"{number} {state}" for state, number in numbers.items()) or "no runs")


def _told(found: "list[PointProgress]") -> list[dict[str, str]]:
    return [{"run": one.point.name, "state": one.state, "why": one.why} for one in found]
