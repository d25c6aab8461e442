"""Accuracy of the integer receiver against the bits of a weight: docs/quantising.md.

    python examples/bits.py runs/event_0 runs/event_1 runs/event_2 --bits 8 4 2

exports each run for each number of bits, scales chosen on the run's calibration recordings, and runs every
recorded test sample in the emulator of Lava. One line for each number of bits: accuracy in floating point
and in integers (mean over the runs), the largest loss of a run in points, equal decisions, and the spikes of
the output that only one side fires.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.verify import open_deployment, run
from nsc_deploy.io.progress import progress_bar
from nsc_deploy.verification.compare import Comparison


@dataclass(frozen=True)
class Line:
    """Means over runs, parts of 1; the loss is the largest of a run, in points."""

    bits: int
    floating_point: float
    integers: float
    largest_loss: float
    equal_decisions: float
    differing_output_spikes: float


def measure(source: Path, bits: int) -> Comparison:
    """The receiver of a run in integers beside its graph, on all recorded test samples."""
    with tempfile.TemporaryDirectory() as folder:
        [deployed] = export_all(source, "lava", Path(folder) / "deployed", bits=bits)
        return run(open_deployment(deployed), "twin").comparison


def line(bits: int, found: Sequence[Comparison]) -> Line:
    """What the runs add up to."""
    decisions = [one.decisions for one in found if one.decisions is not None]
    right = np.array([(one.reference_accuracy, one.other_accuracy) for one in decisions], np.float64)
    return Line(
        bits=bits,
        floating_point=float(right[:, 0].mean()),
        integers=float(right[:, 1].mean()),
        largest_loss=float(100 * (right[:, 0] - right[:, 1]).max()),
        equal_decisions=float(np.mean([one.agreement for one in decisions])),
        differing_output_spikes=float(np.mean([1 - (one.output.coincidence or 0.0) for one in found])),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--bits", nargs="+", type=int, default=list(range(8, 1, -1)))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    lines = []
    with progress_bar() as bar:
        task = bar.add_task("exports", total=len(asked.bits) * len(asked.runs))
        for bits in asked.bits:
            found = []
            for run in asked.runs:
                found.append(measure(run, bits))
                bar.advance(task)
            lines.append(line(bits, found))
    if asked.json:
        print(json.dumps([asdict(one) for one in lines], indent=2))
        return
    print("| bits | floating point | integers | largest loss | equal decisions | differing output spikes |")
    print("|---|---|---|---|---|---|")
    for one in lines:
        print(
            f"| {one.bits} | {one.floating_point:.2%} | {one.integers:.2%} | {one.largest_loss:.2f} points | "
            f"{one.equal_decisions:.2%} | {one.differing_output_spikes:.2%} |"
        )


if __name__ == "__main__":
    main()
