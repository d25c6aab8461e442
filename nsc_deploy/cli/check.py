"""`nsc-deploy check`: what a target says about each node of a graph."""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.inspect import Dt, ResetChoice, SignalChoice


def check(
    graph: Annotated[Path, typer.Argument(help="A NIR file.", metavar="FILE.nir")],
    target: Annotated[str, typer.Option("--target", help="The target to check for, for example lava.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
) -> None:
    """List each node as native, substituted or refused; exit code 1 where one is refused."""
    from nsc_deploy.exporters.plan import GraphOptions
    from nsc_deploy.exporters.registry import load_target
    from nsc_deploy.exporters.verdict import Status

    found = load_target(target)
    options = GraphOptions.of(dt, reset, signal)
    network = options.read(graph)
    verdicts = found.check(network)
    refused = sum(verdict.status is Status.REFUSED for verdict in verdicts)
    if as_json:
        import dataclasses
        import json

        nodes = [dataclasses.asdict(verdict) for verdict in verdicts]
        typer.echo(
            json.dumps(
                {"graph": str(graph), "target": target, "accepted": not refused, "nodes": nodes}, indent=2
            )
        )
    else:
        width = max(len(verdict.node) for verdict in verdicts)
        for verdict in verdicts:
            head = f"{verdict.status.value:<11}  {verdict.node:<{width}}  {verdict.primitive:<9}"
            typer.echo(f"{head}  {verdict.reason}" + (f". {verdict.remedy}" if verdict.remedy else ""))
        typer.echo(f"{refused} of {len(verdicts)} nodes refused by {target}" if refused else f"fits {target}")
    if refused:
        raise typer.Exit(1)
