"""The plots of `nsc-deploy evaluate`: accuracy against SNR and against latency."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from nsc_deploy.io.files import require_writable, write_json
from nsc_deploy.io.pictures import save_figure
from nsc_deploy.training.sweep import Sweep

_FORMATS = ("png", "svg")
_VALUES = "evaluation.json"
_MARKERS = "osD^vP*X"
_Style = Literal["-", "--", ":", "-."]
_STYLES: tuple[_Style, ...] = ("-", "--", ":", "-.")

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
        save_figure(figure, path)
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
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _against_snr(left, sweeps)
    _against_latency(right, sweeps)
    for axes in (left, right):
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
    left.legend(fontsize=8, loc="lower right")
    return figure


def _against_snr(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    for number, (label, points) in enumerate(_curves(sweeps)):
        snrs = sorted(points)
        means = [100 * fmean(points[snr]) for snr in snrs]
        # A mean of equal values may lie beyond them by a rounding.
        spread = [
            [max(0.0, mean - 100 * min(points[snr])) for snr, mean in zip(snrs, means, strict=True)],
            [max(0.0, 100 * max(points[snr]) - mean) for snr, mean in zip(snrs, means, strict=True)],
        ]
        several = any(len(values) > 1 for values in points.values())
        axes.plot(snrs, means, marker=_marker(number), color=f"C{number}", label=label)
        if several:  # seeds of one SNR: the mean, with a bar from the worst to the best
            axes.errorbar(snrs, means, spread, fmt="none", ecolor=f"C{number}", capsize=3)
    axes.set(xlabel="SNR (dB)", ylabel="test accuracy (%)", title="Accuracy against SNR")


def _curves(sweeps: Sequence[Sweep]) -> list[tuple[str, Points]]:
    """A curve a run; runs of one experiment that were evaluated at one SNR each make one curve together.

    Those of several SNRs only where each was evaluated at its own: elsewhere they are models of different
    trainings, and their mean would be that of no system.
    """
    curves: list[tuple[str, Points]] = []
    for name, members in sorted(_lines(sweeps).items(), key=itemgetter(0)):
        trainings = _by_training(members)
        if len(trainings) > 1 and all(sweep.at_home for sweep in members):
            curves.append((f"{name}, one model for each SNR", _points(members)))
            continue
        if all(len(sweep.snr_db) == 1 for sweep in members):
            curves += [(f"{name}, trained at {snr}", _points(seeds)) for snr, seeds in trainings.items()]
            continue
        for sweep in members:
            label = name if len(members) == 1 else sweep.label
            curves.append((f"{label}, trained at {sweep.trained_at}", _points([sweep])))
    return curves


def _by_training(sweeps: Sequence[Sweep]) -> dict[str, list[Sweep]]:
    """Seeds together, by the SNR of their training, the lowest first."""
    groups: defaultdict[str, list[Sweep]] = defaultdict(list)
    for sweep in sorted(sweeps, key=_training_snr):
        groups[sweep.trained_at].append(sweep)
    return groups


def _training_snr(sweep: Sweep) -> tuple[float, float]:
    to_db = sweep.trained_snr_to_db
    return sweep.trained_snr_db, -math.inf if to_db is None else to_db


def _points(sweeps: Sequence[Sweep]) -> Points:
    points: defaultdict[float, list[float]] = defaultdict(list)
    for sweep in sweeps:
        for snr, accuracy in zip(sweep.snr_db, sweep.accuracy, strict=True):
            points[snr].append(accuracy)
    return points


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]


def _against_latency(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    """A colour a system and a line style an SNR of training; seeds of both are averaged.

    A system that sends a sample as a whole is a point, of which a line shows nothing: a marker an SNR.
    """
    names = sorted(_lines(sweeps))
    snrs = list(_by_training(sweeps))
    for (name, snr), members in _by_name_and_snr(sweeps).items():
        steps = range(1, min(len(sweep.accuracy_after) for sweep in members) + 1)
        axes.plot(
            [members[0].uses.per_step * step for step in steps],
            [100 * sum(sweep.accuracy_after[step - 1] for sweep in members) / len(members) for step in steps],
            color=f"C{names.index(name)}",
            linestyle=_style(snrs.index(snr)),
            linewidth=1.2,
            marker=_marker(snrs.index(snr)) if len(steps) == 1 else None,
        )
    if len({sweep.uses.per_step for sweep in sweeps}) > 1:
        axes.set_xscale("log")
    axes.set(xlabel="channel uses", title="Accuracy against latency")
    keys = [Line2D([], [], color=f"C{number}", label=name) for number, name in enumerate(names)]
    points = any(len(sweep.accuracy_after) == 1 for sweep in sweeps)
    styles = [
        Line2D(
            [], [], color="0.3", linestyle=_style(number), marker=_marker(number) if points else None,
            label=f"trained at {snr}",
        )
        for number, snr in enumerate(snrs)
    ]  # fmt: skip
    axes.legend(handles=[*keys, *styles], fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))


def _by_name_and_snr(sweeps: Sequence[Sweep]) -> dict[tuple[str, str], list[Sweep]]:
    return {
        (name, snr): seeds
        for name, members in _lines(sweeps).items()
        for snr, seeds in _by_training(members).items()
    }


def _lines(sweeps: Sequence[Sweep]) -> dict[str, list[Sweep]]:
    """Runs of one experiment together, by the system or, where others of it are there, by the first run."""
    groups: defaultdict[tuple[str, str], list[Sweep]] = defaultdict(list)
    for sweep in sweeps:
        groups[sweep.name, sweep.settings].append(sweep)
    of_system = Counter(name for name, _ in groups)
    return {
        name if of_system[name] == 1 else members[0].label: members for (name, _), members in groups.items()
    }


def _style(number: int) -> _Style:
    return _STYLES[number % len(_STYLES)]
