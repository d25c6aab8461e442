"""The plots of `nsc-deploy evaluate`: accuracy against SNR and against latency."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsc_deploy.files import replacing, require_writable, write_json
from nsc_deploy.training.sweep import Sweep

_FORMATS = ("png", "svg")
_VALUES = "evaluation.json"
_MARKERS = "osD^vP*X"

Points = dict[float, list[float]]
"""Accuracies by SNR in dB."""


def write_plots(sweeps: Sequence[Sweep], directory: Path) -> list[Path]:
    """Write accuracy.png, accuracy.svg and evaluation.json.

    Args:
        sweeps: one for each run.
        directory: where to; made if it is not there.

    Returns:
        The files written.
    """
    figure = accuracy_figure(sweeps)
    files = []
    for form in _FORMATS:
        path = directory / f"accuracy.{form}"
        with replacing(path) as temporary:
            figure.savefig(temporary, format=form, dpi=150)
        files.append(path)
    values = directory / _VALUES
    write_json(values, [sweep.as_json() for sweep in sweeps])
    return [*files, values]


def check_place(directory: Path) -> None:
    """Refuse a directory that could not be written, before the work on the plots.

    Raises:
        UserError: no file can be written there.
    """
    require_writable(directory / _VALUES)


def accuracy_figure(sweeps: Sequence[Sweep]) -> Figure:
    """Accuracy against SNR (left) and against latency in channel uses (right)."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _against_snr(left, sweeps)
    _against_latency(right, sweeps)
    for axes in (left, right):
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    return figure


def _against_snr(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    for number, (label, points) in enumerate(_curves(sweeps)):
        snrs = sorted(points)
        means = [100 * sum(points[snr]) / len(points[snr]) for snr in snrs]
        spread = [
            [mean - 100 * min(points[snr]) for snr, mean in zip(snrs, means, strict=True)],
            [100 * max(points[snr]) - mean for snr, mean in zip(snrs, means, strict=True)],
        ]
        several = any(len(values) > 1 for values in points.values())
        axes.plot(snrs, means, marker=_marker(number), color=f"C{number}", label=label)
        if several:  # seeds of one SNR: the mean, with a bar from the worst to the best
            axes.errorbar(snrs, means, spread, fmt="none", ecolor=f"C{number}", capsize=3)
    axes.set(xlabel="SNR (dB)", ylabel="test accuracy (%)", title="Accuracy against SNR")


def _curves(sweeps: Sequence[Sweep]) -> list[tuple[str, Points]]:
    """A curve a run; runs of one system that were evaluated at one SNR each make one curve together."""
    curves: list[tuple[str, Points]] = []
    for name, group in groupby(sorted(sweeps, key=lambda sweep: sweep.name), key=lambda sweep: sweep.name):
        members = list(group)
        if all(len(sweep.snr_db) == 1 for sweep in members):
            curves.append((name, _points(members)))
            continue
        for sweep in members:
            label = name if len(members) == 1 else sweep.label
            curves.append((f"{label}, trained at {sweep.trained_snr_db:g} dB", _points([sweep])))
    return curves


def _points(sweeps: Sequence[Sweep]) -> Points:
    points: defaultdict[float, list[float]] = defaultdict(list)
    for sweep in sweeps:
        for snr, accuracy in zip(sweep.snr_db, sweep.accuracy, strict=True):
            points[snr].append(accuracy)
    return points


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _against_latency(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    for number, sweep in enumerate(sweeps):
        uses = [sweep.uses.per_step * (step + 1) for step in range(len(sweep.accuracy_after))]
        axes.plot(
            uses,
            [100 * value for value in sweep.accuracy_after],
            marker=_marker(number),
            markersize=3,
            label=f"{sweep.name}, {sweep.trained_snr_db:g} dB",
        )
    if len({sweep.uses.per_step for sweep in sweeps}) > 1:
        axes.set_xscale("log")
    axes.set(xlabel="channel uses", title="Accuracy against latency")
