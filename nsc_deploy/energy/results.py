"""What counting gives and what can be done with it: counts and estimates of systems and graphs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import Integers, Kind, LayerCount, PartCount
from nsc_deploy.energy.pricing.price import ACCOUNTINGS, PriceBook
from nsc_deploy.energy.pricing.profile import DEFAULT_PROFILE, AnyProfile, Profile, load_profile
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.baseline import check_baseline, refuse_tolerance
from nsc_deploy.energy.report.budget import Budget, CheckResult, check_budget, parts_of
from nsc_deploy.energy.report.build import build_report, price_part, sum_prices
from nsc_deploy.energy.report.compare import (
    Comparison,
    beside_other_recordings,
    compare_reports,
    read_report,
)
from nsc_deploy.energy.report.on_chip import OnTarget
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.report.statistics import Energy
from nsc_deploy.energy.report.tabular import Holds, Row, Table, columns, frame
from nsc_deploy.energy.systems import CountedSystem, Options
from nsc_deploy.errors import ConfigError
from nsc_deploy.exporters.base import Target
from nsc_deploy.exporters.registry import load_target
from nsc_deploy.graphs.formats.recording import Layout
from nsc_deploy.io.files import write_text
from nsc_deploy.io.progress import waiting
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from nsc_deploy.energy.advice.records import AdviceReport

NOWHERE = "none"
"""The target of counts that place nothing."""


@dataclass(frozen=True)
class Estimate:
    """Priced systems.

    Attributes:
        report: everything, as `report.json` has it.
    """

    report: Report

    def __repr__(self) -> str:
        """One line: a notebook shows the table instead."""
        column, report = self.report.main, self.report
        energies = (
            f"{one.label} {numbers.amount(one.synops.mean)} SynOps, "
            f"{numbers.microjoules(one.energy[column.name].mean_uj)} uJ"
            for one in report.systems
        )
        return f"<Estimate: {'; '.join(energies)} ({column.title.lower()}, {report.profile.name})>"

    def to_pandas(self) -> "pd.DataFrame":
        """A row a layer and accounting: its mean energy and range in microjoules."""
        return frame(
            {"system": system.label, "part": part.name, "layer": layer.name, "column": column}
            | energy.model_dump(exclude={"kinds_uj", "unpriced"})
            | {"lower_bound": bool(energy.unpriced)}
            for system in self.report.systems
            for part in system.parts
            for layer in part.layers
            for column, energy in layer.energy.items()
        )

    def chip_to_pandas(self) -> "pd.DataFrame":
        """A row a part on the target: messages, hops, their energy, time of a step and of an inference.

        Figures are means of a sample; times are in microseconds. Empty where nothing was placed.
        """
        return frame(
            {"system": system.label, "part": part.name} | _chip_row(part.on_target)
            for system in self.report.systems
            for part in system.parts
            if part.on_target is not None
        )

    def compare(self, after: "Estimate", column: str | None = None) -> Comparison:
        """What changed from this build to a later one, layer by layer.

        Args:
            after: the later one, with the same prices.
            column: accounting of the energy; with memory if None.

        Raises:
            ConfigError: other prices, an accounting that there is not, or systems that do not match.
        """
        return compare_reports(self.report, after.report, column)

    def check_against(
        self, baseline: "Estimate | str | Path", tolerance: float = 0.0, column: str = "memory"
    ) -> CheckResult:
        """Whether any mean has grown since an earlier build.

        Args:
            baseline: the earlier one, or its report.json.
            tolerance: by how much a figure may have grown, as a share.
            column: accounting of the energy.

        Raises:
            UserError: a damaged report, other prices, an accounting that there is not, a negative tolerance,
                or systems that do not match.
        """
        earlier = baseline.report if isinstance(baseline, Estimate) else read_report(Path(baseline))
        return check_baseline(earlier, self.report, tolerance=tolerance, column=column)

    def write(self, folder: str | Path) -> tuple[Path, ...]:
        """Write report.json and report.html, each whole or not at all; returns their paths."""
        from nsc_deploy.energy.output.html import render_html

        page = render_html(self.report)
        files = {"report.json": self.report.model_dump_json(indent=2) + "\n", "report.html": page}
        for name, text in files.items():
            write_text(Path(folder) / name, text)
        return tuple(Path(folder) / name for name in files)

    def _repr_html_(self) -> str:
        from nsc_deploy.energy.output.headline_table import headline_tables
        from nsc_deploy.energy.output.tables import systems_table

        profile = self.report.profile
        note = f"<p>Mean of a sample. {escape(profile.title)} ({profile.name}, {profile.basis}).</p>"
        tables = [*headline_tables(self.report), systems_table(self.report)]
        return "".join(one.html() for one in tables) + note


def _synops(system: CountedSystem) -> Integers:
    """Synaptic operations of each sample, [samples]."""
    total: Integers = np.sum([part.per_sample.synaptic for part in system.parts], axis=0)
    return total


def target_of(name: str | Path | None) -> Target | None:
    """The target of a name, or of the TOML file of a chip; None or "none" for nowhere.

    Raises:
        ConfigError: no such target or file.
    """
    return None if name is None or str(name) == NOWHERE else load_target(str(name))


def price_book(profile: AnyProfile, host_profile: AnyProfile | None = None) -> PriceBook:
    """The prices of a system, and those of its parts on a host.

    Raises:
        ConfigError: a profile is unknown or damaged.
    """
    return PriceBook(load_profile(profile), None if host_profile is None else load_profile(host_profile))


def prices_of(
    profile: AnyProfile | None,
    host_profile: AnyProfile | None,
    budget: Budget | None,
    baseline: Estimate | None,
) -> PriceBook:
    """The prices that a check is made with: a budget says which, and nobody else may say otherwise.

    Raises:
        ConfigError: a profile is unknown or damaged, or another than the budget's.
    """
    earlier = None if baseline is None else baseline.report
    found = []
    for name, given, earlier_one in (
        ("profile", profile, None if earlier is None else earlier.profile),
        ("host_profile", host_profile, None if earlier is None else earlier.host_profile),
    ):
        signed: AnyProfile | None = None if budget is None else getattr(budget, name)
        other = None if signed is None or given is None else load_profile(given)
        if signed is not None and other is not None and not load_profile(signed).prices_as(other):
            raise ConfigError(
                f"the budget is for the {name.replace('_', ' ')} {signed}, and {other.name} is given",
                where=f"--{name.replace('_', '-')}",
                hint="Leave it out, or change the budget.",
            )
        found.append(signed or given or earlier_one)
    prices, host = found
    return price_book(prices or DEFAULT_PROFILE, host)


def _chip_row(placed: OnTarget) -> dict[str, Any]:
    """What is known of a part on a target; None where it is not."""
    traffic, energy, time, load = placed.traffic, placed.energy, placed.time, placed.load
    return {
        "target": placed.target,
        "on_host": placed.on_host,
        "fits": placed.fits,
        "problems": "; ".join(placed.problems),
        "messages": None if traffic is None else traffic.messages.mean,
        "hops": None if traffic is None or traffic.hops is None else traffic.hops.mean,
        "from_host": None if traffic is None else traffic.from_host.mean,
        "to_host": None if traffic is None else traffic.to_host.mean,
        "network_uj": None if energy is None else energy.mean_uj,
        "step_us_low": None if time is None else time.step_us.mean.low,
        "step_us_high": None if time is None else time.step_us.mean.high,
        "worst_step_us": None if time is None else time.step_us.worst.high,
        "inference_us_low": None if time is None else time.inference_us.mean.low,
        "inference_us_high": None if time is None else time.inference_us.mean.high,
        "busiest_core_share": None if load is None else load.share,
    }


@dataclass(frozen=True)
class Counted:
    """Systems with their operations counted, exactly.

    Attributes:
        systems: with counts for each sample and layer.
        options: how they were counted.
        diagnostics: what looks like a fault of the program that wrote a graph.
    """

    systems: tuple[CountedSystem, ...]
    options: Options = field(default_factory=Options)
    diagnostics: tuple[Diagnostic, ...] = ()

    def __repr__(self) -> str:
        """One line: a notebook shows the table instead."""
        systems = (
            f"{one.label}, {counted(one.samples, 'sample')}, {numbers.amount(_synops(one).mean())} SynOps"
            for one in self.systems
        )
        return f"<Counted: {'; '.join(systems)}>"

    @property
    def synops(self) -> Integers:
        """Synaptic operations of each sample, [samples], of the one system that was counted.

        Raises:
            ConfigError: there are several systems.
        """
        return _synops(self._only("a number of SynOps"))

    def estimate(
        self, profile: AnyProfile = DEFAULT_PROFILE, *, host_profile: AnyProfile | None = None
    ) -> Estimate:
        """Price the counts.

        Args:
            profile: name of a profile, a TOML file, or a profile.
            host_profile: the prices of the parts on a host; those of `profile` if None.

        Raises:
            ConfigError: a profile is unknown or damaged.
        """
        prices, options = price_book(profile, host_profile), self.options
        header = {
            "profile": prices.profile.name if isinstance(profile, Profile) else profile,
            "host profile": None if prices.host is None else prices.host.name,
            "samples": "all" if options.samples is None else options.samples,
            "dt": options.dt,
            "step": None if options.step_seconds is None else f"{options.step_seconds:g} s",
            "reset": options.reset,
            "target": None if options.target is None else options.target.name,
            "zeros": "skipped" if options.skip_zeros else None,
            "signal": options.signal,
            "arrays": "samples first" if options.samples_first else None,
            "layout": None if options.layout is Layout.STEPS_FIRST else options.layout,
        }
        given = {name: str(value) for name, value in header.items() if value is not None}
        report = build_report(self.systems, prices, options=given)
        beside = beside_other_recordings(report) if report.systems[1:] else ()
        warnings = (*self.diagnostics, *beside)
        return Estimate(report.model_copy(update={"warnings": warnings}))

    def check(
        self,
        budget: Budget | str | Path | None = None,
        profile: AnyProfile | None = None,
        *,
        host_profile: AnyProfile | None = None,
        baseline: Estimate | None = None,
        tolerance: float = 0.0,
    ) -> CheckResult:
        """Hold the counts against a budget, an earlier estimate with the same prices, or both.

        Args:
            budget: limits, or their TOML file.
            profile: the prices; those of the budget if None, else of the baseline, else the default.
            host_profile: the prices of the parts on a host; those of the budget if None.
            baseline: the earlier one; no mean may have grown.
            tolerance: by how much it may have grown all the same, as a share.

        Raises:
            ConfigError: a part is missing that a limit is for, the prices or the target are others than those
                of the budget, a tolerance that is negative or of no baseline, or systems that do not match.
        """
        refuse_tolerance(tolerance, against_baseline=baseline is not None)
        budget = Budget.read(budget) if isinstance(budget, str | Path) else budget
        prices = prices_of(profile, host_profile, budget, baseline)
        if budget is not None and budget.target is not None:
            self._require_target(budget.target)
        results = [] if budget is None else [check_budget(self.systems, prices, budget)]
        if baseline is not None:
            column = "memory" if budget is None else budget.column
            now = self.estimate(prices.profile, host_profile=prices.host)
            results.append(now.check_against(baseline, tolerance, column))
        findings = tuple(finding for result in results for finding in result.findings)
        warnings = (*self.diagnostics, *(one for result in results for one in result.warnings))
        both = {"findings": findings, "baseline": results[-1].baseline, "warnings": warnings}
        return results[0].model_copy(update=both)

    def _require_target(self, wanted: str) -> None:
        """Refuse a budget for another target than the one that the counts are placed on."""
        named = target_of(wanted)
        name = None if named is None else named.name
        for system in self.systems:
            if system.target != name:
                fixed = "check the graph file or the run it was made from in place of the folder"
                raise ConfigError(
                    f"the budget is for the target {wanted}, and {system.label} is counted on "
                    f"{system.target or NOWHERE}",
                    hint="Take target out of the budget, or "
                    + (f"count for it: --target {wanted}" if system.exported is None else f"{fixed}."),
                )

    def advise(
        self,
        profile: AnyProfile | None = None,
        column: str | None = None,
        *,
        host_profile: AnyProfile | None = None,
        by: str | None = None,
        budget: Budget | None = None,
        rate_run: "Counted | None" = None,
        write: str | Path | None = None,
        part: str | None = None,
        notify: Callable[[str], None] = lambda _line: None,
    ) -> "AdviceReport":
        """Try what could save energy: each change is made, run on the recordings and priced.

        Args:
            profile: the prices; those of the budget if None, else the default.
            column: accounting of the energy: paper, compute or memory; by default the budget's, else memory.
            host_profile: the prices of the parts on a host; those of the budget if None.
            by: what the changes are ranked by: energy, synops or memory; by default what the system is over
                in, of the limits of the budget, or energy without one.
            budget: limits; where they are for some parts, changes are ranked by what those save.
            rate_run: another run of the system, trained with a loss on the rate of spikes.
            write: where a NIR part goes with all that its outputs do not need taken out.
            part: which one is written; by default the last NIR part.
            notify: called with a line that says what was written.

        Raises:
            ConfigError: several systems, another column or objective, a price that is missing, or nothing to
                write.
        """
        from nsc_deploy.energy.advice.advise import Advisor, column_of, objective_of
        from nsc_deploy.energy.advice.records import Objective

        column = column_of(column, budget)
        if by is not None and by not in set(Objective):
            raise ConfigError(f"is {by!r} where one of {', '.join(Objective)} is wanted", where="--by")
        prices = prices_of(profile, host_profile, budget, None)
        system = self._only("advice")
        if system.exported is not None:
            raise ConfigError(
                "is a deployment, and advice changes graphs",
                where=system.path,
                hint="Name the graph it was made from, with --inputs.",
            )
        rival = None if rate_run is None else rate_run._only("advice")
        with waiting(f"changing {system.label}") as progress:
            objective, why = Objective(by or Objective.ENERGY), ""
            if budget is not None and by is None:
                objective, why = objective_of(check_budget(self.systems, prices, budget))
            advisor = Advisor(
                system,
                prices,
                self.options,
                column=column,
                by=objective,
                why=why,
                of=() if budget is None else parts_of(system, budget),
                progress=progress,
            )
            report = advisor.report(rival)
            if write is not None:
                name = advisor.write_pruned(Path(write), part)
        if write is not None:
            notify(f"wrote {write} ({name})")
        others = () if rate_run is None else rate_run.diagnostics
        warnings = tuple(dict.fromkeys((*self.diagnostics, *others)))
        return report.model_copy(update={"warnings": warnings})

    def _only(self, what: str) -> CountedSystem:
        if len(self.systems) != 1:
            raise ConfigError(
                f"{what} is for one system, and there are {len(self.systems)}", hint="Count one alone."
            )
        return self.systems[0]

    def to_pandas(self) -> "pd.DataFrame":
        """Means over the samples: a row a layer, a column a kind of operation or access."""
        return frame(row for label, part in self._parts() for row in _layer_rows(label, part))

    def steps_to_pandas(self) -> "pd.DataFrame":
        """The same for each step: a row a layer and step. Layers that take all steps at once have none."""
        return frame(row for label, part in self._parts() for row in _step_rows(label, part))

    def _parts(self) -> list[tuple[str, PartCount]]:
        return [(system.label, part) for system in self.systems for part in system.parts]

    def _repr_html_(self) -> str:
        return _table(("system", "part"), ((label, part.name, part) for label, part in self._parts()))


@dataclass(frozen=True)
class CountedGraph:
    """The operations of one graph in memory, or of a torch module.

    Attributes:
        part: counts for each sample, step and layer; layers are named as the nodes or modules.
    """

    part: PartCount

    def __repr__(self) -> str:
        """One line: a notebook shows the table instead."""
        sizes = counted(len(self.part.layers), "layer"), counted(self.part.samples, "sample")
        return f"<CountedGraph: {self.part.name}, {', '.join(sizes)}>"

    def energy(self, profile: AnyProfile = DEFAULT_PROFILE) -> dict[str, Energy]:
        """The energy of one sample in each accounting."""
        spiking = self.part.spiking
        columns = [one for one in ACCOUNTINGS if spiking or not one.spiking_only]
        prices = price_part(self.part, load_profile(profile), columns, spiking=spiking)
        return sum_prices([prices], columns)

    def to_pandas(self) -> "pd.DataFrame":
        """A row a layer: means over the samples."""
        return frame(_layer_rows(self.part.name, self.part))

    def _repr_html_(self) -> str:
        layers = ((layer.name, layer.primitive, str(layer.arrives), layer) for layer in self.part.layers)
        return _table(("layer", "primitive", "receives"), layers)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[*tuple[str, ...], PartCount | LayerCount]]) -> str:
    """Mean operations of a sample, for parts or layers, behind the words that name them."""
    kinds = columns("SynOps", *(numbers.KIND_NAMES[kind] for kind in Kind))
    cells = [
        Row(
            (
                *words,
                numbers.count(float(counts.per_sample.synaptic.mean())),
                *map(numbers.count, counts.per_sample.means().values()),
            )
        )
        for *words, counts in rows
    ]
    return Table("", (*columns(*heads, holds=Holds.NAMES), *kinds), tuple(cells)).html()


def _layer_rows(system: str, part: PartCount) -> list[dict[str, Any]]:
    """A row a layer: means over the samples, a column a kind of operation or access."""
    return [
        {"system": system, "part": part.name, "layer": layer.name, "primitive": layer.primitive}
        | {"arrives": str(layer.arrives), "neurons": layer.neurons, "synapses": layer.synapses}
        | {"dense": layer.dense}
        | layer.per_sample.means()
        | layer.traffic.means()
        for layer in part.layers
    ]


def _step_rows(system: str, part: PartCount) -> list[dict[str, Any]]:
    """A row a layer and step: means over the samples. Layers that take all steps at once have none."""
    return [
        {"system": system, "part": part.name, "layer": layer.name, "step": step}
        | {
            name: float(numbers[step] / part.samples)
            for name, numbers in (vars(layer.per_step) | vars(layer.traffic_per_step)).items()
        }
        for layer in part.layers
        if layer.per_step is not None and layer.traffic_per_step is not None
        for step in range(part.steps)
    ]
