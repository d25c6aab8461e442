"""The tables of a report, each made once, for the terminal, the page and notebooks."""

import math
from collections.abc import Callable, Mapping, Sequence

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.pricing.profile import Price, Profile
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.break_even import BreakEven, words_of_layer
from nsc_deploy.energy.report.numbers import MISSING
from nsc_deploy.energy.report.schema import Counts, PartReport, Report, SystemReport
from nsc_deploy.energy.report.statistics import Energy, FrontPoint, Kept, Load, Spread, StoreUse
from nsc_deploy.energy.report.tabular import Holds, Medium, Row, Table, TableColumn, columns

_PARTS = columns("Part", holds=Holds.NAMES)
_MAIN_KINDS = {Kind.AC: "AC", Kind.MAC: "MAC", Kind.NEURON_UPDATE: "Updates", Kind.SPIKE: "Spikes"}
_WORST = "No.: the worst sample of the recording, counted from 0."
_WITHOUT_LIMIT, _WITH_LIMIT = 15, 10
"""Signs of a course over time, beside the columns of a limit or without them."""


def files_table(report: Report) -> Table:
    """What was counted: the graph and the recording of each part."""

    def row(part: PartReport) -> tuple[str, ...]:
        files = (f"  {part.graph}", part.graph_sha256[:8], part.recording, part.recording_sha256[:8])
        return *files, str(part.steps), f"{part.dt * 1000:g}", str(part.samples)

    heads = columns("Graph", "SHA-256", "Inputs", "SHA-256", holds=Holds.NAMES)
    return Table("Counted", (*heads, *columns("Steps", "ms", "Samples")), _by_part(report.systems, row))


_ITEMS = {"radio_uj": "Radio\nuJ", "addressing_uj": "Address.\nuJ", "static_uj": "Static\nuJ"}
"""Items that stand in no column, where the profile prices them."""


def systems_table(report: Report) -> Table:
    """Systems side by side in each accounting; on a page the two ends of each link too."""
    digits = numbers.digits(_all_sides(report))
    items = [name for name in _ITEMS if any(getattr(one, name) is not None for one in report.systems)]
    rows = []
    for system in report.systems:
        known: tuple[str, ...] = (
            numbers.percent(system.accuracy),
            numbers.snr(system.snr_db, system.snr_to_db),
            MISSING if system.channel_uses is None else numbers.count(system.channel_uses),
        )
        known += tuple(_item(getattr(system, name), digits) for name in items)
        rows.append(Row((system.label, *known, *_energies(report, system.energy, digits)), "system"))
        rows += [
            Row((f"  {side}", *[""] * len(known), *_energies(report, energy, digits)), "side", Medium.PAGE)
            for side, energy in system.sides.items()
        ]
    facts = columns("Acc\n%", "SNR\ndB", "Channel\nuses", *(_ITEMS[name] for name in items))
    heads = (*columns("\nSystem", holds=Holds.NAMES), *facts, *_energy_columns(report))
    profile = report.profile
    note = (
        f"uJ for one sample, mean of {_samples(report)}. "
        f"Prices: {profile.title} ({profile.name}, {profile.basis}). '>' marks a lower bound."
    )
    words = _trained_words(report)
    return Table("Energy of a sample", heads, tuple(rows), f"{note}\n{words}" if words else note)


def _samples(report: Report) -> str:
    """How many samples means are of; of each system where they differ."""
    numbers_of = {system.samples for system in report.systems}
    if len(numbers_of) == 1:
        return str(report.systems[0].samples)
    return ", ".join(f"{system.samples} ({system.label})" for system in report.systems)


def _item(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:.{digits}f}"


def has_ratios(report: Report) -> bool:
    """Whether there is a system to set beside the first, or the poster's."""
    return len(report.systems) > 1 or bool(report.poster_note)


def _trained_words(report: Report) -> str:
    """What the bit-matched network reaches and takes where it was trained; nothing where it was not."""
    lines = []
    for one in report.trained_opponents:
        reached = "an accuracy nobody measured" if one.accuracy is None else f"{one.accuracy:.1%}"
        takes = "an energy without price" if one.energy_uj is None else f"{_uj(one.energy_uj)} with memory"
        receiver = "" if one.receiver_uj is None else f", its receiver {_uj(one.receiver_uj)}"
        lines.append(f"The bit-matched ANN, trained: {one.system} reaches {reached} at {takes}{receiver}.")
    return "\n".join(lines)


def _uj(value: float) -> str:
    return f"{numbers.microjoules(value)} uJ"


def ratio_table(report: Report) -> Table:
    """Energies over those of the first system, and the poster's; on a page those of the receivers too."""
    rows = []
    for system in report.systems:
        ratios = [system.ratio[column.name] for column in report.columns]
        poster = (MISSING, MISSING)
        if system.poster is not None:
            poster = f"{system.poster.energy_uj:.2f}", numbers.ratio(system.poster.ratio)
        shown = poster if report.poster_note else ()
        rows.append(Row((system.label, *(numbers.ratio(one.system) for one in ratios), *shown), "system"))
        if any(one.receiver is not None for one in ratios):
            receivers = (numbers.ratio(one.receiver) for one in ratios)
            rows.append(Row(("  receiver", *receivers, *("" for _ in shown)), "side", Medium.PAGE))
    heads = [f"{column.short}\nratio" for column in report.columns]
    heads += ["Poster\nuJ", "\nratio"] if report.poster_note else []
    first = report.systems[0]
    named = (*columns("\nSystem", holds=Holds.NAMES), *columns(*heads))
    return Table(f"Ratio to {first.label}", named, tuple(rows))


def operations_table(report: Report) -> Table:
    """The main kinds of operation, part by part."""

    def row(part: PartReport) -> tuple[str, ...]:
        return _placed_name(part), *(numbers.count(getattr(part.counts, kind)) for kind in _MAIN_KINDS)

    heads = (*_PARTS, *columns(*_MAIN_KINDS.values()))
    return Table("Operations by part", heads, _by_part(report.systems, row))


def energy_table(report: Report) -> Table:
    """Each accounting, part by part."""
    digits = numbers.digits(_all_sides(report))

    def row(part: PartReport) -> tuple[str, ...]:
        return _placed_name(part), *_energies(report, part.energy, digits)

    heads = (*columns("\nPart", holds=Holds.NAMES), *_energy_columns(report))
    return Table("Energy by part", heads, _by_part(report.systems, row))


def spread_table(report: Report, systems: Sequence[SystemReport]) -> Table:
    """Energy and synaptic operations over the samples; on a page the energy, and what its prices may add."""
    main, ranged = report.main.name, _has_ranges(report.profile)
    rows: list[Row] = []
    for system in systems:
        rows.append(group(system))
        for name, energy, synops, style in (
            *((part.name, part.energy.get(main), part.synops, "") for part in system.parts),
            ("all", system.energy.get(main), system.synops, "total"),
        ):
            if energy is not None:
                rows.append(Row((f"  {name}", "uJ", *_energy_spread(energy, ranged=ranged)), style))
            first = "" if energy is not None else f"  {name}"
            rows.append(Row((first, "SynOps", *_spread(synops, ranged=ranged)), style, Medium.TERMINAL))
    heads = (
        *_PARTS,
        *columns("", holds=Holds.NAMES, only=Medium.TERMINAL),
        *columns("Mean"),
        *columns(*(("Low price", "High price") if ranged else ()), only=Medium.PAGE),
        *columns("Median", "95 %", "Worst", "No."),
    )
    return Table(f"Over the samples (energy: {report.main.title.lower()})", heads, tuple(rows), _WORST)


def load_table(report: Report, systems: Sequence[SystemReport]) -> Table:
    """Synaptic operations a second, against the limit of the device where the profile states one."""
    limited = report.profile.load_limit is not None

    def row(part: PartReport) -> tuple[str, ...]:
        load = part.load
        loads = (load.mean, load.p95, load.worst, load.busiest_step, load.worst_step)
        # As in the tables of operations: nothing at all has a dash.
        rates = (numbers.per_second(one or None) for one in loads)
        limit = (_limit(load), numbers.share(load.share)) if limited else ()
        signs = _WITH_LIMIT if limited else _WITHOUT_LIMIT
        course = numbers.course(part.over_time.synops, width=signs) if part.over_time and load.worst else ""
        return f"  {part.name}", *rates, *limit, course

    heads = columns(
        "Mean", "95 %", "Worst", "Busiest\nstep", "Worst\nstep", *(("Limit", "Share") if limited else ())
    )
    course = columns("Over time", only=Medium.TERMINAL, rank=1)
    limit = report.profile.load_limit
    words = f"Limit: {limit.source}" if limit else f"{report.profile.name} states no limit."
    note = f"Busiest step: mean of the samples; worst step: of any sample. {words}"
    return Table("Load, SynOps a second", (*_PARTS, *heads, *course), _by_part(systems, row), note)


def memory_table(systems: Sequence[SystemReport]) -> Table:
    """What each part keeps."""

    def row(part: PartReport) -> tuple[str, ...]:
        stores = (_size(part.memory.stores[store]) for store in Store)
        return f"  {part.name}", *stores, numbers.in_bytes(part.memory.bytes)

    heads = columns("Weights", "States", "Activations", "All")
    return Table("Memory in use", (*_PARTS, *heads), _by_part(systems, row))


def layer_table(report: Report, system: SystemReport, part: PartReport) -> Table:
    """What each layer of a part is, counts and takes."""
    kinds = _occurring(part)
    others = [kind for kind in kinds if kind not in _MAIN_KINDS]
    heads = (
        *columns("Layer", holds=Holds.NAMES),
        *columns("Primitive", "Receives", holds=Holds.NAMES, rank=3),
        *columns("Neurons", only=Medium.PAGE),
        *columns("Synapses", rank=3),
        *(
            TableColumn(_MAIN_KINDS[kind], rank=1)
            if kind in _MAIN_KINDS
            else TableColumn(numbers.KIND_NAMES[kind], only=Medium.PAGE)
            for kind in kinds
        ),
        *columns(*(["Other"] if others else ()), only=Medium.TERMINAL, rank=2),
        *_energy_columns(report),
    )

    def row(
        words: tuple[str, ...], sizes: tuple[int, ...], counts: Counts, energy: Mapping[str, Energy]
    ) -> tuple[str, ...]:
        return (
            *words,
            *map(numbers.count, sizes),
            *(numbers.count(getattr(counts, kind)) for kind in kinds),
            *([numbers.count(sum(getattr(counts, kind) for kind in others))] if others else ()),
            *(
                numbers.energy(energy.get(column.name), _layer_digits(part, column.name))
                for column in report.columns
            ),
        )

    layers = [
        Row(row((one.name, one.primitive, one.arrives), (one.neurons, one.synapses), one.counts, one.energy))
        for one in part.layers
    ]
    neurons = sum(one.neurons for one in part.layers)
    total = row(("Sum", "", ""), (neurons, part.synapses), part.counts, part.energy)
    title = f"{system.label}: {part.name} ({part.graph})"
    return Table(title, heads, (*layers, Row(total, "total", Medium.PAGE)))


def access_table(part: PartReport) -> Table:
    """Reads and writes of each layer, and what it keeps."""
    rows = []
    for layer in part.layers:
        moved = layer.accesses
        weights, states, activations = (_kept(layer.kept[store]) for store in Store)
        shown = (
            *(numbers.count(moved.weight_reads), weights),
            *(numbers.count(moved.state_reads), numbers.count(moved.state_writes), states),
            *(numbers.count(moved.activation_reads), numbers.count(moved.activation_writes), activations),
        )
        rows.append(Row((layer.name, *shown)))
    heads = ("Weight\nreads", "kept", "State\nreads", "writes", "kept", "Activation\nreads", "writes", "kept")
    return Table("", (*columns("Layer", holds=Holds.NAMES), *columns(*heads)), tuple(rows))


def break_even_table(system: SystemReport, *, layers: bool = True) -> Table:
    """Each layer that events enter, with its neurons, against the bit-matched ANN."""
    rows = [(f"{part.name}/{even.layer}", even, "") for part in system.parts for even in part.break_even]
    whole = [] if system.break_even is None else [("Whole system", system.break_even, "total")]
    heads = (
        *columns("\nLayer and its neurons", holds=Holds.NAMES),
        *columns("Rate\n%"),
        *columns("Break-even\nrate, %", only=Medium.PAGE),
        *columns("Spiking\nuJ", "Fixed\nuJ", "ANN\nuJ"),
        *columns("\nCheaper", only=Medium.PAGE),
        *columns("\nThe spiking layer", holds=Holds.SENTENCES),
    )
    shown = tuple(
        Row(
            (
                name,
                numbers.rate(even.rate),
                _even_rate(even),
                numbers.microjoules(even.spiking_uj),
                numbers.microjoules(even.fixed_uj),
                _opponent(even),
                _verdict(even),
                words_of_layer(even),
            ),
            style,
        )
        for name, even, style in (*(rows if layers else ()), *whole)
    )
    return Table(f"{system.label}: against the bit-matched ANN, both with memory", heads, shown)


def against_table(report: Report, system: SystemReport) -> Table:
    """For each accounting, what the events would have to do for the system to lose or to win."""
    titles = {column.name: column.title for column in report.columns}
    heads = (
        *columns("Accounting", "In words", holds=Holds.SENTENCES),
        *columns("times the events", only=Medium.PAGE),
    )
    rows = tuple(Row((titles[one.column], one.words, numbers.ratio(one.factor))) for one in system.against)
    return Table(f"What would have to change for {system.label} to lose", heads, rows)


def price_table(profile: Profile) -> Table:
    """Every price of a profile: by the field of its file in a terminal, in words on a page."""
    operations = type(profile.prices).model_fields
    named = (
        *((name, operations[name].description or name, price) for name, price in profile.prices),
        *((name, f"network: {name.replace('_', ' ')}", price) for name, price in profile.network),
        *((one.name, f"{one.name}, {one.word_bits} bits", one.access) for one in profile.memories),
        ("cycle", "one cycle of the core", None if profile.core is None else profile.core.cycle),
    )
    rows = tuple(
        Row((name, words, f"{price.picojoules:g} pJ", _range(price), price.note))
        for name, words, price in named
        if price is not None
    )
    heads = (
        *columns("Price of", holds=Holds.NAMES, only=Medium.TERMINAL),
        *columns("Operation", holds=Holds.NAMES, only=Medium.PAGE),
        *columns("Price", "Range"),
        *columns("Note", holds=Holds.SENTENCES),
    )
    return Table("Prices", heads, rows)


def front_words(points: Sequence[FrontPoint]) -> str:
    """Which systems are worth having, in one or two sentences."""
    winners = ", ".join(point.system for point in points if point.on_front)
    beaten = [f"{point.system} (by {point.beaten_by[0]})" for point in points if not point.on_front]
    words = f"On the Pareto front, that no other is as accurate at less energy: {winners}."
    words += f" Beaten: {', '.join(beaten)}." if beaten else ""
    return f"{words} {_kinds_of_accuracy(points)}".rstrip()


def _kinds_of_accuracy(points: Sequence[FrontPoint]) -> str:
    """That accuracies are of different kinds, and of which; nothing where all are of one."""
    kinds: dict[str, list[str]] = {}
    for point in points:
        kinds.setdefault(point.accuracy_of, []).append(point.system)
    if len(kinds) < 2:
        return ""
    told = "; ".join(f"{', '.join(systems)} of {kind}" for kind, systems in kinds.items())
    return f"Accuracies of different kinds, which say little of each other: {told}."


def has_opponent(report: SystemReport) -> bool:
    """Whether the profile has prices for the bit-matched ANN of any layer."""
    layers = [even for part in report.parts for even in part.break_even]
    return any(even is not None and even.opponent_uj for even in (report.break_even, *layers))


def _all_sides(report: Report) -> list[Energy]:
    """Every energy of the table of systems."""
    rows = [row for system in report.systems for row in (system.energy, *system.sides.values())]
    return [energy for row in rows for energy in row.values()]


def _occurring(part: PartReport) -> list[Kind]:
    """Kinds of operation that occur in a part."""
    return [kind for kind in Kind if getattr(part.counts, kind.value)]


def _layer_digits(part: PartReport, column: str) -> int:
    """Decimals for the energies of the layers of a part in one column: a thousandth of their sum shows."""
    whole = part.energy.get(column)
    if whole is None or not whole.mean_uj:
        return 2
    exponent = math.floor(math.log10(whole.mean_uj))
    return min(6, 3 - exponent) if exponent < 0 else max(0, min(3, 4 - exponent))


def _even_rate(even: BreakEven) -> str:
    """The rate at which a layer breaks even."""
    return "never" if even.factor == 0 else numbers.rate(even.break_even_rate)


def _opponent(even: BreakEven) -> str:
    """What the opponent costs; nothing is free, so 0 says that the profile has no price for it."""
    return numbers.microjoules(even.opponent_uj) if even.opponent_uj else MISSING


def _verdict(even: BreakEven) -> str:
    """Who wins at the rate of now, and by how much."""
    if even.factor is None:
        return MISSING
    winner = "spiking" if even.spiking_uj < even.opponent_uj else "ANN"
    low, high = sorted((even.spiking_uj, even.opponent_uj))
    return f"{winner} {high / low:.1f}x" if low else winner


def _kept(value: Kept) -> str:
    """What a layer keeps, and where."""
    if not value.values:
        return MISSING
    full = "" if value.share is None else f" ({numbers.share(value.share)})"
    return f"{_size(value)} in {value.memory}{full}" if value.memory else _size(value)


def _size(value: StoreUse) -> str:
    """Bytes, or the number of values where a profile does not say how wide they are."""
    if not value.values:
        return MISSING
    return f"{numbers.count(value.values)} values" if value.bytes is None else numbers.in_bytes(value.bytes)


def _limit(load: Load) -> str:
    """The limit a load is held against."""
    return MISSING if load.limit is None else f"{numbers.per_second(load.limit)} a {load.limit_of}"


def _has_ranges(profile: Profile) -> bool:
    """Whether any price of a profile is a range."""
    prices = [price for _, price in profile.prices if price is not None]
    return any(low != high for low, high in (price.bounds_picojoules for price in prices))


def in_picojoules(price: Price | None) -> str:
    """A price in pJ."""
    return MISSING if price is None else f"{price.picojoules:g}"


def _range(price: Price) -> str:
    low, high = price.bounds_picojoules
    return MISSING if low == high else f"{low:g} to {high:g}"


def _by_part(
    systems: Sequence[SystemReport], row: Callable[[PartReport], tuple[str, ...]]
) -> tuple[Row, ...]:
    """A row a part, in a terminal below the name of its system: a page has a chapter for each."""
    return tuple(
        one for system in systems for one in (group(system), *(Row(row(part)) for part in system.parts))
    )


def group(system: SystemReport) -> Row:
    """The row with the name of a system, above its parts."""
    return Row((system.label,), "group", Medium.TERMINAL)


def _placed_name(part: PartReport) -> str:
    return f"  {part.name}" + (f" {part.place}" if part.place else "")


def _energy_columns(report: Report) -> tuple[TableColumn, ...]:
    return columns(*(f"{column.short}\nuJ" for column in report.columns))


def _energies(report: Report, energy: Mapping[str, Energy], digits: int) -> list[str]:
    return [numbers.energy(energy.get(column.name), digits) for column in report.columns]


def _energy_spread(energy: Energy, *, ranged: bool) -> list[str]:
    digits = numbers.digits([energy])
    bounds = (energy.low_uj, energy.high_uj) if ranged else ()
    rest = (*bounds, energy.median_uj, energy.p95_uj, energy.worst_uj)
    figures = (numbers.bounded(energy, value, digits) for value in rest)
    return [numbers.energy(energy, digits), *figures, str(energy.worst_sample)]


def _spread(one: Spread, *, ranged: bool) -> list[str]:
    mean, *rest = (numbers.amount(round(value)) for value in (one.mean, one.median, one.p95, one.worst))
    return [mean, *(("", "") if ranged else ()), *rest, str(one.worst_sample)]
