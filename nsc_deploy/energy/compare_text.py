"""A comparison of two builds as a table."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nsc_deploy.energy.compare import Change, Comparison, Status, SystemChange

_SHOWN = {
    "synops": "SynOps",
    "neuron_updates": "Updates",
    "spikes": "Spikes",
    "synapses": "Synapses",
    "energy_uj": "uJ",
}


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the layers that changed, and the totals."""
    for system in comparison.systems:
        console.print(_table(system))
        same = sum(layer.status is Status.SAME for layer in system.layers)
        console.print(f"{same} of {len(system.layers)} layers unchanged. ", style="dim", end="")
        console.print(
            f"Means of one sample; energy: {comparison.column}, {comparison.profile}.\n", style="dim"
        )


def _table(system: SystemChange) -> Table:
    title = escape(f"{system.before} -> {system.after}")
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("Layer", overflow="fold", min_width=12)
    table.add_column("")
    for name in _SHOWN.values():
        table.add_column(name, justify="right", no_wrap=True)
    for layer in system.layers:
        if layer.status is not Status.SAME:
            cells = (_cell(layer.changes[field]) for field in _SHOWN)
            table.add_row(escape(f"{layer.part}/{layer.layer}"), layer.status, *cells)
    table.add_section()
    table.add_row("Total", "", *(_cell(system.total[field]) for field in _SHOWN), style="bold")
    return table


def _cell(change: Change) -> str:
    if change.before == change.after:
        return f"{_number(change.after)}"
    growth = "" if change.growth is None else f" {100 * change.growth:+.1f} %"
    return f"{_number(change.before)} > {_number(change.after)}{growth}"


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 1000 else f"{value:.4g}"
