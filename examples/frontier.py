"""Lay systems side by side, accuracy against energy with memory: a table in Markdown and a picture.

    python examples/frontier.py event=runs/event_0,runs/event_1 qnn=runs/qnn_0,runs/qnn_1 --picture f.png

Each argument names a system and its runs, one for each seed; figures are means over the seeds. "Zeros
skipped" is the second figure of a conventional network: products are charged only where no factor is zero.
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from nsc_deploy.deployment import Side, read_deployment
from nsc_deploy.energy import count
from nsc_deploy.energy.report.schema import SystemReport
from nsc_deploy.energy.results import Counted

FP32, INT8 = "horowitz-45nm", "horowitz-45nm-int8"
COLUMN, ANN = "memory", "ann"


@dataclass(frozen=True)
class Entry:
    """One system, all its seeds: lists of one figure a seed; energies in microjoules with memory.

    Attributes:
        accuracy: in %.
        uses: channel uses an utterance.
        synops: synaptic operations an utterance.
        int8: whole system, 8-bit integers.
        int8_receiver: its receiver.
        skipping: whole system, 8-bit integers, zeros skipped.
        ann: its bit-matched ANN, 8-bit integers; empty for a conventional network.
        fp32: whole system, 32-bit floating point.
        fp32_receiver: its receiver.
    """

    accuracy: list[float]
    uses: list[float]
    synops: list[float]
    int8: list[float]
    int8_receiver: list[float]
    skipping: list[float]
    ann: list[float]
    fp32: list[float]
    fp32_receiver: list[float]


def measure(runs: Sequence[Path]) -> Entry:
    """Count the runs of one system."""
    multiplies = any(part.graph.endswith(".onnx") for run in runs for part in read_deployment(run).parts)
    dense = count(list(runs))
    sparse = count(list(runs), skip_zeros=True) if multiplies else dense
    int8, fp32, skipping = _systems(dense, INT8), _systems(dense, FP32), _systems(sparse, INT8)
    return Entry(
        accuracy=[100 * (one.accuracy or 0.0) for one in int8],
        uses=[float(one.channel_uses or 0) for one in int8],
        synops=[one.synops.mean for one in int8],
        int8=[one.energy[COLUMN].mean_uj for one in int8],
        int8_receiver=[_receiver(one) for one in int8],
        skipping=[one.energy[COLUMN].mean_uj for one in skipping],
        ann=[one.energy[ANN].mean_uj for one in int8 if ANN in one.energy],
        fp32=[one.energy[COLUMN].mean_uj for one in fp32],
        fp32_receiver=[_receiver(one) for one in fp32],
    )


def _systems(counted: Counted, profile: str) -> tuple[SystemReport, ...]:
    return counted.estimate(profile).report.systems


def _receiver(system: SystemReport) -> float:
    return system.sides[Side.RECEIVER][COLUMN].mean_uj


HEADS = (
    "System | Accuracy % | Channel uses | SynOps | int8 uJ | receiver | zeros skipped | bit-matched ANN | "
    "fp32 uJ | receiver"
)


def table(entries: dict[str, Entry]) -> str:
    """Markdown, a row for each system."""
    rows = [f"| {HEADS} |", "|---" * (HEADS.count("|") + 1) + "|"]
    for name, one in entries.items():
        figures = (one.int8, one.int8_receiver, one.skipping, one.ann, one.fp32, one.fp32_receiver)
        cells = [
            name,
            _spread(one.accuracy),
            f"{statistics.fmean(one.uses):,.0f}",
            f"{statistics.fmean(one.synops):,.0f}",
            *(f"{statistics.fmean(figure):.3g}" if figure else "-" for figure in figures),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"


def draw(entries: dict[str, Entry], path: Path) -> None:
    """Each seed a point, means named; the line joins the means that no other beats."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    means = {
        name: (statistics.fmean(one.int8), statistics.fmean(one.accuracy)) for name, one in entries.items()
    }
    for name, one in entries.items():
        spiking = bool(one.ann)
        points = axes.scatter(one.int8, one.accuracy, marker="o" if spiking else "s", alpha=0.5)
        above = 5 if spiking else -12
        axes.annotate(name, means[name], xytext=(5, above), textcoords="offset points", fontsize=8)
        axes.scatter(*means[name], color=points.get_facecolor(), marker="o" if spiking else "s", s=60)
    front = sorted(
        (energy, accuracy)
        for energy, accuracy in means.values()
        if not any(
            other <= energy and better >= accuracy and (other, better) != (energy, accuracy)
            for other, better in means.values()
        )
    )
    axes.plot(*zip(*front, strict=True), color="grey", linewidth=1, zorder=0)
    axes.set(xscale="log", xlabel="energy with memory, 45 nm int8 (uJ an utterance)", ylabel="accuracy (%)")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the table and draw the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", nargs="+", metavar="NAME=RUN[,RUN]")
    parser.add_argument("--picture", type=Path, help="file to draw to; its suffix decides the format")
    options = parser.parse_args()
    named = dict(text.split("=", 1) for text in options.systems)
    entries = {name: measure([Path(run) for run in runs.split(",")]) for name, runs in named.items()}
    print(table(entries))
    if options.picture is not None:
        draw(entries, options.picture)


if __name__ == "__main__":
    main()
