"""Parts on a target, in a terminal: placement, pools, messages, time of a step."""

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nsc_deploy.energy.output import cells
from nsc_deploy.energy.output.tables import new_table
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.chip_schema import OnTarget, Run
from nsc_deploy.energy.report.schema import PartReport, Report, SystemReport

_RUNS = (Run.NATIVE, Run.SUBSTITUTED, Run.HOST, Run.REFUSED)


def print_target(report: Report, console: Console) -> None:
    """All there is to say about the target; nothing without one."""
    if report.target is None:
        return
    console.print(_placement(report))
    for system, part, placed in _placed(report):
        for problem in placed.problems:
            line = f"{system.label}/{part.name} does not fit {placed.target}: {problem}"
            console.print(Text(line, "red"), highlight=False)
    if any(placed.pools for _, _, placed in _placed(report)):
        console.print(_pools(report))
    if any(placed.traffic for _, _, placed in _placed(report)):
        console.print(_traffic(report))
        console.print(_WORDS, style="dim", highlight=False)
    if any(placed.time for _, _, placed in _placed(report)):
        console.print(_times(report))
    for system, part, placed in _placed(report):
        words = cells.pace(placed)
        if words:
            console.print(f"{system.label}/{part.name}: {words}", highlight=False, markup=False)
    sources = list(dict.fromkeys(one for _, _, placed in _placed(report) for one in placed.sources))
    if sources:
        told = "; ".join(sources)
        console.print(f"Limits and durations: {told}.", style="dim", highlight=False, markup=False)
    for note in cells.notes_of(placed for _, _, placed in _placed(report)):
        console.print(f"* {note}", highlight=False, markup=False)
    console.print()


_WORDS = (
    "Means of a sample. Messages from core to core, a core to itself included; a hop leads from tile to "
    "tile. Network: energy of both, in no column. No source prices messages from and to the host.\n"
)


def _placed(report: Report) -> Iterator[tuple[SystemReport, PartReport, OnTarget]]:
    for system in report.systems:
        for part in system.parts:
            if part.on_target is not None:
                yield system, part, part.on_target


def _rows(
    table: Table, report: Report, wanted: Callable[[OnTarget], object] = lambda placed: True
) -> Iterator[tuple[PartReport, OnTarget]]:
    """Each part that is wanted, after a row with the name of its system."""
    shown: set[str] = set()
    for system, part, placed in _placed(report):
        if not wanted(placed):
            continue
        if system.label not in shown:
            shown.add(system.label)
            table.add_row(f"[bold]{escape(system.label)}[/bold]")
        yield part, placed


def _placement(report: Report) -> Table:
    """How many nodes of each part run how."""
    table = new_table(f"Nodes on {escape(report.target or '')}", ["Part"], [one.value for one in _RUNS])
    table.add_column("", no_wrap=True)
    for part, placed in _rows(table, report):
        runs = [sum(node.run is one for node in placed.nodes) for one in _RUNS]
        fits = "on a host" if placed.on_host else "fits" if placed.fits else "does not fit"
        table.add_row(f"  {escape(part.name)}", *(str(number or numbers.MISSING) for number in runs), fits)
    return table


def _pools(report: Report) -> Table:
    table = new_table(f"Used of {escape(report.target or '')}", ["Part", "Pool"], ["Used", "Limit", "%"])
    for part, placed in _rows(table, report, lambda placed: placed.pools):
        name = f"  {escape(part.name)}"
        for pool in placed.pools:
            style = "red" if pool.limit is not None and pool.used > pool.limit else None
            table.add_row(name, cells.pool_name(pool, placed), *cells.pool_cells(pool), style=style)
            name = ""
    return table


def _traffic(report: Report) -> Table:
    heads = ["From host", "Messages", "Hops", "To host", "Network\nuJ", "MAC-aware\nand it, uJ"]
    table = new_table("Messages of a sample", ["Part"], heads)
    for part, placed in _rows(table, report, lambda placed: placed.traffic):
        table.add_row(f"  {escape(part.name)}", *cells.traffic_cells(part, placed))
    for system in report.systems:
        if system.network_uj is not None:
            network = numbers.microjoules(system.network_uj)
            together = cells.with_network(system.energy.get("compute"), system.network_uj)
            table.add_row(f"[bold]{escape(system.label)}[/bold]", *[""] * 4, network, together)
    return table


def _times(report: Report) -> Table:
    table = new_table("Time on the chip at full speed, us", ["Part", ""], ["Mean", "95 %", "Worst"])
    for part, placed in _rows(table, report, lambda placed: placed.time):
        if placed.time is None:
            continue
        name = f"  {escape(part.name)}"
        steps = f"inference, {placed.time.steps} steps"
        for words, spread in (("step", placed.time.step_us), (steps, placed.time.inference_us)):
            table.add_row(
                name, words, *(cells.range_of(one) for one in (spread.mean, spread.p95, spread.worst))
            )
            name = ""
    return table
