"""Reports, comparisons, advice and profiles in a terminal."""

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from nsc_deploy.energy.advice.records import Advice, AdviceReport
from nsc_deploy.energy.output import tables
from nsc_deploy.energy.output.headline_table import (
    energy_words,
    fit_words,
    headline_tables,
    memory_words,
    reasons,
)
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.answers import figure
from nsc_deploy.energy.report.compare import Change, Comparison, Status, SystemChange
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.report.tabular import Holds, Medium, Row, Table, TableColumn, columns

_MOST_REASONS = 1
_FOLDED, _PHRASE = 8, 16
"""Characters a line of names, or of a sentence, is folded to where there is no room for more."""
_STYLES = {"group": "bold", "total": "bold", "over": "red"}


def wide_console() -> Console:
    """A console on the standard output that does not fold tables where nobody has set a width."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=120)


def print_headlines(report: Report, console: Console, *, full: bool = False) -> None:
    """Print what each system takes, in one screen, and what that stands on.

    Args:
        report: what to print.
        console: where to.
        full: whether all that cannot be told says why, however long it is.
    """
    for table in headline_tables(report):
        _draw(table, console)
    prices, host = report.profile, report.host_profile
    hosts = "" if host is None else f", parts on a host {host.name}"
    *bounds, last = energy_words(report) or [""]
    for line in bounds:
        console.print(line, style="dim", highlight=False, markup=False)
    words = f"{last} Prices: {prices.name} ({prices.basis}){hosts}.".lstrip()
    rest = filter(None, (memory_words(report), "Counted from 0.", fit_words(report)))
    console.print(" ".join((words, *rest)), style="dim", highlight=False, markup=False)
    for line in reasons(report)[: None if full else _MOST_REASONS]:
        console.print(f"* {line}", highlight=False, markup=False)


def print_report(report: Report, console: Console, *, layers: bool = True) -> None:
    """Print a report.

    Args:
        report: what to print.
        console: where to.
        layers: whether each layer gets a line.
    """
    print_headlines(report, console, full=True)
    for facts in (report.options, report.versions):
        line = ", ".join(f"{name} {value}" for name, value in facts.items())
        console.print(line, style="dim", highlight=False, markup=False)
    _draw(tables.files_table(report), console)
    print_systems(report, console)
    _draw(tables.operations_table(report), console)
    _draw(tables.energy_table(report), console)
    _print_measures(report, console)
    _print_chip(report, console)
    if layers:
        for system in report.systems:
            for part in system.parts:
                _draw(tables.layer_table(report, system, part), console)
        console.print("Other: products, additions and evaluations of functions.\n", style="dim")
    for system in report.systems:
        if system.break_even:
            if tables.has_opponent(system):
                _draw(tables.break_even_table(system, layers=layers), console)
            console.print(system.break_even.words + "\n", highlight=False, markup=False)
        if system.against:
            _draw(tables.against_table(report, system), console)
    _print_links(report, console)
    if report.poster_note:
        console.print(f"{report.poster_note}\n", style="dim", markup=False)
    for line in report.estimated:
        console.print(f"* {line}", style="dim", markup=False)


def _print_links(report: Report, console: Console) -> None:
    """What goes from chip to host in other ways, and whole systems with their radio; nothing without them."""
    if not any(system.potentials or system.radio_break_even for system in report.systems):
        return
    # Reports of other systems need nothing of it.
    from nsc_deploy.energy.output import link_tables

    for system in report.systems:
        if system.potentials:
            _draw(link_tables.potentials_table(report, system), console)
        if system.radio_break_even:
            _draw(link_tables.radio_table(report, system), console)


def print_systems(report: Report, console: Console) -> None:
    """Print the systems side by side: energies, their ratios, and what both stand on."""
    _draw(tables.systems_table(report), console)
    if tables.has_ratios(report):
        _draw(tables.ratio_table(report), console)


def _print_measures(report: Report, console: Console) -> None:
    """Spread over the samples, load, memory, and the Pareto front."""
    _draw(tables.spread_table(report, report.systems), console)
    _draw(tables.load_table(report, report.systems), console)
    _draw(tables.memory_table(report.systems), console)
    points = report.fronts.get(report.main.name, ())
    if len(points) > 1:
        console.print(f"Accuracy against energy ({report.main.title.lower()})", style="bold", markup=False)
        console.print(tables.front_words(points) + "\n", highlight=False, markup=False)


def _print_chip(report: Report, console: Console) -> None:
    """All there is to say about the target; nothing without one."""
    on_target = [part.on_target for system in report.systems for part in system.parts]
    if report.target is None or not any(on_target):
        return
    # Reports without a target need nothing of it.
    from nsc_deploy.energy.output import chip_tables

    placed_parts = list(chip_tables.placed_parts(report.systems))
    placement, *others = chip_tables.chip_tables(report.target, report.systems)
    _draw(placement, console)
    for system, part, placed in placed_parts:
        for problem in placed.problems:
            line = f"{system.label}/{part.name} does not fit {placed.target}: {problem}"
            console.print(Text(line, "red"), highlight=False)
    for table in others:
        _draw(table, console)
    for system, part, placed in placed_parts:
        words = chip_tables.pace(placed)
        if words:
            console.print(f"{system.label}/{part.name}: {words}", highlight=False, markup=False)
    sources = "; ".join(chip_tables.chip_sources(report.systems))
    if sources:
        console.print(f"Limits and durations: {sources}.", style="dim", highlight=False, markup=False)
    for note in chip_tables.chip_notes(report.systems):
        console.print(f"* {note}", highlight=False, markup=False)
    console.print()


def print_profiles(profiles: Sequence[Profile], console: Console) -> None:
    """Print the main prices of several profiles in pJ, and below them their sources."""
    sources = list(dict.fromkeys(profile.source for profile in profiles))
    rows = []
    for profile in profiles:
        prices = profile.prices
        figures = map(tables.in_picojoules, (prices.ac, prices.mac, prices.neuron_update, prices.spike))
        words = profile.basis, profile.process, f"({sources.index(profile.source) + 1})"
        cycle = numbers.MISSING if profile.core is None else f"{profile.core.cycle_picojoules:.4g}"
        rows.append(Row((profile.name, *figures, cycle, *words)))
    heads = (
        *columns("Profile", holds=Holds.NAMES),
        *columns("AC", "MAC", "Update", "Spike", "Cycle"),
        *columns("Figures", "Process", "Source", holds=Holds.NAMES),
    )
    _draw(Table("Prices in pJ", heads, tuple(rows)), console)
    for number, source in enumerate(sources, start=1):
        console.print(f"({number}) {source}", highlight=False, markup=False)
    console.print("More on one of them, with the figures published against it: energy profiles NAME")


def print_profile(profile: Profile, console: Console) -> None:
    """Print all there is to know about one profile."""
    console.print(f"[bold]{escape(profile.name)}[/bold]  {escape(profile.title)}")
    facts = {
        "source": profile.source,
        "process": profile.process,
        "precision": profile.precision,
        "figures": profile.basis,
        "scope": profile.scope,
    }
    if profile.chip is not None:
        facts["chip"] = f"{profile.chip}, on which reports place graphs"
    if profile.load_limit is not None:
        limit = profile.load_limit
        facts["at most"] = f"{limit.synops_per_second:g} SynOps/s a {limit.of}. {limit.source}"
    if profile.core is not None:
        facts["core"] = profile.core.words
    for name, value in facts.items():
        console.print(f"  {name:10} {value}", markup=False)
    _draw(tables.price_table(profile), console)
    for conflict in profile.conflicts:
        console.print(f"  against it: {conflict}", markup=False)


_FIGURES = {
    "synops": "SynOps",
    "spikes": "spikes",
    "neuron_updates": "updates",
    "energy_uj": "uJ",
    "synapses": "synapses",
    "neurons": "neurons",
}
_STATUS = {Status.ADDED: "new", Status.REMOVED: "gone"}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the layers that changed, and the totals."""
    for system in comparison.systems:
        _draw(_comparison_table(system), console)
        if system.after is None:
            console.print(f"{system.before} is gone: the later report has no such system. ", markup=False)
        same = sum(layer.status is Status.SAME for layer in system.layers)
        console.print(f"{same} of {len(system.layers)} layers unchanged. ", style="dim", end="")
        console.print(
            f"Means of one sample; energy: {comparison.column}, {comparison.profile}.\n",
            style="dim",
            markup=False,
        )


def _comparison_table(system: SystemChange) -> Table:
    """The layers that changed, a row a figure of theirs that did: before, after and by how much."""
    rows: list[Row] = []
    for layer in system.layers:
        if layer.status is not Status.SAME:
            became = _STATUS.get(layer.status, layer.primitive if "->" in layer.primitive else "")
            lower = bool(layer.unpriced)
            rows += _change_rows(f"{layer.part}/{layer.layer}", became, layer.changes, lower=lower)
    rows += _change_rows("Total", "", system.total, lower=bool(system.unpriced), style="total")
    heads = (*columns("Layer", "", "Figure", holds=Holds.NAMES), *columns("Was", "Is", "%"))
    return Table(f"{system.before} -> {system.after or 'gone'}", heads, tuple(rows))


def _change_rows(
    name: str, became: str, changes: Mapping[str, Change], *, lower: bool, style: str = ""
) -> list[Row]:
    """A row a figure that changed, the name in the first; lower bounds have no growth that is known.

    What an ONNX graph does not tell has a dash, and no growth.
    """
    cells = []
    for field, word in _FIGURES.items():
        change, mark = changes[field], "> " if lower and field == "energy_uj" else ""
        if change.before != change.after:
            growth = "" if change.growth is None or mark else f"{100 * change.growth:+.1f}"
            was, now = (
                numbers.MISSING if one is None else f"{mark}{figure(one)}"
                for one in (change.before, change.after)
            )
            cells.append((word, was, now, growth))
    first, *others = cells or [("", "", "", "")]
    return [Row((name, became, *first), style), *(Row(("", "", *one), style) for one in others)]


_MOST_ADVICE, _WORTH_SHOWING = 10, 0.001
"""Of advice, so many lines at most, and those that save at least such a share."""


def print_advice(report: AdviceReport, console: Console, top: int | None = None) -> None:
    """Print what was tried and what it does.

    Args:
        report: what to print.
        console: where to.
        top: how many changes; None for those that save something, ten at most.
    """
    sizes = [
        f"{numbers.microjoules(report.energy_uj)} uJ",
        f"{numbers.grouped(report.synops)} SynOps a sample",
    ]
    sizes += [] if report.memory_bytes is None else [f"{numbers.grouped(report.memory_bytes)} B"]
    sizes += [] if report.accuracy is None else [f"{numbers.percent(report.accuracy)} % right"]
    worth = [one for one in report.advice if one.saved >= _WORTH_SHOWING][:_MOST_ADVICE]
    shown = worth if top is None else report.advice[:top]
    heads = (
        *columns("", holds=Holds.NAMES),
        *columns("Change", holds=Holds.SENTENCES),
        *columns("Saves", "uJ", "SynOps"),
        *columns("Bytes", rank=2),
        *columns("Right %", rank=1),
        *columns("Outputs", rank=1),
    )
    rows = tuple(Row(_advice_cells(one)) for one in shown)
    if report.why:
        console.print(f"Ranked by {report.by}: {report.why}.", highlight=False, markup=False)
    saves = f"Saves: of {report.by}{' of ' if report.of_parts else ''}{', '.join(report.of_parts)}."
    _draw(Table(f"{report.system}: {', '.join(sizes)}", heads, rows, saves), console)
    if not report.advice:
        console.print("Nothing was found that could be changed.")
    elif len(shown) < len(report.advice):
        left = len(report.advice) - len(shown)
        console.print(f"{left} more, which save less: --top {len(report.advice)}", highlight=False)
    if report.together is not None:
        console.print(_together(report.together), highlight=False)
    console.print(
        f"Each line was made, run on {report.samples} recorded samples and priced with {report.profile} "
        f"(column {report.column}); figures are of the whole system. 'same': every output value of the "
        "part is as before on these samples; other samples may wake a neuron that was silent here.",
        style="dim",
        highlight=False,
        markup=False,
    )
    for line in report.left_out:
        console.print(f"Not tried: {line}", style="dim", highlight=False, markup=False)


def _advice_cells(one: Advice) -> tuple[str, ...]:
    return (
        "/".join(name for name in (one.part, one.layer) if name) or "whole system",
        one.words,
        f"{100 * one.saved:.2f} %",
        numbers.microjoules(one.after_uj),
        numbers.grouped(one.after_synops),
        numbers.MISSING if one.after_bytes is None else numbers.grouped(one.after_bytes),
        numbers.percent(one.accuracy_after),
        "same" if one.same_outputs else "other",
    )


def _together(one: Advice) -> str:
    """What all changes give that leave the outputs as they are."""
    figures = [
        (one.before_synops, one.after_synops, "SynOps", numbers.grouped),
        (one.before_uj, one.after_uj, "uJ", numbers.microjoules),
    ]
    if one.before_bytes is not None and one.after_bytes is not None:
        figures.append((one.before_bytes, one.after_bytes, "B", numbers.grouped))
    words = [
        f"{say(after)} of {say(before)} {unit} ({100 * (after - before) / before if before else 0:+.2f} %)"
        for before, after, unit, say in figures
    ]
    return f"All safe changes together (the outputs stay as they are): {', '.join(words)}."


def _draw(table: Table, console: Console) -> None:
    """Print a table, without the columns that a narrow terminal has no room for: rich would cut it off."""
    shown = wanted = table.shown(Medium.TERMINAL)
    rows = [row for row in table.rows if row.only is not Medium.PAGE]
    for rank in sorted({column.rank for column in table.columns if column.rank}, reverse=True):
        if sum(2 + _least_width(table.columns[index], index, rows) for index in shown) <= console.width:
            break
        shown = [index for index in shown if table.columns[index].rank != rank]
    drawn = RichTable(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    room = console.width - sum(2 + _least_width(table.columns[index], index, rows) for index in shown)
    for index in shown:
        column = table.columns[index]
        if column.holds is Holds.NUMBERS:
            head = column.head if room >= 0 else _folded_head(column.head, index, rows)
            drawn.add_column(escape(head), justify="right", no_wrap=True)
        else:
            short = not column.head  # a word beside a name
            folded = _PHRASE if column.holds is Holds.SENTENCES else _FOLDED
            drawn.add_column(
                escape(column.head), overflow="fold", min_width=None if short else folded, no_wrap=short
            )
    for row in rows:
        written = [escape(row.cells[index]) for index in shown if index < len(row.cells)]
        drawn.add_row(*written, style=_STYLES.get(row.style))
    console.print(drawn)
    note = "\n".join(filter(None, (_left_out(table, wanted, shown), table.note)))
    if note:
        console.print(f"{note}\n", style="dim", highlight=False, markup=False)


def _left_out(table: Table, wanted: Iterable[int], shown: Iterable[int]) -> str:
    """Which columns a terminal has no room for; nothing where it has all."""
    left = ", ".join(table.columns[index].head for index in sorted({*wanted} - {*shown}))
    return f"No room for: {left}. A wider terminal has it." if left else ""


def _folded_head(head: str, index: int, rows: Iterable[Row]) -> str:
    """The head of a column of numbers in lines as long as they are: rich would cut off names beside it."""
    numbers = max((Text(row.cells[index]).cell_len for row in rows if index < len(row.cells)), default=0)
    lines = (textwrap.wrap(line, max(numbers, _FOLDED)) for line in head.split("\n"))
    return "\n".join(part for line in lines for part in line)


def _least_width(column: TableColumn, index: int, rows: Iterable[Row]) -> int:
    """Characters a column cannot do without.

    Rich's own measure takes the groups of three digits for words that may be parted.
    """
    texts = [column.head, *(row.cells[index] for row in rows if index < len(row.cells))]
    width = max(Text(line).cell_len for text in texts for line in text.split("\n"))
    if column.holds is Holds.NUMBERS or not column.head:
        return width
    return min(width, _PHRASE if column.holds is Holds.SENTENCES else _FOLDED)
