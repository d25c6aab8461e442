"""Header, spread, load, memory and Pareto front of a report in a terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nsc_deploy.energy import measure_text as tell
from nsc_deploy.energy.counting.operations import Store
from nsc_deploy.energy.output import numbers as show
from nsc_deploy.energy.output.tables import new_table
from nsc_deploy.energy.report.schema import Energy, PartReport, Report, Spread


def print_header(report: Report, console: Console) -> None:
    """What was counted, with which options and versions."""
    for facts in (report.options, report.versions):
        line = ", ".join(f"{name} {value}" for name, value in facts.items())
        console.print(line, style="dim", highlight=False)
    table = new_table("Counted", ["Graph", "SHA-256", "Inputs", "SHA-256"], ["Steps", "ms", "Samples"])
    for part in _by_system(table, report):
        table.add_row(
            f"  {escape(part.graph)}",
            part.graph_sha256[:8],
            escape(part.recording),
            part.recording_sha256[:8],
            str(part.steps),
            f"{part.dt * 1000:g}",
            str(part.samples),
        )
    console.print(table)


def print_measures(report: Report, console: Console) -> None:
    """Spread over the samples, load, memory, and the Pareto front."""
    console.print(_spread(report))
    console.print("No.: the worst sample of the recording, counted from 0.\n", style="dim")
    console.print(_load(report))
    limit = report.profile.load_limit
    words = f"Limit: {limit.source}" if limit else f"{report.profile.name} states no limit."
    console.print(f"Busiest: the busiest step, mean of the samples. {words}\n", style="dim", highlight=False)
    console.print(_memory(report))
    points = report.fronts.get(report.main.name, ())
    if len(points) > 1:
        console.print(f"Accuracy against energy ({report.main.title.lower()})", style="bold")
        console.print(tell.front_words(points) + "\n", highlight=False)


def _spread(report: Report) -> Table:
    numbers = ["Mean", "Median", "95 %", "Worst", "No."]
    table = new_table("Over the samples", ["Part", ""], numbers)
    for system in report.systems:
        table.add_row(f"[bold]{escape(system.label)}[/bold]")
        name = report.main.name
        for part in system.parts:
            if name in part.energy:
                table.add_row(f"  {escape(part.name)}", "uJ", *_energy_cells(part.energy[name]))
            table.add_row(
                "" if name in part.energy else f"  {escape(part.name)}", "SynOps", *_cells(part.synops)
            )
        if name in system.energy:
            table.add_row("  [bold]all[/bold]", "uJ", *_energy_cells(system.energy[name]))
        table.add_row("", "SynOps", *_cells(system.synops))
    return table


def _energy_cells(energy: Energy) -> list[str]:
    digits = show.digits([energy])
    rest = (energy.median_uj, energy.p95_uj, energy.worst_uj)
    cells = [show.bounded(energy, value, digits) for value in rest]
    return [show.energy(energy, digits), *cells, str(energy.worst_sample)]


def _cells(one: Spread) -> list[str]:
    cells = [show.count(round(value)) for value in (one.mean, one.median, one.p95, one.worst)]
    return [*cells, str(one.worst_sample)]


def _load(report: Report) -> Table:
    heads, bars = ["Mean", "95 %", "Worst", "Busiest", "Limit", "Share"], 10
    if report.profile.load_limit is None:
        heads, bars = heads[:-2], 15
    table = new_table("Load, SynOps a second", ["Part"], heads)
    table.add_column("Over time", no_wrap=True)
    for part in _by_system(table, report):
        load = part.load
        cells = [tell.per_second(value) for value in (load.mean, load.p95, load.worst, load.busiest_step)]
        if report.profile.load_limit is not None:
            cells += [tell.limit(load), tell.share(load.share)]
        course = "" if part.over_time is None else tell.course(part.over_time.synops, width=bars)
        table.add_row(f"  {escape(part.name)}", *cells, course)
    return table


def _memory(report: Report) -> Table:
    table = new_table("Memory in use", ["Part"], ["Weights", "States", "Activations", "All"])
    for part in _by_system(table, report):
        cells = [tell.size(part.memory.stores[store]) for store in Store]
        table.add_row(f"  {escape(part.name)}", *cells, tell.in_bytes(part.memory.bytes))
    return table


def _by_system(table: Table, report: Report) -> Iterator[PartReport]:
    """Each part of each system, after a row with the system's name."""
    for system in report.systems:
        table.add_row(f"[bold]{escape(system.label)}[/bold]")
        yield from system.parts
