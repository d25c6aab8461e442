"""What counting gives and what can be done with it: counts and estimates of systems and graphs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsc_deploy.diagnostics import Diagnostic
from nsc_deploy.energy.counting.operations import Kind, LayerCount, PartCount
from nsc_deploy.energy.pricing.price import ACCOUNTINGS
from nsc_deploy.energy.pricing.profile import DEFAULT_PROFILE, AnyProfile, Profile, load_profile
from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.budget import Budget, CheckResult, check_budget
from nsc_deploy.energy.report.build import build_report, price_part, sum_prices
from nsc_deploy.energy.report.compare import Comparison, check_baseline, compare_reports, read_report
from nsc_deploy.energy.report.on_chip import OnTarget
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.report.statistics import Energy
from nsc_deploy.energy.report.tabular import Holds, Row, Table, columns, frame
from nsc_deploy.energy.sources import CountedSystem, Options
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.files import write_text
from nsc_deploy.io.progress import waiting
from nsc_deploy.io.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from nsc_deploy.energy.advice.records import AdviceReport


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
            f"{one.label} {numbers.microjoules(one.energy[column.name].mean_uj)} uJ" for one in report.systems
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
            ConfigError: other prices, or systems that do not match.
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
            UserError: a damaged report, other prices, a negative tolerance, or systems that do not match.
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
        from nsc_deploy.energy.output.tables import systems_table

        profile = self.report.profile
        note = f"<p>Mean of a sample. {escape(profile.title)} ({profile.name}, {profile.basis}).</p>"
        return systems_table(self.report).html() + note


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
        systems = (f"{one.label}, {counted(one.samples, 'sample')}" for one in self.systems)
        return f"<Counted: {'; '.join(systems)}>"

    def estimate(self, profile: AnyProfile = DEFAULT_PROFILE) -> Estimate:
        """Price the counts.

        Args:
            profile: name of a profile, a TOML file, or a profile.

        Raises:
            ConfigError: the profile is unknown or damaged.
        """
        prices, options = load_profile(profile), self.options
        header = {
            "profile": prices.name if isinstance(profile, Profile) else profile,
            "samples": "all" if options.samples is None else options.samples,
            "dt": options.dt,
            "step": None if options.step_seconds is None else f"{options.step_seconds:g} s",
            "reset": options.reset,
            "target": None if options.target is None else options.target.name,
        }
        given = {name: str(value) for name, value in header.items() if value is not None}
        report = build_report(self.systems, prices, options=given)
        return Estimate(report.model_copy(update={"warnings": self.diagnostics}))

    def check(
        self,
        budget: Budget | None = None,
        profile: AnyProfile = DEFAULT_PROFILE,
        *,
        baseline: Estimate | None = None,
        tolerance: float = 0.0,
    ) -> CheckResult:
        """Hold the counts against a budget, an earlier estimate with the same prices, or both.

        Args:
            budget: limits.
            profile: the prices.
            baseline: the earlier one; no mean may have grown.
            tolerance: by how much it may have grown all the same, as a share.

        Raises:
            ConfigError: a price or a part is missing that a limit is for, other prices, a negative tolerance,
                or systems that do not match.
        """
        prices = load_profile(profile)
        findings = () if budget is None else check_budget(self.systems, prices, budget).findings
        warnings = self.diagnostics
        if baseline is not None:
            column = "memory" if budget is None else budget.column
            against = self.estimate(prices).check_against(baseline, tolerance, column)
            findings, warnings = findings + against.findings, warnings + against.warnings
        return CheckResult(profile=prices.name, findings=findings, warnings=warnings)

    def advise(
        self,
        profile: AnyProfile = DEFAULT_PROFILE,
        column: str = "memory",
        *,
        rate_run: "Counted | None" = None,
        write: str | Path | None = None,
        part: str | None = None,
        notify: Callable[[str], None] = lambda _line: None,
    ) -> "AdviceReport":
        """Try what could save energy: each change is made, run on the recordings and priced.

        Args:
            profile: the prices.
            column: accounting of the energy: paper, compute or memory.
            rate_run: another run of the system, trained with a loss on the rate of spikes.
            write: where a NIR part goes with all that its outputs do not need taken out.
            part: which one is written; by default the last NIR part.
            notify: called with a line that says what was written.

        Raises:
            ConfigError: several systems, another column, a price that is missing, or nothing to write.
        """
        from nsc_deploy.energy.advice.advise import Advisor, refuse_unknown_column

        refuse_unknown_column(column)
        system = self._only("advice")
        rival = None if rate_run is None else rate_run._only("advice")
        with waiting(f"changing {system.label}") as progress:
            advisor = Advisor(system, load_profile(profile), self.options, column=column, progress=progress)
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
        return sum_prices([price_part(self.part, load_profile(profile), columns, spiking=spiking)])

    def to_pandas(self) -> "pd.DataFrame":
        """A row a layer: means over the samples."""
        return frame(_layer_rows(self.part.name, self.part))

    def _repr_html_(self) -> str:
        layers = ((layer.name, layer.primitive, str(layer.arrives), layer) for layer in self.part.layers)
        return _table(("layer", "primitive", "receives"), layers)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[*tuple[str, ...], PartCount | LayerCount]]) -> str:
    """Mean operations of a sample, for parts or layers, behind the words that name them."""
    kinds = columns(*(numbers.KIND_NAMES[kind] for kind in Kind))
    cells = [
        Row((*words, *map(numbers.count, counts.per_sample.means().values()))) for *words, counts in rows
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
