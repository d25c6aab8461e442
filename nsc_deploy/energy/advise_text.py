"""Advice in a terminal: the change that saves most first."""

from rich.console import Console
from rich.markup import escape

from nsc_deploy.energy.advice.advise import AdviceReport
from nsc_deploy.energy.output import numbers as show
from nsc_deploy.energy.output.tables import new_table


def print_advice(report: AdviceReport, console: Console) -> None:
    """Print what was tried and what it does."""
    now = f"{escape(report.system)}: {show.microjoules(report.energy_uj)} uJ a sample"
    accurate = "" if report.accuracy is None else f", {show.percent(report.accuracy)} % right"
    table = new_table(f"{now}{accurate}", ["Where", "Change"], ["uJ", "Saves", "Right %", "Outputs"])
    for one in report.advice:
        where = "/".join(name for name in (one.part, one.layer) if name) or "whole system"
        table.add_row(
            escape(where),
            escape(one.words),
            show.microjoules(one.after_uj),
            f"{100 * one.saved:.2f} %",
            show.percent(one.accuracy_after),
            "same" if one.same_outputs else "other",
        )
    console.print(table)
    if not report.advice:
        console.print("Nothing was found that could be changed.")
    console.print(
        f"Each line was made, run on {report.samples} recorded samples and priced with {report.profile} "
        f"(column {report.column}); energies are of the whole system. 'same': every output value of the "
        "part is as before on these samples; other samples may wake a neuron that was silent here.",
        style="dim",
        highlight=False,
    )
    for line in report.left_out:
        console.print(f"Not tried: {line}", style="dim", highlight=False)
