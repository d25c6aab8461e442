"""Accuracy against energy, with the Pareto front, as a small SVG text."""

import math
from collections.abc import Sequence
from html import escape

from nsc_deploy.energy.output.charts import WIDTH, open_svg
from nsc_deploy.energy.report.schema import FrontPoint


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
        fill = "#3b76af" if point.on_front else "#fff"
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{fill}" stroke="#3b76af" stroke-width="1.5"/>'
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
