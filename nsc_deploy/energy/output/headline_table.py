"""The first block of a report: what each system takes, a column a system, in one screen of a terminal."""

from collections.abc import Callable, Sequence

from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.numbers import MISSING
from nsc_deploy.energy.report.quantity import Figure, Headline, Quantity
from nsc_deploy.energy.report.schema import Report, SystemReport
from nsc_deploy.energy.report.tabular import Holds, Row, Table, columns
from nsc_deploy.graphs.network import SPIKING
from nsc_deploy.io.text import counted

_MOST_NAMES = 4
SIDE_BY_SIDE = 3
"""Systems that one screen of a terminal holds beside each other."""
_Say = Callable[[Headline], str]


def headline_tables(report: Report) -> list[Table]:
    """The systems of a report, as many beside each other as a screen holds."""
    groups = (
        report.systems[start : start + SIDE_BY_SIDE] for start in range(0, len(report.systems), SIDE_BY_SIDE)
    )
    return [_table(group) for group in groups]


def reasons(report: Report) -> list[str]:
    """Why a figure is missing or a lower bound, and what keeps a system from fitting; each once."""
    found: dict[str, None] = {}
    for system in report.systems:
        # What does not fit comes first: a terminal shows one reason.
        figures = sorted(system.headline.figures.items(), key=lambda one: one[0] is not Quantity.FITS)
        for quantity, figure in figures:
            unplaced = figure.worst is None and quantity in _OF_TARGETS
            placeless = unplaced and not figure.not_published
            if figure.why and not placeless:
                label = f"{system.label}, " if len(report.systems) > 1 else ""
                found[f"{label}{_SHORT.get(quantity, quantity)}: {figure.why}"] = None
    return list(found)


def energy_words(report: Report) -> list[str]:
    """What the energies of the first block stand on: prices of operations, or cycles of a microcontroller.

    None of a system whose energy cannot be told.
    """
    systems: dict[str, list[SystemReport]] = {}
    for system in report.systems:
        if system.headline[Quantity.ENERGY].worst is not None:
            systems.setdefault(system.headline[Quantity.ENERGY].basis, []).append(system)
    return [
        f"Energy{' of ' + ', '.join(one.label for one in some) if len(systems) > 1 else ''}: "
        f"{basis or report.main.title.lower()}{_first_samples(some)}."
        for basis, some in systems.items()
    ]


def _first_samples(systems: Sequence[SystemReport]) -> str:
    """Of how many samples energies are, where not of all that were counted."""
    few = [(one.label, one.headline[Quantity.ENERGY].of_samples) for one in systems]
    told = [
        f"{label} {count}" if len(systems) > 1 else f"{count}" for label, count in few if count is not None
    ]
    return f"; of the first samples: {', '.join(told)}" if told else ""


def memory_words(report: Report) -> str:
    """What the memory is of; empty where it is what cores hold, or not known."""
    bits = report.profile.operand_bits
    values = "" if bits is None else f"values of {bits} bits"
    placed = [part.on_target for one in report.systems for part in one.parts]
    if any(one is not None and one.memory for one in placed):
        refused = any(one is not None and not (one.memory or one.on_host or one.fits) for one in placed)
        rest = refused or any(one.headline[Quantity.FITS].left_out for one in report.systems)
        return f"Memory: of C code its flash and RAM{f', of the rest {values}' if rest and values else ''}."
    if any(one.headline[Quantity.FLASH].worst is not None for one in report.systems):
        return "Memory: of C code its flash and RAM."
    return f"Memory: {values}." if values else ""


def fit_words(report: Report) -> str:
    """Which parts run on a host beside those on a target, or that all do; empty where none does."""
    places = [part.on_target for one in report.systems for part in one.parts]
    if places and all(one is not None and one.on_host for one in places):
        return f"All parts run on a host, none on {report.target}."
    beside = dict.fromkeys(name for one in report.systems for name in one.headline[Quantity.FITS].left_out)
    return f"* On a host: {', '.join(beside)}." if beside else ""


def _table(systems: Sequence[SystemReport]) -> Table:
    lines = [(name, [say(one.headline) for one in systems]) for name, say in _rows()]
    rows = tuple(Row((name, *cells)) for name, cells in lines if any(cell != MISSING for cell in cells))
    floats = [(one.label, one.float_graph) for one in systems if one.float_graph is not None]
    notes = [
        f"Integers of {label} as they run; their float graph: {numbers.amount(graph.synops.mean)} SynOps."
        for label, graph in floats
    ]
    read = dict.fromkeys(words for one in systems for words in one.headline.arrays)
    notes += [f"Array read {words}." for words in read]
    notes += [words for one in systems if (words := _silence(one, alone=len(systems) == 1))]
    heads = (*columns("", holds=Holds.NAMES), *columns(*(one.label for one in systems)))
    return Table("", heads, rows, "\n".join(notes))


def _silence(system: SystemReport, *, alone: bool) -> str:
    """Which spiking layers never fire, for what they cost and what stands behind them is then no measure."""
    silent = [
        layer.name
        for part in system.parts
        if part.spiking and "spikes" not in part.unknown
        for layer in part.layers
        if layer.primitive in SPIKING and not layer.counts.spikes
    ]
    if not silent:
        return ""
    which = ", ".join(silent[:_MOST_NAMES]) + (" and others" if len(silent) > _MOST_NAMES else "")
    return f"No neuron of {which}{'' if alone else f' ({system.label})'} fires in any sample."


def _rows() -> list[tuple[str, _Say]]:
    return [
        ("Samples", lambda one: numbers.amount(one.samples)),
        ("Steps", lambda one: f"{one.steps} of {one.dt * 1000:g} ms"),
        ("SynOps, mean", lambda one: _mean(one[Quantity.SYNOPS_PER_INFERENCE])),
        ("SynOps, worst", lambda one: _worst(one[Quantity.SYNOPS_PER_INFERENCE])),
        ("Busiest step", lambda one: _worst(one[Quantity.SYNOPS_PER_STEP])),
        ("  sample, step", lambda one: _where(one[Quantity.SYNOPS_PER_STEP])),
        ("SynOps/s, worst", lambda one: _worst(one[Quantity.SYNOPS_PER_SECOND], numbers.per_second)),
        ("Energy, mean", lambda one: _microjoules(_mean(one[Quantity.ENERGY], numbers.microjoules))),
        ("Energy, worst", lambda one: _microjoules(_worst(one[Quantity.ENERGY], numbers.microjoules))),
        ("Memory", lambda one: _mean(one[Quantity.MEMORY], lambda value: numbers.in_bytes(round(value)))),
        ("Neurons", lambda one: _mean(one[Quantity.NEURONS])),
        ("Synapses", lambda one: numbers.amount(one.synapses)),
        ("Fits", _fits),
        ("Cores", lambda one: _mean(one[Quantity.CORES])),
        ("Flash", lambda one: _mean(one[Quantity.FLASH], lambda value: numbers.in_bytes(round(value)))),
        ("RAM", lambda one: _mean(one[Quantity.RAM], lambda value: numbers.in_bytes(round(value)))),
        ("Latency", _latency),
        ("Accuracy", lambda one: _mean(one[Quantity.ACCURACY], lambda value: f"{numbers.percent(value)} %")),
    ]


def _mean(figure: Figure, say: Callable[[float], str] = numbers.amount) -> str:
    """A mean; a lower bound says so, and of bounds there are two."""
    if figure.mean is None or (figure.lower_bound and not figure.mean):
        return MISSING
    low = "" if figure.low is None else f"{say(figure.low.mean)} to "
    return f"{'> ' if figure.lower_bound else ''}{low}{say(figure.mean)}"


def _worst(figure: Figure, say: Callable[[float], str] = numbers.amount) -> str:
    """The worst of the samples; a lower bound says so, and of bounds there are two."""
    if figure.worst is None or (figure.lower_bound and not figure.worst):
        return MISSING
    low = "" if figure.low is None else f"{say(figure.low.worst)} to "
    return f"{'> ' if figure.lower_bound else ''}{low}{say(figure.worst)}"


def _where(figure: Figure) -> str:
    """The sample that is worst, and its step."""
    return MISSING if figure.sample is None or figure.step is None else f"{figure.sample}, {figure.step}"


def _fits(one: Headline) -> str:
    figure = one[Quantity.FITS]
    if figure.worst is None:
        return f"{one.target}: not published" if figure.not_published else MISSING
    return f"{one.target}: {'yes' if figure.worst else 'no'}{' *' if figure.left_out else ''}"


def _latency(one: Headline) -> str:
    steps, time = one[Quantity.LATENCY_STEPS], one[Quantity.LATENCY_MS]
    if steps.worst is None or time.worst is None:
        return MISSING
    return (
        f"{counted(int(steps.worst), 'step')}, {'> ' if time.lower_bound else ''}{_milliseconds(time.worst)}"
    )


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 1000 else f"{value:.4g} ms"


def _microjoules(words: str) -> str:
    return words if words == MISSING else f"{words} uJ"


_OF_TARGETS = frozenset({Quantity.FITS, Quantity.CORES, Quantity.FLASH, Quantity.RAM})
"""What some targets have and others have not, which is no news."""
_SHORT = {
    Quantity.SYNOPS_PER_STEP: "busiest step",
    Quantity.ENERGY: "energy",
    Quantity.MEMORY: "memory",
    Quantity.LATENCY_STEPS: "latency",
    Quantity.LATENCY_MS: "latency",
    Quantity.CORES: "cores",
    Quantity.FLASH: "flash",
    Quantity.RAM: "RAM",
    Quantity.ACCURACY: "accuracy",
    Quantity.FITS: "fit",
}
