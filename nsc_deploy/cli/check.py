"""`nsc-deploy check`: what a target says about each node of a graph, and whether the graph fits a chip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.cli.options import Dt, ResetChoice, SignalChoice, check_targets

if TYPE_CHECKING:
    from nsc_deploy.exporters.base import CheckResult, Target
    from nsc_deploy.exporters.chips.chip import Chip
    from nsc_deploy.exporters.chips.placement import Usage
    from nsc_deploy.graphs.network import Network


def check(
    graph: Annotated[Path, typer.Argument(help="A NIR file.", metavar="FILE.nir")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="lava, c, c:stm32l432 (or another microcontroller), loihi1, loihi2, xylo-audio2, speck, "
            "or a TOML file that describes a chip.",
            autocompletion=check_targets,
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    bits: Annotated[
        int | None,
        typer.Option("--bits", min=1, max=32, help="Bits of a weight on a chip, sign included (default 8)."),
    ] = None,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
) -> None:
    """List each node as native, substituted or refused, and hold a graph against a chip's limits.

    Exit code 1 where a node is refused or the graph does not fit.
    """
    from nsc_deploy.errors import ConfigError
    from nsc_deploy.exporters.registry import load_target
    from nsc_deploy.graphs.formats.nir import GraphOptions

    found = load_target(target)
    network = GraphOptions.of(dt, reset, signal).read(graph)
    result = found.check(network, bits)
    if bits is not None and result.weight_bits != bits:
        raise ConfigError(
            f"'{target}' chooses the bits of a weight when it exports",
            where="--bits",
            hint="Leave it out here, and give it to export.",
        )
    if result.chip is not None:
        _print_fit(result, result.chip, network, graph, as_json=as_json)
    else:
        _print_verdicts(result, found, network, graph, as_json=as_json)
    if not result.fits:
        raise typer.Exit(1)


def _print_fit(
    result: "CheckResult", chip: "Chip", network: "Network", graph: Path, *, as_json: bool
) -> None:
    """A graph held against the published limits of a chip."""
    import sys

    if as_json:
        import json
        from dataclasses import asdict

        from nsc_deploy.exporters.chips.output import to_json

        warnings = [asdict(diagnostic) for diagnostic in network.diagnostics]
        told = {**to_json(result, chip, str(graph)), "warnings": warnings}
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from nsc_deploy.exporters.chips.output import to_text

        console = Console(highlight=False, markup=False)
        if not sys.stdout.isatty():
            console = Console(highlight=False, markup=False, width=80)
        console.print(to_text(result, chip, str(graph)))


def _print_verdicts(
    result: "CheckResult", target: "Target", network: "Network", graph: Path, *, as_json: bool
) -> None:
    refused, hint = len(result.refused), None
    if refused:
        from nsc_deploy.exporters.partitioned.target import split_hint

        hint = split_hint(network, target)
    pools = _pools(result)
    if as_json:
        import json
        from dataclasses import asdict

        answer = {
            "graph": str(graph),
            "target": target.name,
            "accepted": result.fits,
            "hint": hint,
            "nodes": [asdict(verdict) for verdict in result.verdicts],
            "breaches": [asdict(breach) for breach in result.breaches],
            "notes": result.notes,
            "pools": [{**asdict(pool), "percent": pool.percent} for pool in pools],
            "warnings": [asdict(diagnostic) for diagnostic in network.diagnostics],
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    width = max(len(verdict.node) for verdict in result.verdicts)
    for verdict in result.verdicts:
        head = f"{verdict.status.value:<11}  {verdict.node:<{width}}  {verdict.primitive:<9}"
        typer.echo(f"{head}  {verdict.reason}" + (f". {verdict.hint}" if verdict.hint else ""))
    for pool in pools:
        limit = "" if pool.limit is None else f" of {pool.limit:,} ({pool.percent or 0:.1f} %)"
        unit = f" {pool.unit}" if pool.unit else ""
        typer.echo(f"{pool.pool}: {'at least ' if pool.at_least else ''}{pool.used:,}{limit}{unit}")
    for breach in result.breaches:
        typer.echo(f"{breach.where}: {breach.problem}. {breach.hint}")
    for note in result.notes:
        typer.echo(note)
    nodes = len(result.verdicts)
    if refused:
        typer.echo(f"{refused} of {nodes} nodes refused by {target.name}")
    else:
        typer.echo(f"{'fits' if result.fits else 'does not fit'} {target.name}")
    if hint is not None:
        typer.echo(hint)


def _pools(result: "CheckResult") -> "tuple[Usage, ...]":
    """What the graph takes there; nothing where an obstacle is found that no verdict told of."""
    from nsc_deploy.errors import ExportError

    try:
        return result.pools
    except ExportError as error:
        typer.echo(f"not counted: {error.message}", err=True)
        return ()
