"""The report as HTML: one file that needs nothing from outside and prints well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.output import chip_tables, headline_table, link_tables, tables
from nsc_deploy.energy.pricing.price import Charged
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.definitions import basis_words
from nsc_deploy.energy.report.numbers import KIND_NAMES, binned, count, energy, microjoules
from nsc_deploy.energy.report.schema import PartReport, Report, SystemReport
from nsc_deploy.energy.report.statistics import Energy, FrontPoint, OverTime

_CHARTED_LAYERS = 24


def render_html(report: Report) -> str:
    """The whole page as text."""
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["signs"] = numbers.with_signs
    return environment.get_template("report.html.j2").render(
        report=report,
        show=numbers,
        table=tables,
        headline=headline_table,
        chip=chip_tables,
        link=link_tables,
        kinds=_kinds(report),
        totals={column.name: _totals(report, column.name) for column in report.columns},
        front=report.fronts.get(report.main.name, ()),
        accuracy=accuracy_chart(report.fronts.get(report.main.name, ())),
        time_chart=time_chart,
        basis=basis_words(report.profile),
        layer_chart=lambda system: _layers(system, report.main.name),
    )


def _template(name: str) -> str:
    return resources.files("nsc_deploy.energy.output").joinpath(f"templates/{name}").read_text("utf-8")


def _kinds(report: Report) -> Sequence[tuple[str, str]]:
    """Names and colours of the kinds that any bar shows."""
    shown = {
        kind for system in report.systems for energy in system.energy.values() for kind in energy.kinds_uj
    }
    return [(numbers.KIND_NAMES[kind], COLOURS[kind]) for kind in COLOURS if kind in shown]


def _totals(report: Report, column: str) -> str:
    rows = [Bar(s.label, s.energy[column]) for s in report.systems if column in s.energy]
    return bars(rows, "Energy by system")


def _layers(system: SystemReport, column: str) -> str:
    rows = [
        Bar(f"{part.name} · {layer.name}", layer.energy[column])
        for part in system.parts
        for layer in part.layers
        if layer.energy[column].mean_uj > 0
    ]
    largest = sorted(rows, key=lambda row: -row.energy.mean_uj)[:_CHARTED_LAYERS]
    return bars([row for row in rows if row in largest], f"Energy by layer of {system.label}")


COLOURS: dict[Charged, str] = {
    Kind.AC: "#3b76af",
    Kind.MAC: "#d1495b",
    Kind.PRODUCT: "#8d5a97",
    Kind.ADDITION: "#8fb8ad",
    Kind.NEURON_UPDATE: "#e0a030",
    Kind.SPIKE: "#5b8c5a",
    Kind.ACTIVATION: "#999999",
    Store.WEIGHTS: "#9fb9d1",
    Store.STATES: "#e9cf9b",
    Store.ACTIVATIONS: "#c9cdd3",
}
WIDTH = 980
LABEL = 250
"""Room for labels at the left."""
_TOP, _CURVE, _STRIP = 8, 84, 18
_COLUMNS = 150
_RIGHT = 170


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: a label and the energy it shows."""

    label: str
    energy: Energy


def bars(rows: Sequence[Bar], title: str) -> str:
    """Stacked horizontal bars, one for each row, coloured by kind of operation."""
    most = max((row.energy.mean_uj for row in rows), default=0) or 1.0
    parts = [f'<div class="bars" role="img" aria-label="{escape(title, quote=True)}">']
    for row in rows:
        label = escape(row.label, quote=True)
        parts.append(f"<span>{label}</span><div>")
        for kind, value in row.energy.kinds_uj.items():
            told = f"{label}: {KIND_NAMES[kind]} {microjoules(value)} µJ"
            style = f"width: {100 * value / most:.3f}%; background: {COLOURS[kind]}"
            parts.append(f'<i style="{style}" title="{told}"></i>')
        parts.append(f"<b>{escape(energy(row.energy))}</b></div>")
    return "".join(parts) + "</div>"


def open_svg(height: int, title: str) -> str:
    """The beginning of a picture as wide as the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">'
    )


def shortened(label: str) -> str:
    """A label that fits beside a bar."""
    return label if len(label) <= 36 else label[:17] + "…" + label[-18:]


def accuracy_chart(points: Sequence[FrontPoint]) -> str | None:
    """Accuracy against energy of each system, energy on a logarithmic axis; None without two points.

    Systems on the Pareto front are filled circles joined by a line, the others are hollow.
    """
    points = [point for point in points if point.energy_uj > 0]
    if len(points) < 2:
        return None
    height, left, bottom, top = 310, 60, 40, 30
    decades = _decades([point.energy_uj for point in points])
    low, high = _percentages([100 * point.accuracy for point in points])

    def across(energy: float) -> float:
        share = (math.log10(energy) - decades[0]) / (decades[-1] - decades[0])
        return left + share * (WIDTH - left - 30)

    def up(accuracy: float) -> float:
        return height - bottom - (accuracy - low) / (high - low) * (height - bottom - top)

    parts = [open_svg(height, "Accuracy against energy")]
    right, floor = WIDTH - 30, height - bottom
    for tick in range(int(low), int(high) + 1, _tick(high - low)):
        y = up(tick)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for decade in decades:
        x = across(10.0**decade)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{floor}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{10.0**decade:g}</text>')
    parts.append(f'<text x="{WIDTH - 30}" y="{height - 6}" text-anchor="end">energy of one sample, µJ</text>')
    parts.append('<text x="4" y="12">accuracy, %</text>')
    places = [(point, across(point.energy_uj), up(100 * point.accuracy)) for point in points]
    parts.append(_stairs([(x, y) for point, x, y in places if point.on_front], right))
    parts += _labelled(places)
    return "".join(parts) + "</svg>"


def _stairs(front: Sequence[tuple[float, float]], right: float) -> str:
    """The front as stairs: what can be had for at most so much energy."""
    path = f"M{front[0][0]:.1f} {front[0][1]:.1f}"
    for x, y in front[1:]:
        path += f"H{x:.1f}V{y:.1f}"
    return f'<path d="{path}H{right}" fill="none" stroke="#3b76af" stroke-dasharray="4 4"/>'


def _labelled(places: Sequence[tuple[FrontPoint, float, float]]) -> list[str]:
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for point, x, y in places:
        anchor, gap = ("end", -10) if x > WIDTH * 0.7 else ("start", 10)
        # The line of the front runs above the systems that are not on it.
        text = _free_height(x, y - 8 if point.on_front else y + 16, taken)
        taken.append((x, text))
        place = f'x="{x + gap:.1f}" y="{text:.1f}" text-anchor="{anchor}"'
        form = 'fill="#3b76af"' if point.on_front else 'class="hollow"'
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" {form} stroke="#3b76af" stroke-width="1.5"/>'
        )
        parts.append(f'<text {place} class="value">{escape(point.system)}</text>')
    return parts


def _free_height(x: float, y: float, taken: Sequence[tuple[float, float]]) -> float:
    """The height nearest to y where a label beside x runs into none that is there already."""
    for shift in (0, -16, 16, -32, 32, -48, 48):
        if all(abs(x - other) > 190 or abs(y + shift - height) > 14 for other, height in taken):
            return y + shift
    return y


def _decades(energies: Sequence[float]) -> list[int]:
    low = math.floor(math.log10(min(energies)))
    high = math.ceil(math.log10(max(energies)))
    return list(range(low, max(high, low + 1) + 1))


def _percentages(accuracies: Sequence[float]) -> tuple[float, float]:
    """A range of whole tens around the accuracies, for axes that do not make one point look like ten."""
    low = 10 * math.floor(min(accuracies) / 10)
    return float(max(0, min(low, 90))), 100.0


def _tick(span: float) -> int:
    return 2 if span <= 10 else 5 if span <= 30 else 10 if span <= 60 else 20


def time_chart(part: PartReport) -> str | None:
    """Bars of the synaptic operations of each step, and below them one strip for each layer that fires.

    A strip is as dark as its neurons fire: full at the highest rate of any layer of the part. More than
    150 steps are put together. None for a part whose steps cannot be told apart.
    """
    if part.over_time is None:
        return None
    firing = [
        (layer.name, [value / max(layer.neurons, 1) for value in binned(layer.spikes_over_time, _COLUMNS)])
        for layer in part.layers
        if layer.spikes_over_time is not None
    ]
    floor = _TOP + _CURVE
    height = floor + 26 + _STRIP * len(firing) + 22
    top_rate = max((max(rates) for _, rates in firing), default=0.0) or 1.0
    parts = [open_svg(height, f"Activity over time of {part.name}"), *_bars(part.over_time, floor)]
    for index, (name, rates) in enumerate(firing):
        parts += _strip(name, rates, top_rate, floor + 26 + _STRIP * index)
    return "".join([*parts, *_time_axis(part, height)]) + "</svg>"


def _bars(course: OverTime, floor: int) -> list[str]:
    values = binned(course.synops, _COLUMNS)
    top = max(values) or 1.0
    mean = sum(course.synops) / len(course.synops)
    parts = [_text(LABEL - 10, floor - _CURVE / 2, "SynOps a step", "end")]
    width = _room() / len(values)
    for index, value in enumerate(values):
        tall = _CURVE * value / top
        parts.append(
            f'<rect x="{LABEL + index * width:.1f}" y="{floor - tall:.1f}" width="{max(width - 1, 0.5):.2f}" '
            f'height="{tall:.1f}" fill="#9fb9d1"><title>{count(value)} SynOps</title></rect>'
        )
    level = floor - _CURVE * mean / top
    right = WIDTH - _RIGHT
    parts.append(
        f'<line x1="{LABEL}" x2="{right}" y1="{level:.1f}" y2="{level:.1f}" stroke="#3b76af" '
        'stroke-dasharray="3 3"/>'
    )
    parts.append(_text(right + 8, _TOP + 10, f"at most {count(round(max(course.synops)))}"))
    parts.append(_text(right + 8, max(level + 4, _TOP + 26), f"mean {count(round(mean))}"))
    return parts


def _strip(name: str, rates: Sequence[float], top: float, y: float) -> list[str]:
    """One layer: how large a share of its neurons fires in each step."""
    parts = [_text(LABEL - 10, y + 11, f"{shortened(name)} fires", "end")]
    width = _room() / len(rates)
    for index, rate in enumerate(rates):
        parts.append(
            f'<rect x="{LABEL + index * width:.1f}" y="{y:.1f}" width="{width + 0.3:.2f}" '
            f'height="{_STRIP - 4}" fill="#3b76af" fill-opacity="{0.04 + 0.96 * rate / top:.3f}">'
            f"<title>{100 * rate:.2g} % of the neurons</title></rect>"
        )
    mean = sum(rates) / len(rates)
    told = f"{100 * mean:.2g} % a step, at most {100 * max(rates):.2g}"
    return [*parts, _text(WIDTH - _RIGHT + 8, y + 11, told)]


def _time_axis(part: PartReport, height: int) -> list[str]:
    end = part.steps * part.dt * 1000
    marks = ((LABEL, "start", "0"), (WIDTH - _RIGHT, "end", f"{end:g} ms ({part.steps} steps)"))
    return [_text(x, height - 6, words, anchor) for x, anchor, words in marks]


def _room() -> int:
    return WIDTH - LABEL - _RIGHT


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
