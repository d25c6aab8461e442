"""The `nsc-deploy` command: it parses, calls one library function and prints.

Only typer and the standard library are imported here and at the top of the command modules, so that
`nsc-deploy --help` answers at once; everything heavy is imported inside the command that needs it.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nsc_deploy.cli import (
    ask,
    check,
    data,
    demo,
    energy,
    evaluate,
    export,
    inspect,
    lava,
    mend,
    record,
    run,
    sweep,
    train,
    verify,
)
from nsc_deploy.cli.exit_codes import end_on_sigterm, run_to_exit_code


class QuickGroup(TyperGroup):
    """The root of the commands, with plain help: rich's panels would take half of its time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rich_markup_mode = None


app = typer.Typer(
    name="nsc-deploy",
    cls=QuickGroup,
    help="From a trained spiking receiver to a chip budget you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from nsc_deploy import __version__

        typer.echo(f"nsc-deploy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """From a trained spiking receiver to a chip budget you can trust."""


for command, summary in (
    (demo.demo, "The whole path on synthesised speech: train, export, run, report."),
    (train.train, "Train a system and write its run directory."),
    (sweep.sweep, "Train every combination of a grid file, and collect a table."),
    (evaluate.evaluate, "Accuracy against SNR and against latency, with plots."),
    (ask.attention, "Draw when and where a trained system attends."),
    (ask.ask, "Send sentences over the air and answer a question from memory."),
    (inspect.inspect, "Show nodes, shapes, parameters and time step of a graph."),
    (mend.mend, "Write the graph that another framework's exporter meant."),
    (record.record, "Make recorded inputs of arrays that any program saved."),
    (check.check, "List each node as native, substituted or refused by a target."),
    (export.export, "Write the deployment folder that a target runs."),
    (run.run, "Run a deployment beside its floating-point graph."),
    (verify.verify, "Compare two backends on one graph, spike by spike."),
):
    app.command(short_help=summary)(command)
app.add_typer(data.app, name="data")
app.add_typer(lava.app, name="lava")
app.add_typer(energy.app, name="energy", short_help="Count every operation, price it, hold it to a budget.")


def main() -> None:
    """Run the command line and end the process with its exit code."""
    end_on_sigterm()
    sys.exit(run_to_exit_code(lambda: app(prog_name="nsc-deploy")))
