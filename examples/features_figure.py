"""Accuracy over a channel as figures 5 and 6 of the SNN-SC paper draw it, of evaluations of many runs.

    python examples/features_figure.py EVALUATION... [--out figure.svg]

An EVALUATION is a folder that `nsc-deploy evaluate RUN... --flip|--erase ... --out EVALUATION` wrote, or its
evaluation.json. One panel for each backbone, channel and n; runs that differ in their seed alone are one
curve, with the deviation over them as its bars (of one that over the draws of the channel).
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure

MARKERS, LINES = "osD^vP*X", ("-", "--")
WORDS = {"bsc": "bits flipped (BSC)", "bec": "bits erased (BEC)"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("evaluations", type=Path, nargs="+", metavar="EVALUATION")
    parser.add_argument("--out", type=Path, default=Path("figure.svg"), help="picture to write")
    options = parser.parse_args()
    try:
        sweeps = [one for path in options.evaluations for one in read(path)]
    except (OSError, ValueError) as error:
        parser.error(f"no evaluation can be read: {error}")
    measured = Counter((one["run"], one["name"], one["channel"]) for one in sweeps)
    twice = next((run for (run, _, _), times in measured.items() if times > 1), None)
    if twice is not None:
        parser.error(f"{twice} is in two of these evaluations, and would count as two seeds: leave one out")
    panels = panels_of(sweeps)
    if not panels:
        parser.error(
            "no codec in these evaluations: name one that nsc-deploy evaluate made of runs of codecs"
        )
    looks = list(dict.fromkeys(look_of(label) for _, curves in panels for label in curves))
    figure = Figure(figsize=(5.2 * len(panels), 4.4), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, title, curves, looks)
    figure.savefig(options.out)
    print(f"wrote {options.out}")


def read(path: Path) -> list[dict]:
    """The runs of an evaluation."""
    return json.loads((path / "evaluation.json" if path.is_dir() else path).read_text(encoding="utf-8"))


def panels_of(sweeps: list[dict]) -> list[tuple[str, dict[str, list[dict]]]]:
    """Title and curves of each panel; separate coding, which has no n, is in every panel of its channel."""
    steps = {(behind(one), one["channel"], one["steps"]) for one in sweeps if one["steps"] is not None}
    backbones = sorted({backbone for backbone, _, _ in steps})
    panels = []
    for backbone, channel, n in sorted(steps, key=lambda one: (one[0], one[1] != "bsc", -one[2])):
        here = [
            one
            for one in sweeps
            if (behind(one), one["channel"]) == (backbone, channel) and one["steps"] in {n, None}
        ]
        alone = sum(kind == backbone[0] for kind, _ in backbones) == 1
        title = f"{backbone[0] if alone else ' '.join(backbone)}, n = {n}, {WORDS[channel]}"
        panels.append((title, curves_of(here)))
    return panels


def behind(one: dict) -> tuple[str, str]:
    """Kind and run of the backbone."""
    return one["backbone"], one.get("backbone_run", "")


def curves_of(sweeps: list[dict]) -> dict[str, list[dict]]:
    """Seeds of one experiment together; of several with one codec and channel each names its first run."""
    seeds = defaultdict(list)
    for one in sweeps:
        trained = f", trained at {one['trained_at']}" if one["trained_at"] else ""
        seeds[f"{one['name']}{trained}", one.get("settings")].append(one)
    known = Counter(label for label, _ in seeds)
    return {
        label if known[label] == 1 else f"{label}, {runs[0]['run']}": runs
        for (label, _), runs in seeds.items()
    }


def look_of(label: str) -> str:
    """What a curve is told apart by: a codec looks alike whichever of the channels it was trained for."""
    return label.replace("trained at bsc", "trained at").replace("trained at bec", "trained at")


def draw(axes, title: str, curves: dict[str, list[dict]], looks: list[str]) -> None:
    """One panel; a codec has the colour and marker of its place in `looks` in all of them."""
    for label, runs in curves.items():
        number = looks.index(look_of(label))
        points, means, bars = mean_curve(runs)
        seeds = f" ({len(runs)} seeds)" if len(runs) > 1 else ""
        marker, colour, line = MARKERS[number % len(MARKERS)], f"C{number % 10}", LINES[number // 10 % 2]
        style = {"marker": marker, "color": colour, "linestyle": line, "capsize": 2, "label": label + seeds}
        axes.errorbar(points, means, bars, **style)
    first = next(iter(curves.values()))[0]
    axes.axhline(100 * first["without_channel"], color="0.5", linestyle=":", label="no codec, no channel")
    axes.set(title=title, xlabel="p", ylabel="test accuracy (%)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="lower left")


def mean_curve(runs: list[dict]) -> tuple[list[float], list[float], list[float]]:
    """Probabilities that all seeds were evaluated at, mean accuracy in %, and its deviation."""
    by_p = [
        dict(zip(one["p"], zip(one["accuracy"], one["deviation"], strict=True), strict=True)) for one in runs
    ]
    points = sorted(set.intersection(*(set(one) for one in by_p)))
    left_out = sorted(set.union(*(set(one) for one in by_p)) - set(points))
    if left_out:
        named = f"{runs[0]['name']}, trained at {runs[0]['trained_at']}"
        print(
            f"left out, for not every seed has it: {named} at p {', '.join(map(str, left_out))}",
            file=sys.stderr,
        )
    means = [100 * fmean(one[p][0] for one in by_p) for p in points]
    bars = [100 * (stdev(one[p][0] for one in by_p) if len(runs) > 1 else by_p[0][p][1]) for p in points]
    return points, means, bars


if __name__ == "__main__":
    main()
