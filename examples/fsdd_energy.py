"""Say which receiver wins under which accounting, in two profiles, and at which firing rate that turns.

    python examples/fsdd_energy.py event=runs/event_10dB_0,runs/event_10dB_1 fc=runs/fc_10dB_0,runs/fc_10dB_1
    python examples/fsdd_energy.py ... --profiles horowitz-45nm horowitz-45nm-int8 --out reports

Each argument names a system and its runs, one for each seed, in the same order for all systems. Every run is
counted once and priced with every profile; figures are means over the seeds. Prints Markdown.
"""

import argparse
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.deployment import Side
from nsc_deploy.energy import Estimate, count
from nsc_deploy.energy.report.break_even import Against
from nsc_deploy.energy.report.schema import Report, SystemReport
from nsc_deploy.errors import UserError

PROFILES = ("horowitz-45nm", "horowitz-45nm-int8")
"""Both price MACs and ACs: 32-bit floating point, and 8-bit integers."""
OPPONENT = "ann"
"""The column that holds, for each spiking system, a conventional network to be beaten."""
SIDES = {Side.RECEIVER: "receivers", None: "whole systems"}


@dataclass(frozen=True)
class Priced:
    """The systems of one seed under one profile.

    Attributes:
        systems: by name.
        report: all of them.
    """

    systems: Mapping[str, SystemReport]
    report: Report

    def energies(self, side: Side | None, column: str) -> dict[str, float]:
        """Microjoules an inference of each system that has a complete figure."""
        found = {}
        for name, system in self.systems.items():
            energy = (system.energy if side is None else system.sides.get(side, {})).get(column)
            if energy is not None and not energy.unpriced:
                found[name] = energy.mean_uj
        return found

    def against(self, name: str, rival: str, side: Side | None, column: str) -> Against | None:
        """What would have to change for one system to lose against another."""
        label = self.systems[rival].label
        wanted = (label, side, column)
        return next(
            (one for one in self.systems[name].against if (one.rival, one.side, one.column) == wanted), None
        )


def price(
    runs: Mapping[str, Sequence[Path]],
    profiles: Sequence[str],
    *,
    samples: int | None = None,
    out: Path | None = None,
) -> dict[str, list[Priced]]:
    """Count each run once, price it with each profile.

    Args:
        runs: of each system, one for each seed.
        profiles: names or TOML files.
        samples: count only the first so many.
        out: where the reports go, seed by seed and profile by profile; None for nowhere.

    Returns:
        For each profile one entry a seed.
    """
    found: dict[str, list[Priced]] = {profile: [] for profile in profiles}
    for seed in range(max(len(one) for one in runs.values())):
        chosen = {name: paths[seed] for name, paths in runs.items() if seed < len(paths)}
        counted = count(list(chosen.values()), samples=samples)
        for profile in profiles:
            estimate: Estimate = counted.estimate(profile)
            if out is not None:
                estimate.write(out / f"seed{seed}" / Path(profile).stem)
            systems = dict(zip(chosen, estimate.report.systems, strict=True))
            found[profile].append(Priced(systems, estimate.report))
    return found


def print_comparison(found: Mapping[str, Sequence[Priced]]) -> None:
    """Tables, the winner in each accounting, and where that turns."""
    for profile, seeds in found.items():
        columns = {column.name: column.title for column in seeds[0].report.columns}
        for side, title in SIDES.items():
            print(f"\n### {title.capitalize()}, {profile}\n")
            print_energies(seeds, side, columns)
            for column, name in columns.items():
                words = opponents(seeds, side) if column == OPPONENT else winner(seeds, side, column)
                print(f"- {name}: {words}")
        print(f"\n### Where receivers turn, {profile}\n")
        print_turns(seeds, columns)


def print_energies(seeds: Sequence[Priced], side: Side | None, columns: Mapping[str, str]) -> None:
    """Microjoules an inference, and times the first system."""
    names = names_of(seeds)
    print("| System | " + " | ".join(columns.values()) + " |\n|---|" + "---|" * len(columns))
    for name in names:
        cells = []
        for column in columns:
            values = [one.energies(side, column)[name] for one in seeds if name in one.energies(side, column)]
            first = mean(one.energies(side, column).get(names[0]) for one in seeds)
            times = f", {statistics.fmean(values) / first:.2f} x" if values and first else ""
            cells.append(spread(values) + times if values else "-")
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def winner(seeds: Sequence[Priced], side: Side | None, column: str) -> str:
    """Who takes least, how many times more the others take, and whether all seeds agree."""
    means = {name: mean(one.energies(side, column).get(name) for one in seeds) for name in names_of(seeds)}
    ranked = sorted((value, name) for name, value in means.items() if value is not None)
    if not ranked:
        return "no system has a price for all of its operations."
    least, best = ranked[0]
    firsts = [min(each, key=lambda name: each[name]) for one in seeds if (each := one.energies(side, column))]
    agreed = "" if set(firsts) == {best} else f" (in {firsts.count(best)} of {len(firsts)} seeds)"
    others = ", ".join(f"{name} {value / least:.2f} x" for value, name in ranked[1:] if least)
    return f"**{best}** wins{agreed} with {least:.3g} uJ" + (f"; {others}." if others else ".")


def opponents(seeds: Sequence[Priced], side: Side | None) -> str:
    """For each spiking system whether it beats the bit-matched ANN of its own layers, both with memory."""
    found = []
    for name in names_of(seeds):
        own = mean(one.energies(side, "memory").get(name) for one in seeds)
        ann = mean(one.energies(side, OPPONENT).get(name) for one in seeds)
        if own is None or ann is None:
            continue
        low, high = sorted((own, ann))
        verdict = f"**{name if own <= ann else 'its ANN'}** wins {high / low:.2f} x" if low else "free"
        found.append(f"{name} {own:.3g} uJ against {ann:.3g} uJ, {verdict}{_turn_of_own(seeds, name, side)}")
    return "; ".join(found) + "." if found else "no system has a price for all of its operations."


def _turn_of_own(seeds: Sequence[Priced], name: str, side: Side | None) -> str:
    """Where a system and its own opponent cost the same."""
    factors, rates = [], []
    for one in having(seeds, name):
        system = one.systems[name]
        energies = system.energy if side is None else system.sides.get(side, {})
        own, ann = energies["memory"], energies[OPPONENT]
        if own.with_rate_uj:
            factors.append((ann.mean_uj - own.mean_uj + own.with_rate_uj) / own.with_rate_uj)
            rates.append(firing_rate(system, side))
    factor, rate = mean(factors), mean(rates)
    return "" if factor is None or rate is None else f" ({turning(factor, rate)})"


def print_turns(seeds: Sequence[Priced], columns: Mapping[str, str]) -> None:
    """For each spiking receiver and each conventional one, the firing rate at which both cost the same."""
    names = names_of(seeds)
    spiking = [name for name in names if any(one.systems[name].spiking for one in having(seeds, name))]
    asked = [column for column in columns if column != OPPONENT]
    titles = " | ".join(columns[column] for column in asked)
    print(f"| Receiver | Against | Spikes a neuron and step now | {titles} |")
    print("|---|---|---|" + "---|" * len(asked))
    for name in spiking:
        rate = mean(firing_rate(one.systems[name], Side.RECEIVER) for one in having(seeds, name)) or 0.0
        for rival in (one for one in names if one not in spiking):
            cells = [turn(seeds, name, rival, column, rate) for column in asked]
            print(f"| {name} | {rival} | {100 * rate:.2f} % | " + " | ".join(cells) + " |")
    print(
        "\nAll events scaled alike, the rival as it was measured: the energy of a spiking receiver is a part "
        "in proportion to its events and a fixed part. A neuron fires at most once a step."
    )


def turn(seeds: Sequence[Priced], name: str, rival: str, column: str, rate: float) -> str:
    """The firing rate at which a receiver costs as much as a conventional one."""
    both = [one for one in having(seeds, name) if rival in one.systems]
    told = [one.against(name, rival, Side.RECEIVER, column) for one in both]
    factor = mean(one.factor for one in told if one is not None)
    if factor is None:
        return "no price"
    return turning(factor, rate)


def turning(factor: float, rate: float) -> str:
    """The rate at which both cost the same, if all events are scaled by a factor from the rate of now."""
    if factor <= 0:
        return "loses at any rate"
    if factor > 1 and rate * factor > 1:
        # A neuron fires at most once a step.
        return f"loses at no rate ({factor:.2f} x)"
    return f"{'loses above' if factor > 1 else 'wins below'} {100 * rate * factor:.3g} % ({factor:.2f} x)"


def firing_rate(system: SystemReport, side: Side | None) -> float | None:
    """Spikes a neuron and step, of all parts at one end or of the whole system."""
    parts = [part for part in system.parts if side in {None, part.side}]
    updates = sum(part.counts.neuron_updates for part in parts)
    return sum(part.counts.spikes for part in parts) / updates if updates else None


def names_of(seeds: Sequence[Priced]) -> list[str]:
    """Names of all systems, in their order."""
    return list(dict.fromkeys(name for one in seeds for name in one.systems))


def having(seeds: Sequence[Priced], name: str) -> list[Priced]:
    """The seeds that a system was trained with."""
    return [one for one in seeds if name in one.systems]


def mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def spread(values: Sequence[float]) -> str:
    """Mean, standard deviation over seeds, and how many."""
    if len(values) == 1:
        return f"{values[0]:.3g} (1 seed)"
    return f"{statistics.fmean(values):.3g} ± {statistics.stdev(values):.2g} ({len(values)})"


def named_runs(text: str) -> tuple[str, list[Path]]:
    """NAME=RUN,RUN,..."""
    name, _, paths = text.partition("=")
    if not name or not paths:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=RUN,RUN,...")
    return name, [Path(path) for path in paths.split(",")]


def main() -> None:
    """Count, price, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("systems", type=named_runs, nargs="+", metavar="NAME=RUN,RUN,...")
    parser.add_argument("--profiles", nargs="+", default=list(PROFILES))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--out", type=Path, help="folder for the reports")
    options = parser.parse_args()
    try:
        found = price(dict(options.systems), options.profiles, samples=options.samples, out=options.out)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print_comparison(found)


if __name__ == "__main__":
    main()
