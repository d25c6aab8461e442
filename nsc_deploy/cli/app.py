"""The `nsc-deploy` command: it parses, calls one library function and prints.

Only typer and the standard library are imported here and at the top of the command modules, so that
`nsc-deploy --help` answers at once; everything heavy is imported inside the command that needs it.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nsc_deploy.cli import check as check_command
from nsc_deploy.cli import data as data_command
from nsc_deploy.cli import demo as demo_command
from nsc_deploy.cli import energy as energy_command
from nsc_deploy.cli import evaluate as attention_command
from nsc_deploy.cli import evaluate as evaluate_command
from nsc_deploy.cli import export as export_command
from nsc_deploy.cli import inspect as inspect_command
from nsc_deploy.cli import lava as lava_command
from nsc_deploy.cli import run as run_command
from nsc_deploy.cli import train as train_command
from nsc_deploy.cli import verify as verify_command
from nsc_deploy.cli.exit_codes import run_to_exit_code


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


def _version(asked: bool) -> None:
    if asked:
        from nsc_deploy import __version__

        typer.echo(f"nsc-deploy {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From a trained spiking receiver to a chip budget you can trust."""


app.command("demo", short_help="The whole path on synthesised speech: train, export, run, report.")(
    demo_command.demo
)
app.command("train", short_help="Train a system and write its run directory.")(train_command.train)
app.command("evaluate", short_help="Accuracy against SNR and against latency, with plots.")(
    evaluate_command.evaluate
)
app.command("attention", short_help="Draw when and where a trained system attends.")(
    attention_command.attention
)
app.command("inspect", short_help="Show nodes, shapes, parameters and time step of a graph.")(
    inspect_command.inspect
)
app.command("check", short_help="List each node as native, substituted or refused by a target.")(
    check_command.check
)
app.command("export", short_help="Write the deployment folder that a target runs.")(export_command.export)
app.command("run", short_help="Run a deployment beside its floating-point graph.")(run_command.run)
app.command("verify", short_help="Compare two backends on one graph, spike by spike.")(verify_command.verify)
app.add_typer(data_command.app, name="data")
app.add_typer(lava_command.app, name="lava")
app.add_typer(
    energy_command.app, name="energy", short_help="Count every operation, price it, hold it to a budget."
)


def main() -> None:
    """Run the command line and end the process with its exit code."""
    sys.exit(run_to_exit_code(lambda: app(prog_name="nsc-deploy")))
