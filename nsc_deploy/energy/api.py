"""Counting, pricing and budgets from Python and in notebooks.

from nsc_deploy.energy import Budget, count, estimate

counted = count("runs/event", target="loihi1")
priced = estimate(counted, profile="loihi")
priced.to_pandas()
priced.chip_to_pandas()
priced.compare(estimate("runs/event-quiet", profile="loihi"))
counted.check(Budget.read("budget.toml"))
counted.advise()

Every result shows as a table in a notebook and has a `to_pandas`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from nsc_deploy.energy.advice.advise import AdviceReport, Advisor
from nsc_deploy.energy.counting.operations import Kind
from nsc_deploy.energy.output import numbers as show
from nsc_deploy.energy.output.notebook import chip_row, frame, layer_rows, step_rows, table
from nsc_deploy.energy.pipeline import (
    DEFAULT_PROFILE,
    asked,
    chosen_reset,
    count_systems,
    refuse_unknown_column,
    write_report,
)
from nsc_deploy.energy.pricing.profile import Profile, load_profile
from nsc_deploy.energy.report.budget import Budget, CheckResult, check_budget
from nsc_deploy.energy.report.build import build_report
from nsc_deploy.energy.report.compare import Comparison, check_baseline, compare_reports, read_report
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.sources import CountedSystem, Options, Source
from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Counted:
    """Systems with their operations counted, exactly.

    Attributes:
        systems: with counts for each sample and layer.
        options: how they were counted.
    """

    systems: tuple[CountedSystem, ...]
    options: Options = field(default_factory=Options)

    def estimate(self, profile: str | Path | Profile = DEFAULT_PROFILE) -> "Estimate":
        """Price the counts."""
        return estimate(self, profile)

    def check(self, budget: Budget, profile: str | Path | Profile = DEFAULT_PROFILE) -> CheckResult:
        """Hold the counts against a budget."""
        return check_budget(self.systems, _profile(profile), budget)

    def advise(
        self,
        profile: str | Path | Profile = DEFAULT_PROFILE,
        column: str = "memory",
        *,
        rate_run: "Counted | None" = None,
        write: str | Path | None = None,
        part: str | None = None,
    ) -> AdviceReport:
        """Try what could save energy: each change is made, run on the recordings and priced.

        Args:
            profile: the prices.
            column: accounting of the energy: paper, compute or memory.
            rate_run: another run of the system, trained with a loss on the rate of spikes.
            write: where a NIR part goes with all that its outputs do not need taken out.
            part: which one is written; by default the last NIR part.

        Raises:
            ConfigError: several systems, another column, a price that is missing, or nothing to write.
        """
        refuse_unknown_column(column)
        system = self._only("advice")
        source = Source(system.label, system.path, system.deployment, system.work)
        advisor = Advisor(source, _profile(profile), self.options, column=column)
        report = advisor.report(None if rate_run is None else rate_run._only("advice"))
        if write is not None:
            advisor.write_pruned(Path(write), part)
        return report

    def _only(self, what: str) -> CountedSystem:
        if len(self.systems) != 1:
            raise ConfigError(
                f"{what} is for one system, and there are {len(self.systems)}", hint="Count one alone."
            )
        return self.systems[0]

    def to_pandas(self) -> "pd.DataFrame":
        """Means over the samples: a row a layer, a column a kind of operation or access."""
        return frame(
            [
                row
                for system in self.systems
                for part in system.count.parts
                for row in layer_rows(system.label, part)
            ]
        )

    def steps_to_pandas(self) -> "pd.DataFrame":
        """The same for each step: a row a layer and step. Layers that take all steps at once have none."""
        return frame(
            [
                row
                for system in self.systems
                for part in system.count.parts
                for row in step_rows(system.label, part)
            ]
        )

    def _repr_html_(self) -> str:
        rows = [
            [system.label, part.name, *(show.count(float(part.per_sample.of(kind).mean())) for kind in Kind)]
            for system in self.systems
            for part in system.count.parts
        ]
        return table(["system", "part", *(show.KIND_NAMES[kind] for kind in Kind)], rows)


@dataclass(frozen=True)
class Estimate:
    """Priced systems.

    Attributes:
        report: everything, as `report.json` has it.
    """

    report: Report

    def to_pandas(self) -> "pd.DataFrame":
        """A row a layer and accounting: its mean energy and range in microjoules."""
        return frame(
            [
                {"system": system.label, "part": part.name, "layer": layer.name, "column": column}
                | energy.model_dump(exclude={"kinds_uj", "unpriced"})
                | {"lower_bound": bool(energy.unpriced)}
                for system in self.report.systems
                for part in system.parts
                for layer in part.layers
                for column, energy in layer.energy.items()
            ]
        )

    def chip_to_pandas(self) -> "pd.DataFrame":
        """A row a part on the target: messages, hops, their energy, time of a step and of an inference.

        Figures are means of a sample; times are in microseconds. Empty where nothing was placed.
        """
        return frame(
            [
                {"system": system.label, "part": part.name} | chip_row(part.on_target)
                for system in self.report.systems
                for part in system.parts
                if part.on_target is not None
            ]
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
        """Write report.json and report.html; returns their paths."""
        return write_report(self.report, Path(folder))

    def _repr_html_(self) -> str:
        digits = show.digits(show.all_sides(self.report))
        rows = [
            [system.label]
            + [show.energy(system.energy.get(column.name), digits) for column in self.report.columns]
            for system in self.report.systems
        ]
        heads = ["system", *(f"{column.title}, µJ" for column in self.report.columns)]
        profile = self.report.profile
        note = f"<p>Mean of a sample. {escape(profile.title)} ({profile.name}, {profile.basis}).</p>"
        return table(heads, rows) + note


def count(
    sources: Paths,
    *,
    inputs: Paths = (),
    samples: int | None = None,
    dt: float | None = None,
    reset: str | None = None,
    target: str | Path | None = None,
) -> Counted:
    """Count every operation of run folders or graph files over their recorded inputs.

    Args:
        sources: one or several run folders, .nir or .onnx files.
        inputs: recordings (.npz) of the graph files.
        samples: count only the first so many.
        dt: seconds, for a NIR file that does not state its step.
        reset: "zero" or "subtract", for a NIR file that does not state it.
        target: name of a target, or the TOML file of a chip, on which NIR parts are placed and watched.

    Raises:
        UserError: anything missing, damaged or inconsistent among them.
    """
    systems = count_systems(
        _paths(sources),
        recordings=_paths(inputs),
        samples=samples,
        dt=dt,
        reset=reset,
        target=None if target is None else str(target),
    )
    options = Options(samples=samples, dt=dt, reset=chosen_reset(reset))
    return Counted(systems, options)


def estimate(sources: Counted | Paths, profile: str | Path | Profile = DEFAULT_PROFILE) -> Estimate:
    """Price counts; run folders and graph files that need nothing further are counted first.

    Those that are counted here are placed on the chip of the profile, if it is of one; for counts that are
    there already `count` decides.

    Args:
        sources: what `count` gave, or run folders.
        profile: name of a profile, a TOML file, or a profile.

    Raises:
        UserError: as `count`, and for a profile that is unknown or damaged.
    """
    prices = _profile(profile)
    counted = sources if isinstance(sources, Counted) else count(sources, target=prices.chip)
    # The counts say how many samples there were; whether that was all of them is not known here.
    samples = max(system.count.samples for system in counted.systems)
    return Estimate(
        build_report(
            counted.systems,
            prices,
            options=asked(prices.name, samples=samples, target=counted.systems[0].target),
        )
    )


def _profile(profile: str | Path | Profile) -> Profile:
    return profile if isinstance(profile, Profile) else load_profile(str(profile))


def _paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
