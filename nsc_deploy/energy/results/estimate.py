"""Priced systems: their report and its tables, and what changed since an earlier build."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nsc_deploy.energy.report import numbers
from nsc_deploy.energy.report.budget import CheckResult
from nsc_deploy.energy.report.compare import Comparison, check_baseline, compare_reports, read_report
from nsc_deploy.energy.report.on_chip import OnTarget
from nsc_deploy.energy.report.schema import Report
from nsc_deploy.energy.report.tabular import frame
from nsc_deploy.io.files import write_text

if TYPE_CHECKING:
    import pandas as pd


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
