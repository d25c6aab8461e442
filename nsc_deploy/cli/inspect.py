"""`nsc-deploy inspect`: what a graph file holds."""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.options import Dt, ResetChoice, SignalChoice
from nsc_deploy.diagnostics import tell_in_full

_PIPE_WIDTH = 140


def inspect(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="GRAPH",
            help="A .nir or .onnx file, a run (each of its graphs) or a deployment folder.",
            show_default=False,
        ),
    ],
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Also draw the graph into this .svg, .png or .pdf file.")
    ] = None,
    sent: Annotated[
        Path | None,
        typer.Option(
            "--sent",
            help="Of a run that sends bits, also draw those of one sample, step by step as sent and as "
            "received, into this .svg, .png or .pdf file.",
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", min=0, help="With --sent: which recorded sample; default 0.")
    ] = None,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
) -> None:
    """Show the nodes, shapes, parameters and time step of a graph."""
    tell_in_full()
    from nsc_deploy.deployment import graph_files
    from nsc_deploy.graphs.inspect.describe import describe
    from nsc_deploy.graphs.network import Reset, Signal

    descriptions = [
        describe(
            one,
            dt=dt,
            reset=None if reset is None else Reset(reset.value),
            signal=None if signal is None else Signal(signal.value),
        )
        for one in graph_files(file)
    ]
    if picture is not None:
        from nsc_deploy.errors import ConfigError
        from nsc_deploy.graphs.inspect.picture import draw

        if len(descriptions) > 1:
            raise ConfigError("draws one graph", where="--picture", hint=f"Name one: {descriptions[0].file}")
        draw(descriptions[0], picture)
        typer.echo(f"wrote {picture}", err=True)
    if sample is not None and sent is None:
        from nsc_deploy.errors import ConfigError

        raise ConfigError("is only used with --sent", where="--sample")
    if sent is not None:
        from nsc_deploy.verification.sent import draw_sent

        draw_sent(file, sample or 0, sent)
        typer.echo(f"wrote {sent}", err=True)
    if json_output:
        import json

        from nsc_deploy.graphs.inspect.describe import as_json

        told = [as_json(description) for description in descriptions]
        answer = told[0] if len(told) == 1 else {"graphs": told}
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
    else:
        import os
        import sys

        from rich.console import Console

        from nsc_deploy.graphs.inspect.describe import to_text

        width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
        console = Console(width=width, highlight=False, markup=False)
        for description in descriptions:
            # Never folded: a path is there to be copied.
            console.print(description.file, style="bold", soft_wrap=True)
            console.print(to_text(description))
