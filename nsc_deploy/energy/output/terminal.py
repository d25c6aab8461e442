"""A report in a terminal: systems side by side, spread, load and memory, then the layers of each part."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.output import cells
from nsc_deploy.energy.output.tables import least_width, new_table
from nsc_deploy.energy.output.terminal_chip import print_target
from nsc_deploy.energy.pricing.profile import Profile
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.break_even import words_of_layer
from nsc_deploy.energy.report.chip_schema import Spread
from nsc_deploy.energy.report.schema import Energy, PartReport, Report, SystemReport

_NARROW = 100
"""Characters below which a table of layers leaves columns out."""


def wide_console() -> Console:
    """A console on the standard output that does not fold tables where nobody has set a width."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=120)


def print_report(report: Report, console: Console, *, layers: bool = True) -> None:
    """Print a report.

    Args:
        report: what to print.
        console: where to.
        layers: whether each layer gets a line.
    """
    _print_header(report, console)
    print_systems(report, console)
    console.print(_part_counts(report))
    console.print(_part_energies(report))
    _print_measures(report, console)
    print_target(report, console)
    if layers:
        for system in report.systems:
            for part in system.parts:
                console.print(_fitting_layers(report, system, part, console))
        console.print("Other: products, additions and evaluations of functions.\n", style="dim")
    for system in report.systems:
        if system.break_even:
            if cells.has_opponent(system):
                console.print(_break_even(system, layers=layers))
            console.print(system.break_even.words + "\n", highlight=False)
        if system.against:
            console.print(_against(report, system))
    if report.poster_note:
        console.print(f"{report.poster_note}\n", style="dim")
    for line in report.estimated:
        console.print(f"* {line}", style="dim")


def print_systems(report: Report, console: Console) -> None:
    """Print the systems side by side: energies, their ratios, and what both stand on."""
    console.print(_systems(report))
    console.print(_ratios(report))
    console.print(
        f"uJ for one sample, mean of {report.systems[0].samples}; ratios to {report.systems[0].label}.\n"
        f"Prices: {report.profile.title} ({report.profile.name}, {report.profile.basis}). "
        "'>' marks a lower bound.\n",
        style="dim",
    )


def _energy_heads(report: Report) -> list[str]:
    return [f"{column.short}\nuJ" for column in report.columns]


def _systems(report: Report) -> Table:
    facts = ["Acc\n%", "SNR\ndB", "Channel\nuses"]
    table = new_table("Energy of a sample", ["\nSystem"], [*facts, *_energy_heads(report)])
    for system in report.systems:
        known = numbers.percent(system.accuracy), numbers.decibel(system.snr_db), cells.uses(system)
        table.add_row(escape(system.label), *known, *_energies(report, system.energy))
    return table


def _ratios(report: Report) -> Table:
    poster = ["Poster\nuJ", "\nratio"] if report.poster_note else []
    heads = [f"{column.short}\nratio" for column in report.columns]
    table = new_table(f"Ratio to {escape(report.systems[0].label)}", ["\nSystem"], [*heads, *poster])
    for system in report.systems:
        ratios = [numbers.ratio(system.ratio[column.name].system) for column in report.columns]
        table.add_row(escape(system.label), *ratios, *(_poster(system) if report.poster_note else []))
    return table


def _energies(report: Report, energy: Mapping[str, Energy]) -> list[str]:
    digits = cells.digits(cells.all_sides(report))
    return [cells.energy(energy.get(column.name), digits) for column in report.columns]


def _poster(system: SystemReport) -> list[str]:
    poster = system.poster
    if poster is None:
        return [numbers.MISSING] * 2
    return [f"{poster.energy_uj:.2f}", numbers.ratio(poster.ratio)]


def _part_counts(report: Report) -> Table:
    table = new_table("Operations by part", ["Part"], ["AC", "MAC", "Updates", "Spikes"])
    for part in _by_system(table, report):
        counts = part.counts
        shown = counts.acs, counts.macs, counts.neuron_updates, counts.spikes
        table.add_row(_part_name(part), *map(numbers.count, shown))
    return table


def _part_energies(report: Report) -> Table:
    table = new_table("Energy by part", ["\nPart"], _energy_heads(report))
    for part in _by_system(table, report):
        table.add_row(_part_name(part), *_energies(report, part.energy))
    return table


def _by_system(table: Table, report: Report) -> Iterator[PartReport]:
    """Each part of each system, after a row with the system's name."""
    for system in report.systems:
        table.add_row(f"[bold]{escape(system.label)}[/bold]")
        yield from system.parts


def _part_name(part: PartReport) -> str:
    where = f" [dim]{part.place}[/dim]" if part.place else ""
    return f"  {escape(part.name)}{where}"


_MAIN_KINDS = {
    Kind.AC: "AC",
    Kind.MAC: "MAC",
    Kind.NEURON_UPDATE: "Updates",
    Kind.SPIKE: "Spikes",
}


def _fitting_layers(report: Report, system: SystemReport, part: PartReport, console: Console) -> Table:
    """The layers of a part, with as much about them as there is room for: rich cuts what is too wide."""
    narrow = console.width < _NARROW
    for counted in (tuple(Kind), tuple(_MAIN_KINDS), ()):
        table = _layers(report, system, part, narrow=narrow, counted=counted)
        if least_width(table) <= console.width:
            break
        narrow = True
    return table


def _layers(
    report: Report, system: SystemReport, part: PartReport, *, narrow: bool, counted: Collection[Kind]
) -> Table:
    """The layers of a part; a narrow terminal has no room for what a layer is and receives."""
    occurring = [kind for kind in cells.occurring(part) if kind in counted]
    kinds = [kind for kind in _MAIN_KINDS if kind in occurring]
    others = [kind for kind in occurring if kind not in _MAIN_KINDS]
    heads = [
        *([] if narrow else ["Synapses"]),
        *(_MAIN_KINDS[kind] for kind in kinds),
        *(["Other"] if others else []),
    ]
    title = escape(f"{system.label}: {part.name} ({part.graph})")
    figures = [*(f"\n\n{head}" for head in heads), *_energy_heads(report)]
    table = new_table(title, ["\n\nLayer", *([] if narrow else ["\n\nReceives"])], figures)
    for layer in part.layers:
        of = layer.counts.model_dump()
        row = [numbers.count(of[kind.value]) for kind in kinds]
        if others:
            row.append(numbers.count(sum(of[kind.value] for kind in others)))
        for name in (column.name for column in report.columns):
            row.append(cells.energy(layer.energy.get(name), cells.layer_digits(part, name)))
        if narrow:
            table.add_row(escape(layer.name), *row)
        else:
            name = f"{escape(layer.name)} [dim]{layer.primitive}[/dim]"
            table.add_row(name, layer.arrives, numbers.count(layer.synapses), *row)
    return table


def _break_even(system: SystemReport, *, layers: bool) -> Table:
    title = escape(f"{system.label}: against the bit-matched ANN, both with memory")
    heads = ["Rate\n%", "Spiking\nuJ", "Fixed\nuJ", "ANN\nuJ"]
    table = new_table(title, ["\nLayer and its neurons"], heads)
    table.add_column("\nThe spiking layer", overflow="fold")
    rows = [(f"{part.name}/{even.layer}", even) for part in system.parts for even in part.break_even]
    whole = [] if system.break_even is None else [("Whole system", system.break_even)]
    for name, even in (rows if layers else []) + whole:
        own = (numbers.microjoules(one) for one in (even.spiking_uj, even.fixed_uj))
        table.add_row(escape(name), numbers.rate(even.rate), *own, cells.opponent(even), words_of_layer(even))
    return table


def _against(report: Report, system: SystemReport) -> Table:
    """For each accounting, what the events would have to do for the system to lose or to win."""
    table = new_table(f"What would have to change for {escape(system.label)} to lose", [], [])
    for name in ("Accounting", "In words"):
        table.add_column(name, overflow="fold")
    titles = {column.name: column.title for column in report.columns}
    for one in system.against:
        table.add_row(titles[one.column], escape(one.words))
    return table


def print_profiles(profiles: Sequence[Profile], console: Console) -> None:
    """Print the prices of several profiles in pJ, and below them their sources."""
    table = new_table("Prices in pJ", ["Profile"], ["AC", "MAC", "Update", "Spike"])
    for name in ("Figures", "Process", "Source"):
        table.add_column(name, overflow="fold")
    sources = list(dict.fromkeys(profile.source for profile in profiles))
    for profile in profiles:
        prices = profile.prices
        figures = (prices.ac, prices.mac, prices.neuron_update, prices.spike)
        table.add_row(
            profile.name,
            *(numbers.MISSING if price is None else f"{price.picojoules:g}" for price in figures),
            profile.basis,
            profile.process,
            f"({sources.index(profile.source) + 1})",
        )
    console.print(table)
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
    for name, value in facts.items():
        console.print(f"  {name:10} {value}", markup=False)
    if profile.chip is not None:
        console.print(f"  {'chip':10} {profile.chip}, on which reports place graphs", markup=False)
    for name, price in (*profile.prices, *profile.network):
        if price is not None:
            low, high = price.bounds_picojoules
            span = f" ({low:g} to {high:g})" if low != high else ""
            console.print(f"  {name:14} {price.picojoules:g} pJ{span}  [dim]{escape(price.note)}[/dim]")
    if profile.load_limit is not None:
        limit = profile.load_limit
        most = f"{limit.synops_per_second:g} SynOps/s a {limit.of}"
        console.print(f"  at most        {most}  [dim]{escape(limit.source)}[/dim]")
    for conflict in profile.conflicts:
        console.print(f"  against it: {conflict}", markup=False)


def _print_header(report: Report, console: Console) -> None:
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


def _print_measures(report: Report, console: Console) -> None:
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
        console.print(cells.front_words(points) + "\n", highlight=False)


def _spread(report: Report) -> Table:
    table = new_table("Over the samples", ["Part", ""], ["Mean", "Median", "95 %", "Worst", "No."])
    for system in report.systems:
        table.add_row(f"[bold]{escape(system.label)}[/bold]")
        name = report.main.name
        for part in system.parts:
            if name in part.energy:
                table.add_row(f"  {escape(part.name)}", "uJ", *_energy_row(part.energy[name]))
            table.add_row(
                "" if name in part.energy else f"  {escape(part.name)}", "SynOps", *_row(part.synops)
            )
        if name in system.energy:
            table.add_row("  [bold]all[/bold]", "uJ", *_energy_row(system.energy[name]))
        table.add_row("", "SynOps", *_row(system.synops))
    return table


def _energy_row(energy: Energy) -> list[str]:
    digits = cells.digits([energy])
    rest = (energy.median_uj, energy.p95_uj, energy.worst_uj)
    figures = [cells.bounded(energy, value, digits) for value in rest]
    return [cells.energy(energy, digits), *figures, str(energy.worst_sample)]


def _row(one: Spread) -> list[str]:
    figures = [numbers.count(round(value)) for value in (one.mean, one.median, one.p95, one.worst)]
    return [*figures, str(one.worst_sample)]


def _load(report: Report) -> Table:
    heads, bars = ["Mean", "95 %", "Worst", "Busiest", "Limit", "Share"], 10
    if report.profile.load_limit is None:
        heads, bars = heads[:-2], 15
    table = new_table("Load, SynOps a second", ["Part"], heads)
    table.add_column("Over time", no_wrap=True)
    for part in _by_system(table, report):
        load = part.load
        row = [numbers.per_second(value) for value in (load.mean, load.p95, load.worst, load.busiest_step)]
        if report.profile.load_limit is not None:
            row += [cells.limit(load), numbers.share(load.share)]
        course = "" if part.over_time is None else cells.course(part.over_time.synops, width=bars)
        table.add_row(f"  {escape(part.name)}", *row, course)
    return table


def _memory(report: Report) -> Table:
    table = new_table("Memory in use", ["Part"], ["Weights", "States", "Activations", "All"])
    for part in _by_system(table, report):
        row = [cells.size(part.memory.stores[store]) for store in Store]
        table.add_row(f"  {escape(part.name)}", *row, numbers.in_bytes(part.memory.bytes))
    return table
