"""`nsc-deploy export`: from a graph to a deployment folder."""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.inspect import Dt, ResetChoice, SignalChoice
from nsc_deploy.errors import ConfigError


def export(
    source: Annotated[Path, typer.Argument(help="A training run, or a NIR file.", metavar="RUN_OR_NIR")],
    target: Annotated[str, typer.Option("--target", help="Where to: lava, or a target of your own.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an earlier deployment is replaced.")],
    part: Annotated[
        str | None, typer.Option("--part", help="Part of the run; by default the receiver's chip parts.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Recorded inputs (.npz) to go with a NIR file.")
    ] = None,
    calibrate: Annotated[
        int,
        typer.Option("--calibrate", min=0, help="Choose scales on this many recorded samples (0: none)."),
    ] = 0,
    bits: Annotated[int, typer.Option("--bits", min=2, max=8, help="Bits of a weight, sign included.")] = 8,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print what each step did.")] = False,
) -> None:
    """Write what TARGET runs: integers, network file, and a manifest of every approximation."""
    from nsc_deploy.exporters.plan import GraphOptions, export_all

    options = GraphOptions.of(dt, reset, signal)
    if inputs is not None and not inputs.is_file():
        raise ConfigError("there is no such file", where=inputs)
    exported = export_all(
        source,
        target,
        out,
        part=part,
        inputs=inputs,
        calibrate=calibrate,
        bits=bits,
        graph=options,
        notify=lambda line: typer.echo(line, err=True),
    )
    for folder in exported:
        typer.echo(f"wrote {folder}")
        if target == "lava":
            _summarise(folder, explain)


def _summarise(folder: Path, explain: bool) -> None:
    from nsc_deploy.exporters.lava.manifest import read_manifest

    manifest = read_manifest(folder)
    sizes = " -> ".join(str(layer.neurons) for layer in manifest.layers)
    inexact = [one for one in manifest.approximations if not one.exact]
    typer.echo(
        f"  {manifest.layers[0].inputs} lines -> {sizes} neurons, {manifest.latency} steps of latency, "
        f"{len(inexact)} approximations, netx file {'written' if manifest.netx else 'not written'}"
    )
    if manifest.netx_obstacle:
        typer.echo(f"  no netx file: {manifest.netx_obstacle}")
    if manifest.netx_difference:
        typer.echo(f"  netx file differs: {manifest.netx_difference}")
    for one in manifest.approximations if explain else ():
        mark = "=" if one.exact else "~"
        typer.echo(f"  {mark} {one.step}: {one.node or 'graph'}: {one.text}")
