"""The course of a sample over its steps as a small SVG text: synaptic operations, and who fires when."""

from collections.abc import Sequence
from html import escape

from nsc_deploy.energy.measure_text import binned
from nsc_deploy.energy.output.charts import LABEL, WIDTH, open_svg, shortened
from nsc_deploy.energy.output.numbers import count
from nsc_deploy.energy.report.schema import OverTime, PartReport

_TOP, _CURVE, _ROW = 8, 84, 18
_COLUMNS = 150
_RIGHT = 170


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
    height = floor + 26 + _ROW * len(firing) + 22
    top_rate = max((max(rates) for _, rates in firing), default=0.0) or 1.0
    parts = [open_svg(height, f"Activity over time of {part.name}"), *_bars(part.over_time, floor)]
    for index, (name, rates) in enumerate(firing):
        parts += _strip(name, rates, top_rate, floor + 26 + _ROW * index)
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
            f'height="{_ROW - 4}" fill="#3b76af" fill-opacity="{0.04 + 0.96 * rate / top:.3f}">'
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
