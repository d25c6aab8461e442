"""Pictures of systems with memory over SNR, as figures 5 and 6 of the Mem-DeepSC paper, and their values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from nsc_deploy.io.pictures import save_with_values
from nsc_deploy.training.memory.sweep import MemorySweep

_MARKERS = "osD^vP*X"


def write_sweeps(sweeps: Sequence[MemorySweep], directory: Path) -> list[Path]:
    """Write accuracy.png, accuracy.svg and evaluation.json.

    Args:
        sweeps: one for each run.
        directory: where to; made if it is not there.

    Returns:
        The files written.
    """
    values = [sweep.as_json() for sweep in sweeps]
    return save_with_values(memory_figure(sweeps), "accuracy", values, directory)


def memory_figure(sweeps: Sequence[MemorySweep]) -> Figure:
    """Right answers over SNR, a column for each channel; below, the symbols of a sentence where they differ.

    A system keeps its colour and marker in all columns.
    """
    channels = list(dict.fromkeys(sweep.channel for sweep in sweeps))
    systems = list(dict.fromkeys(sweep.system for sweep in sweeps))
    counts = {point.symbols.with_positions for sweep in sweeps for point in sweep.points}
    rows = 1 if len(counts) == 1 else 2
    figure = Figure(figsize=(1 + 4.5 * len(channels), 1 + 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, len(channels), squeeze=False, sharex=True, sharey="row")
    for column, channel in zip(grid.T, channels, strict=True):
        column[0].set_title(channel)
        for sweep in (one for one in sweeps if one.channel == channel):
            _draw(column, sweep, systems.index(sweep.system))
        column[-1].set_xlabel("SNR (dB)")
        for axes in column:
            axes.grid(alpha=0.3)
    grid[0, 0].set(ylabel="answers right (%), mean over tasks", ylim=(0, 102))
    if rows == 2:
        grid[1, 0].set(ylabel="symbols of a sentence", yscale="log")
        for show in (grid[1, 0].yaxis.set_major_formatter, grid[1, 0].yaxis.set_minor_formatter):
            show(LogFormatter(minor_thresholds=(1.5, 0.5)))
    drawn = {one.get_label(): one for axes in grid[0] for one in axes.get_lines()}
    figure.legend(
        drawn.values(), [str(label) for label in drawn], loc="outside lower center", ncols=2, fontsize=8
    )
    return figure


def _draw(column: Sequence[Axes], sweep: MemorySweep, number: int) -> None:
    marker = _MARKERS[number % len(_MARKERS)]
    look: dict[str, Any] = {"color": f"C{number % 10}", "marker": marker, "markersize": 4}
    snrs = [point.snr_db for point in sweep.points]
    answers = [100 * point.accuracy for point in sweep.points]
    column[0].plot(snrs, answers, label=sweep.system, **look)
    if len(column) == 2:
        column[1].plot(snrs, [point.symbols.with_positions for point in sweep.points], **look)
