"""A verification in words, for machines, and as one HTML page that needs nothing from outside."""

import dataclasses
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from nsc_deploy.io.files import write_json, write_text
from nsc_deploy.io.text import counted, percent
from nsc_deploy.verification.compare import Comparison
from nsc_deploy.verification.divergence import Course, LayerDivergence, LayerParity, Side
from nsc_deploy.verification.limits import Finding, Verification

_LIMITS = {
    "max_accuracy_drop": ("accuracy lost, in points", "at most"),
    "min_agreement": ("equal decisions", "at least"),
    "min_rate_cosine": ("rate cosine", "at least"),
    "min_coincidence": ("spike coincidence", "at least"),
    "max_rmse": ("largest RMSE of potentials, in thresholds or largest potentials", "at most"),
    "exact": ("every spike and output equal", "at least"),
}
_WIDEST_CONFUSION = 12


def as_text(verification: Verification) -> str:
    """For the terminal, in eighty columns where names allow it."""
    one = verification.comparison
    lines = [
        f"{counted(one.samples, 'sample')} of {counted(one.steps, 'step')}",
        *(f"{name:<20}{left:>14}{right:>14}" for name, left, right in rows(verification)),
    ]
    if one.layers:
        lines += ["", *_layer_table(one.layers)]
    lines += ["", divergence_sentence(one.first_divergence, one.reference, one.other), *verdicts(one)]
    lines += _confusion(verification)
    if verification.findings:
        lines += ["", *(finding_sentence(finding) for finding in verification.findings)]
    return "\n".join(lines)


def rows(verification: Verification) -> list[tuple[str, str, str]]:
    """The figures of the whole network: a name, the first run's and the second's, or one for both."""
    one = verification.comparison
    table = [("", one.reference, one.other)]
    if one.decisions is not None:
        left, right = one.decisions.reference_accuracy, one.decisions.other_accuracy
        table.append(("accuracy", share(left), share(right)))
    if one.output.reference_spikes is not None:
        table.append(("output spikes", f"{one.output.reference_spikes:,}", f"{one.output.other_spikes:,}"))
    table.append(("diverging samples", "", str(one.diverging_samples)))
    table.append(("seconds", f"{one.reference_seconds:.2f}", f"{one.other_seconds:.2f}"))
    if one.decisions is not None:
        table.append(("equal decisions", "", share(one.decisions.agreement)))
    if one.output.rate_cosine is not None:
        told = one.output.told
        table.append(("rate cosine", "", "-" if told.rate_cosine is None else f"{told.rate_cosine:.6f}"))
        table.append(("spike coincidence", "", share(told.coincidence)))
    if one.output.rmse is not None:
        table.append(("RMSE of outputs", "", f"{one.output.rmse:.4g}"))
    return table


def verdicts(comparison: Comparison) -> list[str]:
    """What is to be said of the outputs beside their spikes: real values, or silence."""
    output = comparison.output
    if output.silent:
        nothing = "every output is 0" if output.reference_spikes is None else "no output fires"
        return [f"{nothing} on either side: silence is no agreement"]
    if output.reference_spikes is not None:
        return []
    if output.equal:
        return ["every output is equal"]
    if output.agrees:
        return [f"outputs are equal within {output.largest:.1g}, rounding of values up to {output.range:.3g}"]
    return [f"outputs differ by up to {output.largest:.3g}, of values up to {output.range:.3g}"]


def divergence_sentence(first: LayerDivergence | None, reference: str, other: str) -> str:
    """Where the two runs part, in a sentence."""
    if first is None:
        return "no spike differs"
    fired = reference if first.reference else other
    sides = ", ".join(
        f"{name} {number(potential)} (threshold {number(threshold)})"
        for name, potential, threshold in (
            (reference, first.reference_potential, first.reference_threshold),
            (other, first.other_potential, first.other_threshold),
        )
        if potential is not None
    )
    return (
        f"first divergence: sample {first.sample}, step {first.step}, layer {first.layer}, "
        f"neuron {first.neuron}: only {fired} fired" + (f"\n  potentials: {sides}" if sides else "")
    )


def finding_sentence(finding: Finding) -> str:
    """One limit, what was wanted and what was found."""
    what, bound = _LIMITS[finding.limit]
    verdict = "met" if finding.met else "MISSED"
    if finding.note:
        return f"{verdict:<8}{what}: {finding.note}"
    if finding.limit == "exact":
        return f"{verdict:<8}{what}"
    return f"{verdict:<8}{what}: {number(finding.found)}, wanted {bound} {number(finding.wanted)}"


def share(value: float | None) -> str:
    """A share in per cent."""
    return "-" if value is None else f"{percent(value, 2)}%"


def number(value: float | None) -> str:
    """A figure to six places."""
    return "-" if value is None else f"{value:.6g}"


def class_names(verification: Verification) -> tuple[str, ...]:
    """Names of the classes, their numbers where there are none."""
    decisions = verification.comparison.decisions
    count = 0 if decisions is None else len(decisions.confusion)
    names = verification.class_names
    return names if len(names) == count else tuple(map(str, range(count)))


def _layer_table(layers: tuple[LayerParity, ...]) -> list[str]:
    width = max(5, *(len(layer.node) for layer in layers))
    titles = f"{'neurons':>7}  {'spikes':>17}  {'coincidence':>11}  {'RMSE':>9}  {'largest':>9}"
    body = []
    for layer in layers:
        spikes = "-" if layer.reference_spikes is None else f"{layer.reference_spikes} / {layer.other_spikes}"
        body.append(
            f"{layer.node:<{width}}  {layer.neurons:>7}  {spikes:>17}  {share(layer.coincidence):>11}  "
            f"{_short(layer.rmse):>9}  {_short(layer.largest_error):>9}"
        )
    return [f"{'layer':<{width}}  {titles}", *body]


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _confusion(verification: Verification) -> list[str]:
    one = verification.comparison
    if one.decisions is None or one.decisions.agreement == 1:
        return []
    names = class_names(verification)
    if len(names) > _WIDEST_CONFUSION:
        return ["", f"decisions of {len(names)} classes: see --json or --out"]
    width = max(4, *(len(name) for name in names))
    head = " " * width + "".join(f"{name:>{width + 1}}" for name in names)
    body = [
        f"{name:>{width}}" + "".join(f"{count or '.':>{width + 1}}" for count in row)
        for name, row in zip(names, one.decisions.confusion, strict=True)
    ]
    return ["", f"decisions of {one.reference} (rows) and {one.other} (columns)", head, *body]


HTML_FILE, JSON_FILE = "verification.html", "verification.json"


def as_json(verification: Verification) -> dict[str, Any]:
    """Everything, as JSON takes it."""
    one = verification.comparison
    shown = dataclasses.replace(one, output=one.output.told)
    found = dataclasses.asdict(dataclasses.replace(verification, comparison=shown))
    return {**found, "equal": one.equal, "silent": one.output.silent, "passed": verification.passed}


def write_report(folder: Path, verification: Verification) -> tuple[Path, Path]:
    """Write verification.html and verification.json.

    Raises:
        UserError: the folder cannot be written.
    """
    html, machine = folder / HTML_FILE, folder / JSON_FILE
    write_text(html, render_html(verification))
    write_json(machine, as_json(verification))
    return html, machine


def render_html(verification: Verification) -> str:
    """The whole page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files("nsc_deploy.verification").joinpath("templates/verification.html.j2")
    one = verification.comparison
    return environment.from_string(template.read_text("utf-8")).render(
        verification=verification,
        comparison=one,
        rows=rows(verification),
        divergence=divergence_sentence(one.first_divergence, one.reference, one.other),
        verdicts=verdicts(one),
        findings=[(finding, finding_sentence(finding)) for finding in verification.findings],
        names=class_names(verification),
        peak=_peak(verification),
        chart=None if one.first_course is None else course_chart(one.first_course, one.reference, one.other),
        share=share,
        number=number,
    )


def _peak(verification: Verification) -> int:
    """Most samples in one place of the confusion, for its shades."""
    decisions = verification.comparison.decisions
    return 1 if decisions is None else max(1, *(max(row) for row in decisions.confusion))


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
        lines.append(
            f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
        )
        lines.append(_text(_LEFT - 8, y + 4, f"{value:.3g}", "end"))
    place = scale.x(step)
    lines.append(
        f'<line x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{height - _BOTTOM + 4}" '
        'stroke="currentColor" stroke-opacity="0.35"/>'
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
