"""The potentials of a neuron in two runs as a small SVG text that needs nothing from outside."""

from collections.abc import Sequence
from html import escape

from nsc_deploy.verification.course import Course, Side

_WIDTH, _LEFT, _RIGHT = 940, 60, 150
_TOP, _PLOT, _ROW, _BOTTOM = 14, 220, 22, 40
COLOURS = ("#3b76af", "#d1495b")


def course_chart(course: Course, reference: str, other: str) -> str | None:
    """Both potentials over the steps, the thresholds as dashed lines, every spike as a mark below.

    A vertical line marks the step where the runs part. None where neither run shows potentials.
    """
    sides = ((reference, course.reference), (other, course.other))
    shown = [value for _, side in sides for value in (side.potentials or ())]
    if not shown:
        return None
    thresholds = [side.threshold for _, side in sides if side.threshold is not None]
    low, high = min(0.0, *shown), max(*shown, *thresholds, 0.0)
    scale = _Scale(len(course.reference.spikes), low, high if high > low else low + 1)
    height = _TOP + _PLOT + _ROW * len(sides) + _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" font-size="12" font-family="inherit" '
        f'fill="currentColor"><title>Potentials of {escape(reference)} and {escape(other)}</title>',
        *_axes(scale, course.step, height),
    ]
    for index, (name, side) in enumerate(sides):
        parts += _curve(scale, side, COLOURS[index], dashed=index == 1)
        parts += _marks(scale, name, side, COLOURS[index], _TOP + _PLOT + _ROW * (index + 1))
    return "".join(parts) + "</svg>"


class _Scale:
    """From steps and potentials to places in the picture."""

    def __init__(self, steps: int, low: float, high: float) -> None:
        self.steps, self.low, self.high = steps, low, high

    def x(self, step: float) -> float:
        """The middle of a step."""
        return _LEFT + (step + 0.5) * (_WIDTH - _LEFT - _RIGHT) / self.steps

    def y(self, potential: float) -> float:
        """Upwards."""
        return _TOP + _PLOT * (1 - (potential - self.low) / (self.high - self.low))


def _axes(scale: _Scale, step: int, height: int) -> list[str]:
    right = _WIDTH - _RIGHT
    # A zero beside an end would be written over it.
    zero = [0.0] if scale.low < 0 < scale.high else []
    ends = (scale.y(scale.low), scale.y(scale.high))
    apart = [value for value in zero if min(abs(scale.y(value) - end) for end in ends) > 14]
    lines = []
    for value in (scale.low, *apart, scale.high):
        y = scale.y(value)
        lines.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dde2e8"/>')
        lines.append(_text(_LEFT - 8, y + 4, f"{value:.3g}", "end"))
    place = scale.x(step)
    lines.append(
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{height - _BOTTOM + 4}" stroke="#1d2430" '
        'stroke-opacity="0.35"/>'
    )
    # The label of the first step gives way to that of the one that matters.
    if scale.x(step) - scale.x(0) > 60:
        lines.append(_text(scale.x(0), height - 18, "step 0", "middle"))
    if scale.x(scale.steps - 1) - scale.x(step) > 60:
        lines.append(_text(scale.x(scale.steps - 1), height - 18, f"{scale.steps - 1}", "middle"))
    lines.append(_text(place, height - 18, f"step {step}", "middle"))
    return lines


def _curve(scale: _Scale, side: Side, colour: str, *, dashed: bool) -> list[str]:
    """The second run is dashed, so that it does not hide the first."""
    stroke = f'stroke="{colour}" stroke-width="2" fill="none"' + (' stroke-dasharray="6 4"' if dashed else "")
    lines = []
    if side.potentials is not None:
        points = " ".join(
            f"{scale.x(step):.1f},{scale.y(value):.1f}" for step, value in enumerate(side.potentials)
        )
        lines.append(f'<polyline points="{points}" {stroke}/>')
    if side.threshold is not None:
        level = scale.y(side.threshold)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{level:.1f}" y2="{level:.1f}" stroke="{colour}" '
            'stroke-dasharray="2 4"/>'
        )
        if not dashed:
            lines.append(_text(_WIDTH - _RIGHT + 10, level + 4, f"threshold {side.threshold:.3g}"))
    return lines


def _marks(scale: _Scale, name: str, side: Side, colour: str, y: float) -> list[str]:
    marks = [
        f'<rect x="{scale.x(step) - 1.5:.1f}" y="{y - 12:.1f}" width="3" height="14" fill="{colour}"/>'
        for step in _steps(side.spikes)
    ]
    return [*marks, _text(_WIDTH - _RIGHT + 10, y, f"{name} fires", colour=colour)]


def _steps(spikes: Sequence[bool]) -> list[int]:
    return [step for step, fired in enumerate(spikes) if fired]


def _text(x: float, y: float, words: str, anchor: str = "start", colour: str | None = None) -> str:
    fill = "" if colour is None else f' fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{fill}>{escape(words)}</text>'
