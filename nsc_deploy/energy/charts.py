"""Pictures of a report as small SVG texts that need nothing from outside."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nsc_deploy.energy.counts import Kind
from nsc_deploy.energy.formatting import KIND_NAMES, microjoules
from nsc_deploy.energy.formatting import energy as energy_text
from nsc_deploy.energy.pricing import Charged
from nsc_deploy.energy.report import Energy, Report
from nsc_deploy.energy.traffic import Store

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
_WIDTH = 980
_LABEL = 250
_ROW = 24


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: a label and the energy it shows."""

    label: str
    energy: Energy


def bars(rows: Sequence[Bar], title: str) -> str:
    """Stacked horizontal bars, one for each row, coloured by kind of operation."""
    most = max((row.energy.mean_uj for row in rows), default=0) or 1.0
    room = _WIDTH - _LABEL - 90
    parts = [_open(_ROW * len(rows) + 8, title)]
    for index, row in enumerate(rows):
        y = index * _ROW + 4
        label = escape(_short(row.label))
        parts.append(f'<text x="{_LABEL - 10}" y="{y + 13}" text-anchor="end">{label}</text>')
        x = float(_LABEL)
        for kind, value in row.energy.kinds_uj.items():
            width = room * value / most
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{width:.2f}" height="{_ROW - 7}" fill="{COLOURS[kind]}">'
                f"<title>{escape(row.label)}: {KIND_NAMES[kind]} {microjoules(value)} µJ</title></rect>"
            )
            x += width
        figure = energy_text(row.energy)
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 13}" class="value">{escape(figure)}</text>')
    return "".join(parts) + "</svg>"


def accuracy_chart(report: Report, column: str) -> str | None:
    """Accuracy against energy of each system, energy on a logarithmic axis; None without two points.

    A system whose energy is only a lower bound has no place in it.
    """
    points = [
        (system.label, system.energy[column].mean_uj, 100 * system.accuracy)
        for system in report.systems
        if system.accuracy is not None and column in system.energy and _placed(system.energy[column])
    ]
    if len(points) < 2:
        return None
    height, left, bottom, top = 310, 60, 40, 30
    decades = _decades([energy for _, energy, _ in points])
    low, high = _percentages([accuracy for _, _, accuracy in points])

    def across(energy: float) -> float:
        share = (math.log10(energy) - decades[0]) / (decades[-1] - decades[0])
        return left + share * (_WIDTH - left - 30)

    def up(accuracy: float) -> float:
        return height - bottom - (accuracy - low) / (high - low) * (height - bottom - top)

    parts = [_open(height, "Accuracy against energy")]
    right, floor = _WIDTH - 30, height - bottom
    for tick in range(int(low), int(high) + 1, _tick(high - low)):
        y = up(tick)
        parts.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for decade in decades:
        x = across(10.0**decade)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{floor}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{10.0**decade:g}</text>')
    parts.append(
        f'<text x="{_WIDTH - 30}" y="{height - 6}" text-anchor="end">energy of one sample, µJ</text>'
    )
    parts.append('<text x="4" y="12">accuracy, %</text>')
    taken: list[tuple[float, float]] = []
    for label, energy, accuracy in sorted(points, key=lambda point: point[1]):
        x, y = across(energy), up(accuracy)
        anchor, gap = ("end", -10) if x > _WIDTH * 0.7 else ("start", 10)
        text = _free_height(x, y + 4, taken)
        taken.append((x, text))
        place = f'x="{x + gap:.1f}" y="{text:.1f}" text-anchor="{anchor}"'
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="#3b76af"/>')
        parts.append(f'<text {place} class="value">{escape(label)}</text>')
    return "".join(parts) + "</svg>"


def _placed(energy: Energy) -> bool:
    return energy.mean_uj > 0 and not energy.unpriced


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


def _open(height: int, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">'
    )


def _short(label: str) -> str:
    return label if len(label) <= 36 else label[:17] + "…" + label[-18:]
