"""Right answers and symbols over SNR as figures 5 and 6 of the Mem-DeepSC paper, of several evaluations.

    python examples/memory_figure.py EVALUATION... [--out figure.svg]

An EVALUATION is a folder that `nsc-deploy evaluate RUN... --out EVALUATION` wrote of systems with memory, or
its evaluation.json. A column for each channel, below it the symbols of a sentence, mask positions included;
runs that differ in their seed alone are one curve, with the deviation over them as its bars.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

MARKERS, LINES = "osD^vP*X", ("-", "--")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", type=Path, nargs="+", metavar="EVALUATION")
    parser.add_argument("--out", type=Path, default=Path("figure.svg"), help="picture to write")
    options = parser.parse_args()
    try:
        sweeps = [one for path in options.evaluations for one in read(path)]
        channels = curves_of(sweeps)
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"no evaluation of systems with memory can be read: {error!r}")
    met = Counter((one["run"], one["system"]) for one in sweeps)
    twice = next((run for (run, _), times in met.items() if times > 1), None)
    if twice is not None:
        parser.error(f"{twice} is in two of these evaluations, and would count as two seeds: leave one out")
    if not channels:
        parser.error("no run in these evaluations")
    figure = Figure(figsize=(1 + 4.2 * len(channels), 7), layout="constrained")
    draw(figure, channels)
    figure.savefig(options.out)
    print(f"wrote {options.out}")


def read(path: Path) -> list[dict]:
    """The runs of an evaluation."""
    return json.loads((path / "evaluation.json" if path.is_dir() else path).read_text(encoding="utf-8"))


def curves_of(sweeps: list[dict]) -> dict[str, dict[str, list[dict]]]:
    """Seeds of one system, by channel and system; of several with one name each names its first run."""
    seeds = defaultdict(list)
    for one in sweeps:
        seeds[one["channel"], one["system"], one["settings"]].append(one)
    known = Counter((channel, system) for channel, system, _ in seeds)
    channels = defaultdict(dict)
    for (channel, system, _), runs in seeds.items():
        label = system if known[channel, system] == 1 else f"{system}, {runs[0]['run']}"
        channels[channel][label] = runs
    return dict(channels)


def draw(figure: Figure, channels: dict[str, dict[str, list[dict]]]) -> None:
    systems = list(dict.fromkeys(label for curves in channels.values() for label in curves))
    grid = figure.subplots(2, len(channels), squeeze=False, sharex=True, sharey="row")
    for (answers, symbols), (channel, curves) in zip(grid.T, channels.items(), strict=True):
        for label, runs in curves.items():
            number = systems.index(label)
            marker, colour, line = MARKERS[number % len(MARKERS)], f"C{number % 10}", LINES[number // 10 % 2]
            look = {"marker": marker, "color": colour, "linestyle": line, "markersize": 4}
            points, means, bars = mean_curve(runs, "accuracy")
            percents = ([100 * value for value in values] for values in (means, bars))
            answers.errorbar(points, *percents, capsize=2, label=label, **look)
            points, means, _ = mean_curve(runs, "symbols_with_positions")
            symbols.plot(points, means, **look)
        answers.set_title(channel)
        symbols.set(xlabel="SNR (dB)", yscale="log")
    grid[0, 0].set(ylabel="answers right (%), mean over tasks", ylim=(0, 102))
    grid[1, 0].set(ylabel="symbols of a sentence")
    for show in (grid[1, 0].yaxis.set_major_formatter, grid[1, 0].yaxis.set_minor_formatter):
        show(LogFormatter(minor_thresholds=(1.5, 0.5)))
    for axes in grid.flat:
        axes.grid(alpha=0.3)
    shown = {}
    for axes in grid[0]:
        lines, labels = axes.get_legend_handles_labels()
        shown |= dict(zip(labels, lines, strict=True))
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=3, fontsize=8)


def mean_curve(runs: list[dict], value: str) -> tuple[list[float], list[float], list[float]]:
    """SNRs that all seeds were evaluated at, the mean of a value, and its deviation over the seeds."""
    by_snr = [{point["snr_db"]: point[value] for point in one["points"]} for one in runs]
    snrs = sorted(set.intersection(*(set(one) for one in by_snr)))
    left_out = sorted(set.union(*(set(one) for one in by_snr)) - set(snrs))
    if left_out and value == "accuracy":
        named = f"{runs[0]['system']} over {runs[0]['channel']}"
        print(
            f"left out, for not every seed has it: {named} at {', '.join(map(str, left_out))} dB",
            file=sys.stderr,
        )
    columns = [[one[snr] for one in by_snr] for snr in snrs]
    return snrs, [fmean(one) for one in columns], [stdev(one) if len(one) > 1 else 0 for one in columns]


if __name__ == "__main__":
    main()
