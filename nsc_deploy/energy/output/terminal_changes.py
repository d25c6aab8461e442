"""Comparisons and advice in a terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nsc_deploy.energy.advice.records import AdviceReport
from nsc_deploy.energy.output.tables import new_table
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.compare import Change, Comparison, Status, SystemChange

_SHOWN = {"synops": "SynOps", "spikes": "Spikes", "energy_uj": "uJ"}
_SIZES = {"synapses": "synapses", "neurons": "neurons"}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the layers that changed, and the totals."""
    for system in comparison.systems:
        console.print(_table(system))
        for field, word in _SIZES.items():
            change = system.total[field]
            if _moved(change):
                console.print(f"{word}: {_number(change.before)} -> {_number(change.after)}")
        same = sum(layer.status is Status.SAME for layer in system.layers)
        console.print(f"{same} of {len(system.layers)} layers unchanged. ", style="dim", end="")
        console.print(
            f"Means of one sample; energy: {comparison.column}, {comparison.profile}.\n", style="dim"
        )


def _table(system: SystemChange) -> Table:
    """The layers that changed; of the figures those that changed anywhere, after and by how much."""
    shown = [field for field in _SHOWN if any(_moved(layer.changes[field]) for layer in system.layers)]
    title = escape(f"{system.before} -> {system.after}")
    table = new_table(title, (), ())
    table.add_column("Layer", no_wrap=True)
    table.add_column("", no_wrap=True)
    for field in shown:
        table.add_column(_SHOWN[field], justify="right", no_wrap=True)
        table.add_column("was", justify="right", no_wrap=True, style="dim")
        table.add_column("%", justify="right", no_wrap=True)
    for layer in system.layers:
        if layer.status is not Status.SAME:
            name = escape(f"{layer.part}/{layer.layer}")
            table.add_row(name, _WORDS[layer.status], *_cells(layer.changes, shown))
    table.add_section()
    table.add_row("Total", "", *_cells(system.total, shown), style="bold")
    return table


_WORDS = {Status.ADDED: "new", Status.REMOVED: "gone", Status.CHANGED: ""}


def _moved(change: Change) -> bool:
    return change.before != change.after


def _cells(changes: Mapping[str, Change], fields: Sequence[str]) -> list[str]:
    cells = []
    for change in (changes[field] for field in fields):
        growth = "" if change.growth is None or not _moved(change) else f"{100 * change.growth:+.1f}"
        cells += [_number(change.after), _number(change.before) if _moved(change) else "", growth]
    return cells


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"


def print_advice(report: AdviceReport, console: Console) -> None:
    """Print what was tried and what it does."""
    now = f"{escape(report.system)}: {numbers.microjoules(report.energy_uj)} uJ a sample"
    accurate = "" if report.accuracy is None else f", {numbers.percent(report.accuracy)} % right"
    table = new_table(f"{now}{accurate}", ["Where", "Change"], ["uJ", "Saves", "Right %", "Outputs"])
    for one in report.advice:
        where = "/".join(name for name in (one.part, one.layer) if name) or "whole system"
        table.add_row(
            escape(where),
            escape(one.words),
            numbers.microjoules(one.after_uj),
            f"{100 * one.saved:.2f} %",
            numbers.percent(one.accuracy_after),
            "same" if one.same_outputs else "other",
        )
    console.print(table)
    if not report.advice:
        console.print("Nothing was found that could be changed.")
    console.print(
        f"Each line was made, run on {report.samples} recorded samples and priced with {report.profile} "
        f"(column {report.column}); energies are of the whole system. 'same': every output value of the "
        "part is as before on these samples; other samples may wake a neuron that was silent here.",
        style="dim",
        highlight=False,
    )
    for line in report.left_out:
        console.print(f"Not tried: {line}", style="dim", highlight=False)
