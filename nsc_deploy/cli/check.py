"""`nsc-deploy check`: what a target says about each node of a graph, and whether the graph fits a chip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.cli.options import Dt, ResetChoice, SignalChoice, check_targets

if TYPE_CHECKING:
    from nsc_deploy.exporters.base import Target
    from nsc_deploy.exporters.chips.fit import Fit
    from nsc_deploy.exporters.chips.placement import Usage
    from nsc_deploy.graphs.network import Network


def check(
    graph: Annotated[Path, typer.Argument(help="A NIR file.", metavar="FILE.nir")],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="lava, loihi1, loihi2, xylo-audio2, speck, or a TOML file that describes a chip.",
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
    from nsc_deploy.exporters.chips.target import ChipTarget
    from nsc_deploy.exporters.registry import load_target
    from nsc_deploy.graphs.formats.nir import GraphOptions

    found = load_target(target)
    network = GraphOptions.of(dt, reset, signal).read(graph)
    if isinstance(found, ChipTarget):
        accepted = _print_fit(found.fit(network, bits), network, graph, as_json=as_json)
    elif bits is not None:
        raise ConfigError(
            f"'{target}' chooses the bits of a weight when it exports",
            where="--bits",
            hint="Leave it out here, and give it to export.",
        )
    else:
        accepted = _print_verdicts(found, network, graph, as_json=as_json)
    if not accepted:
        raise typer.Exit(1)


def _print_fit(answer: "Fit", network: "Network", graph: Path, *, as_json: bool) -> bool:
    import sys

    if as_json:
        import json
        from dataclasses import asdict

        from nsc_deploy.exporters.chips.output import to_json

        warnings = [asdict(diagnostic) for diagnostic in network.diagnostics]
        told = {**to_json(answer, str(graph)), "warnings": warnings}
        typer.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        from rich.console import Console

        from nsc_deploy.exporters.chips.output import to_text

        console = Console(highlight=False, markup=False)
        if not sys.stdout.isatty():
            console = Console(highlight=False, markup=False, width=80)
        console.print(to_text(answer, str(graph)))
    return answer.fits


def _print_verdicts(target: "Target", network: "Network", graph: Path, *, as_json: bool) -> bool:
    from nsc_deploy.exporters.base import Status
    from nsc_deploy.exporters.partitioned.write import split_hint

    verdicts = target.check(network)
    refused = sum(verdict.status is Status.REFUSED for verdict in verdicts)
    hint = split_hint(network, target.check) if refused else None
    resources = _lava_resources(network) if target.name == "lava" and not refused else ()
    if as_json:
        import json
        from dataclasses import asdict

        answer = {
            "graph": str(graph),
            "target": target.name,
            "accepted": not refused,
            "hint": hint,
            "nodes": [asdict(verdict) for verdict in verdicts],
            "pools": [{**asdict(pool), "percent": pool.percent} for pool in resources],
            "warnings": [asdict(diagnostic) for diagnostic in network.diagnostics],
        }
        typer.echo(json.dumps(answer, indent=2))
        return not refused
    width = max(len(verdict.node) for verdict in verdicts)
    for verdict in verdicts:
        head = f"{verdict.status.value:<11}  {verdict.node:<{width}}  {verdict.primitive:<9}"
        typer.echo(f"{head}  {verdict.reason}" + (f". {verdict.hint}" if verdict.hint else ""))
    for pool in resources:
        limit = "" if pool.limit is None else f" of {pool.limit:,} ({pool.percent or 0:.1f} %)"
        typer.echo(f"{pool.pool}: {pool.used:,}{limit}")
    typer.echo(
        f"{refused} of {len(verdicts)} nodes refused by {target.name}" if refused else f"fits {target.name}"
    )
    if hint is not None:
        typer.echo(hint)
    return not refused


def _lava_resources(network: "Network") -> "tuple[Usage, ...]":
    """What the graph takes there; nothing where the lowering finds an obstacle that no verdict told of."""
    from nsc_deploy.errors import ExportError
    from nsc_deploy.exporters.lava.resources import lava_resources

    try:
        return lava_resources(network)
    except ExportError as error:
        typer.echo(f"not counted: {error.message}", err=True)
        return ()
