"""Train and measure everything that docs/results.md states about FSDD: systems x SNRs x seeds.

    python examples/fsdd_results.py --out runs/fsdd --jobs 2
    python examples/fsdd_results.py --out runs/fsdd --summary

The first line trains what is not yet there (an interrupted run goes on) and prints the tables; the second
only prints them. About an hour of one core for each seed. With `--split selection` a part of the training set
judges, as it did when the settings were chosen.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fsdd_energy import PROFILES, price, print_comparison

EXPERIMENT = Path(__file__).with_name("fsdd.toml")


@dataclass(frozen=True)
class Variant:
    """A system as it is named in the tables, and the options that train it."""

    name: str
    options: str


EVENT = Variant("event", "--system att-neurosc --receiver event")
VARIANTS = (
    Variant("analog", "--system att-neurosc --receiver analog"),
    EVENT,
    Variant("vanilla-snn", "--system vanilla-snn"),
    Variant("fc", "--system fc"),
    Variant("lstm", "--system lstm"),
    Variant("event-without-rate-loss", f"{EVENT.options} --spike-rate-weight 0"),
)


@dataclass(frozen=True)
class Run:
    """One training run of the plan."""

    variant: Variant
    snr: int
    seed: int
    split: str
    directory: Path

    def command(self) -> list[str]:
        """The command that trains it, or goes on with it."""
        options = ["--split", self.split, "--snr", str(self.snr), "--seed", str(self.seed)]
        tail = ["--out", str(self.directory), "--resume", "--quiet"]
        return [
            sys.executable,
            "-m",
            "nsc_deploy",
            "train",
            str(EXPERIMENT),
            *self.variant.options.split(),
            *options,
            *tail,
        ]

    def metrics(self) -> dict[str, float] | None:
        """What it reached, if it has ended."""
        path = self.directory / "metrics.json"
        return json.loads(path.read_text()) if path.is_file() else None


def plan(options: argparse.Namespace) -> Iterator[Run]:
    """Every run, one SNR after the other and seed by seed, so that an early look sees every system."""
    for snr in options.snr:
        for seed in options.seeds:
            for variant in VARIANTS:
                if variant.name in options.variants:
                    directory = options.out / f"{variant.name}_{snr}dB_{seed}"
                    yield Run(variant, snr, seed, options.split, directory)


def train(runs: Sequence[Run], jobs: int) -> None:
    """Train what is missing, `jobs` at a time, one thread each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def one(run: Run) -> None:
        if run.metrics() is None:
            done = subprocess.run(run.command(), env=environment, capture_output=True, text=True, check=False)
            state = "done" if done.returncode == 0 else f"failed: {done.stderr.strip().splitlines()[-1:]}"
            print(f"{run.directory.name}: {state}", file=sys.stderr, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, runs))


def energy(runs: Sequence[Run], out: Path) -> None:
    """Compare the systems at 10 dB: four accountings in two profiles, who wins, and where that turns."""
    done: dict[str, list[Path]] = {}
    for run in sorted(runs, key=lambda run: run.variant is not EVENT):
        if run.snr == 10 and run.metrics() is not None:
            done.setdefault(run.variant.name, []).append(run.directory)
    if done:
        print("\nEnergy at 10 dB in microjoules an utterance, and times the first system")
        print_comparison(price(done, PROFILES, out=out / "energy"))


def table(runs: Sequence[Run], field: str, title: str, scale: float, form: str) -> None:
    """Print a Markdown table of one metric: mean and spread over seeds, systems by SNR."""
    snrs = sorted({run.snr for run in runs})
    print(f"\n{title}\n\n| System | " + " | ".join(f"{snr} dB" for snr in snrs) + " |")
    print("|---|" + "---|" * len(snrs))
    for name in dict.fromkeys(run.variant.name for run in runs):
        cells = []
        for snr in snrs:
            found = [run.metrics() for run in runs if run.variant.name == name and run.snr == snr]
            values = [scale * m[field] for m in found if m is not None and m[field] is not None]
            cells.append(spread(values, form))
        print(f"| {name} | " + " | ".join(cells) + " |")


def spread(values: Sequence[float], form: str) -> str:
    """Mean, standard deviation over seeds, and how many."""
    if not values:
        return "-"
    mean = format(statistics.fmean(values), form)
    if len(values) == 1:
        return f"{mean} (1 seed)"
    return f"{mean} ± {format(statistics.stdev(values), form)} ({len(values)})"


def main() -> None:
    """Train, then print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/fsdd"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--snr", type=int, nargs="+", default=[10, -10, 0])
    parser.add_argument("--variants", nargs="+", default=[variant.name for variant in VARIANTS])
    parser.add_argument("--split", default="official", help="selection: judge on a part of the training set")
    parser.add_argument("--summary", action="store_true", help="train nothing")
    options = parser.parse_args()
    runs = list(plan(options))
    if not options.summary:
        train(runs, options.jobs)
    table(runs, "test_accuracy", "Test accuracy in %", 100, ".1f")
    table(runs, "test_spike_rate", "Spikes a transmitter neuron and step in %", 100, ".2f")
    energy(runs, options.out)


if __name__ == "__main__":
    main()
