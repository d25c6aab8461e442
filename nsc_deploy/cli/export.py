"""`nsc-deploy export`: from a graph to a deployment folder."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.diagnostics import say, tell
from nsc_deploy.cli.options import Classes, Dt, ResetChoice, SignalChoice, export_targets
from nsc_deploy.diagnostics import Diagnostic, collected
from nsc_deploy.errors import ConfigError


class ScalesOption(StrEnum):
    """Values of --scales."""

    NEURON = "neuron"
    LAYER = "layer"


def export(
    source: Annotated[
        Path, typer.Argument(help="A run directory, a NIR file, or (c) an ONNX file.", metavar="RUN_OR_GRAPH")
    ],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="Where to: lava, c (for microcontrollers), nir, nir-plain, onnx, snntorch, norse, or "
            "one that a package of yours adds.",
            autocompletion=export_targets,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; an earlier deployment is replaced.")],
    part: Annotated[
        str | None,
        typer.Option(
            "--part",
            help="Part of the run, as its deployment.json names them; the receiver's chip parts by default "
            "(c: or a conventional receiver).",
        ),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            help="Recorded inputs (.npz) of a graph file; by default those of the run or beside the file.",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="lava, c: inputs (.npz) to choose scales on; by default those of the run's training part.",
        ),
    ] = None,
    calibrate: Annotated[
        int | None,
        typer.Option(
            "--calibrate",
            min=0,
            help="lava, c: choose scales on the first N of them only; 0: from the weights alone.",
            metavar="N",
        ),
    ] = None,
    bits: Annotated[
        int, typer.Option("--bits", min=2, max=8, help="lava, c: bits of a weight, sign included.")
    ] = 8,
    scales: Annotated[
        ScalesOption,
        typer.Option("--scales", help="lava, c: a scale for each neuron, or one for all neurons of a node."),
    ] = ScalesOption.NEURON,
    split: Annotated[
        bool,
        typer.Option(
            "--split",
            help="Run on the host what the target cannot hold at either end, and export the middle.",
        ),
    ] = False,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
    classes: Classes = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="lava, c: print what each pass did, and the spikes it made differ."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written, with its manifest, as JSON.")
    ] = False,
) -> None:
    """Write the deployment folder of a target: what it runs, recorded inputs, and a manifest.

    The manifest says where the graph came from and everything that was approximated or verified on its way.
    """
    from nsc_deploy.exporters.base import ScaleGranularity
    from nsc_deploy.exporters.export import export_all
    from nsc_deploy.graphs.formats.nir import GraphOptions
    from nsc_deploy.graphs.formats.recording import recordings_beside

    options = GraphOptions.of(dt, reset, signal, classes)
    for file in (inputs, calibration):
        if file is not None and not file.is_file():
            raise ConfigError("there is no such file", where=file)
    named = None if inputs is None else [inputs]
    inputs = next(iter(recordings_beside([source], named, tell)), None)
    described: dict[Path, list[str]] = {}

    def describe(folder: Path, line: str, detail: bool) -> None:
        if explain or not detail:
            described.setdefault(folder, []).append(line)

    with collected() as warnings:
        exported = export_all(
            source,
            target,
            out,
            part=part,
            inputs=inputs,
            calibration=calibration,
            calibrate=calibrate,
            bits=bits,
            granularity=ScaleGranularity(scales.value),
            graph=options,
            split=split,
            notify=tell,
            describe=describe,
        )
    if as_json:
        _print_json(source, target, exported, warnings)
        return
    for folder in exported:
        say(f"wrote {folder}")
        for line in described.get(folder, ()):
            say(f"  {line}")
        hint = calibration_hint(folder)
        if hint is not None:
            say(f"  {hint}")


def calibration_hint(folder: Path) -> str | None:
    """What to try where the decisions of integers differ, and their scales were chosen on no inputs."""
    from nsc_deploy.io.files import read_json

    manifest = folder / "manifest.json"
    content = read_json(manifest) if manifest.is_file() else {}
    calibration, verification = content.get("calibration"), content.get("verification") or {}
    agreement = verification.get("agreement")
    if calibration is None or calibration.get("samples") or agreement is None or agreement == 1:
        return None
    return (
        f"{1 - agreement:.1%} of the decisions differ: scales chosen on recorded inputs may help "
        "(--calibration FILE.npz, other samples than those of --inputs)"
    )


def _print_json(source: Path, target: str, folders: tuple[Path, ...], warnings: list[Diagnostic]) -> None:
    import json
    from dataclasses import asdict

    from nsc_deploy.io.files import read_json

    written = []
    for folder in folders:
        manifest = folder / "manifest.json"
        files = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        content = read_json(manifest) if manifest.is_file() else None
        written.append({"folder": str(folder), "files": files, "manifest": content})
    told = [asdict(diagnostic) for diagnostic in warnings]
    answer = {"source": str(source), "target": target, "deployments": written, "warnings": told}
    typer.echo(json.dumps(answer, indent=2))
