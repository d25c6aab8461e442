"""The picture of codecs over a channel, as figures 5 and 6 of the SNN-SC paper, and its values."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nsc_deploy.io.pictures import save_with_values
from nsc_deploy.training.features.sweep import CodecSweep

_MARKERS = "osD^vP*X"
_ERRORS = {"bsc": "probability that a bit is flipped", "bec": "probability that a bit is erased"}


def write_codec_plots(sweeps: Sequence[CodecSweep], directory: Path) -> list[Path]:
    """Write accuracy.png, accuracy.svg and evaluation.json.

    Args:
        sweeps: one for each run.
        directory: where to; made if it is not there.

    Returns:
        The files written.
    """
    values = [sweep.as_json() for sweep in sweeps]
    return save_with_values(codec_figure(sweeps), "accuracy", values, directory)


def codec_figure(sweeps: Sequence[CodecSweep]) -> Figure:
    """Accuracy over the probability of an error; beside it, over the steps that have arrived."""
    anytime = [sweep for sweep in sweeps if sweep.after]
    figure = Figure(figsize=(12 if anytime else 7, 4.2), layout="constrained")
    columns = figure.subplots(1, 2 if anytime else 1, squeeze=False, sharey=True)[0]
    _over_errors(columns[0], sweeps)
    if anytime:
        _over_steps(columns[1], anytime)
    for axes in columns:
        axes.set_ylim(0, 102)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower left")
    return figure


def _over_errors(axes: Axes, sweeps: Sequence[CodecSweep]) -> None:
    for number, sweep in enumerate(sweeps):
        axes.errorbar(
            sweep.p,
            [100 * value for value in sweep.accuracy],
            [100 * value for value in sweep.deviation] if sweep.draws > 1 else None,
            marker=_MARKERS[number % len(_MARKERS)],
            color=f"C{number}",
            capsize=2,
            label=f"{sweep.label} ({sweep.bits:,.0f} bits)",
        )
    for without in sorted({sweep.without_channel for sweep in sweeps}, reverse=True):
        axes.axhline(100 * without, color="0.5", linestyle=":", label=f"no codec, no channel: {without:.1%}")
    kinds = {sweep.channel for sweep in sweeps}
    errors = _ERRORS[kinds.pop()] if len(kinds) == 1 else "probability of an error, each on its own channel"
    axes.set(xlabel=errors, ylabel="test accuracy (%)", title="Accuracy over the channel")


def _over_steps(axes: Axes, sweeps: Sequence[CodecSweep]) -> None:
    for number, sweep in enumerate(sweeps):
        steps = range(1, len(sweep.after) + 1)
        label = f"{sweep.label}, at p {sweep.after_p:g}"
        axes.plot(steps, [100 * value for value in sweep.after], marker=".", color=f"C{number}", label=label)
    axes.set(xlabel="steps that have arrived", title="Accuracy after the first steps")
