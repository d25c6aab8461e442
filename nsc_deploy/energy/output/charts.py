"""Pictures of a report as small SVG texts that need nothing from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from nsc_deploy.energy.counting.operations import Kind, Store
from nsc_deploy.energy.output.numbers import KIND_NAMES, microjoules
from nsc_deploy.energy.output.numbers import energy as energy_text
from nsc_deploy.energy.pricing.price import Charged
from nsc_deploy.energy.report.schema import Energy

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
_ROW = 24


@dataclass(frozen=True)
class Bar:
    """One row of a bar chart: a label and the energy it shows."""

    label: str
    energy: Energy


def bars(rows: Sequence[Bar], title: str) -> str:
    """Stacked horizontal bars, one for each row, coloured by kind of operation."""
    most = max((row.energy.mean_uj for row in rows), default=0) or 1.0
    room = WIDTH - LABEL - 90
    parts = [open_svg(_ROW * len(rows) + 8, title)]
    for index, row in enumerate(rows):
        y = index * _ROW + 4
        label = escape(shortened(row.label))
        parts.append(f'<text x="{LABEL - 10}" y="{y + 13}" text-anchor="end">{label}</text>')
        x = float(LABEL)
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


def open_svg(height: int, title: str) -> str:
    """The beginning of a picture as wide as the page."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}" '
        f'xmlns="http://www.w3.org/2000/svg">'
    )


def shortened(label: str) -> str:
    """A label that fits beside a bar."""
    return label if len(label) <= 36 else label[:17] + "…" + label[-18:]
