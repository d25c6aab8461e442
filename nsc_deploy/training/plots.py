"""The plots of `nsc-deploy evaluate`: accuracy against SNR and against latency."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsc_deploy.files import replacing, write_json
from nsc_deploy.training.sweep import Sweep

_FORMATS = ("png", "svg")
_MARKERS = "osD^vP*X"


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
    values = directory / "evaluation.json"
    write_json(values, [sweep.as_json() for sweep in sweeps])
    return [*files, values]


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
        snr, accuracy = zip(*sorted(points), strict=True)
        axes.plot(
            snr, [100 * value for value in accuracy], marker=_MARKERS[number % len(_MARKERS)], label=label
        )
    axes.set(xlabel="SNR (dB)", ylabel="test accuracy (%)", title="Accuracy against SNR")


def _curves(sweeps: Sequence[Sweep]) -> list[tuple[str, list[tuple[float, float]]]]:
    """A curve a run; runs of one system that were evaluated at one SNR each make one curve together."""
    curves = []
    for name, group in groupby(sorted(sweeps, key=lambda sweep: sweep.name), key=lambda sweep: sweep.name):
        members = list(group)
        if all(len(sweep.snr_db) == 1 for sweep in members):
            curves.append((name, [(sweep.snr_db[0], sweep.accuracy[0]) for sweep in members]))
            continue
        for sweep in members:
            label = name if len(members) == 1 else sweep.label
            curves.append(
                (
                    f"{label}, trained at {sweep.trained_snr_db:g} dB",
                    list(zip(sweep.snr_db, sweep.accuracy, strict=True)),
                )
            )
    return curves


def _against_latency(axes: Axes, sweeps: Sequence[Sweep]) -> None:
    for number, sweep in enumerate(sweeps):
        uses = [sweep.uses.per_step * (step + 1) for step in range(len(sweep.accuracy_after))]
        axes.plot(
            uses,
            [100 * value for value in sweep.accuracy_after],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3,
            label=f"{sweep.name}, {sweep.trained_snr_db:g} dB",
        )
    if len({sweep.uses.per_step for sweep in sweeps}) > 1:
        axes.set_xscale("log")
    axes.set(xlabel="channel uses", title="Accuracy against latency")
