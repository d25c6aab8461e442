"""`nsc-deploy check`: what a target says about each node of a graph, and whether the graph fits a chip."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsc_deploy.cli.diagnostics import tell
from nsc_deploy.cli.options import Classes, Dt, ResetChoice, SignalChoice, check_targets
from nsc_deploy.diagnostics import tell_in_full

if TYPE_CHECKING:
    from nsc_deploy.exporters.base import CheckResult, Target
    from nsc_deploy.graphs.network import Network


def check(
    graph: Annotated[
        Path,
        typer.Argument(
            help="A NIR file, a run (its parts for a chip, for c ONNX ones too), a deployment folder, or (c) "
            "an ONNX file.",
            metavar="GRAPH",
        ),
    ],
    target: Annotated[
        str,
        typer.Option(
            "--target",
            help="lava, c, c:stm32l432 (or another microcontroller), loihi1, loihi2, xylo-audio2, speck, "
            "or a TOML file that describes a chip.",
            autocompletion=check_targets,
        ),
    ],
    details: Annotated[
        bool,
        typer.Option("--details", help="Also each node and core, what was not checked, and the sources."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    bits: Annotated[
        int | None,
        typer.Option("--bits", min=1, max=32, help="Bits of a weight, sign included (default 8; c: 2 to 8)."),
    ] = None,
    part: Annotated[str | None, typer.Option("--part", help="The one part of a run.")] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--inputs", help="Recorded inputs (.npz), which say what enters where a file does not."),
    ] = None,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
    classes: Classes = None,
) -> None:
    """Say whether a graph fits a target, what it takes there, and what would make it fit.

    Exit code 1 where a node is refused or the graph does not fit.
    """
    import json

    from nsc_deploy.errors import ConfigError
    from nsc_deploy.exporters.base import naming
    from nsc_deploy.exporters.check import graphs_of
    from nsc_deploy.exporters.registry import load_target
    from nsc_deploy.graphs.formats.nir import GraphOptions
    from nsc_deploy.graphs.formats.recording import recordings_beside

    tell_in_full()
    named = None if inputs is None else [inputs]
    inputs = next(iter(recordings_beside([graph], named, tell)), None)
    found = load_target(target)
    options = GraphOptions.of(dt, reset, signal, classes)
    told: list[str] = []

    def notify(line: str) -> None:
        told.append(line)
        tell(line)

    networks = graphs_of(graph, options, part, inputs, target=found, notify=notify)
    if inputs is not None:
        _require_fitting(inputs, networks)
    results = []
    for name, network in networks:
        with naming(name if len(networks) > 1 else graph):
            results.append((name, network, _to_the_end(found.check(network, bits))))
    if signal is None and inputs is None:
        for name, network, result in results:
            _refuse_unstated(name, network, result)
    if bits is not None and any(result.weight_bits != bits for _, _, result in results):
        raise ConfigError(
            f"'{target}' chooses the bits of a weight when it exports",
            where="--bits",
            hint="Leave it out here, and give it to export.",
        )
    if as_json:
        answers = [_as_json(result, found, network, name) for name, network, result in results]
        several = {"accepted": all(result.fits for _, _, result in results), "graphs": answers}
        answer = (answers[0] if len(answers) == 1 else several) | {"told": told}
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
    else:
        for name, network, result in results:
            _print(result, found, network, name, details=details)
    if not all(result.fits for _, _, result in results):
        raise typer.Exit(1)


def _require_fitting(inputs: Path, networks: "tuple[tuple[str, Network], ...]") -> None:
    """Refuse recorded inputs of another graph, as every command does that feeds them.

    Raises:
        ConfigError: they differ from what enters, or several graphs are checked.
        DataError: missing or damaged.
    """
    from nsc_deploy.errors import ConfigError
    from nsc_deploy.exporters.inputs import fits, recording_for

    if len(networks) > 1:
        raise ConfigError(
            f"are those of one graph, and {len(networks)} are checked",
            where="--inputs",
            hint="Name the part with --part, or leave --inputs out: parts of a run say what enters them.",
        )
    [(_, network)] = networks
    fits(recording_for(network, inputs), network, inputs)


def _refuse_unstated(name: str, network: "Network", result: "CheckResult") -> None:
    """A refusal of what enters is no answer about the target where nobody has said what enters.

    Raises:
        ConfigError: the target refuses real values, which the graph was taken to take in for want of a word.
    """
    from nsc_deploy.errors import ConfigError
    from nsc_deploy.graphs.network import Signal

    silent = {
        node.name
        for node in network.nodes
        if node.primitive == "Input"
        and node.emits is Signal.REAL
        and "signal" not in node.parameters.metadata
    }
    if any(verdict.node in silent for verdict in result.refused):
        raise ConfigError(
            "does not state what enters it, and the answer depends on it",
            where=name,
            hint="Add --signal events (spikes), graded (whole numbers) or real; or --inputs with a recording "
            "that states it.",
        )


def _print(result: "CheckResult", target: "Target", network: "Network", name: str, *, details: bool) -> None:
    import sys

    from rich.console import Console

    from nsc_deploy.exporters.chips.output import to_text

    console = Console(highlight=False, markup=False)
    if not sys.stdout.isatty():
        console = Console(highlight=False, markup=False, width=80)
    console.print(to_text(result, target.name, name, details=details))
    hint = _hint(result, target, network)
    if hint is not None:
        console.print(hint)


def _as_json(result: "CheckResult", target: "Target", network: "Network", name: str) -> dict[str, Any]:
    from dataclasses import asdict

    warnings = [asdict(diagnostic) for diagnostic in network.diagnostics]
    if result.chip is not None:
        from nsc_deploy.exporters.chips.output import to_json

        return {**to_json(result, result.chip, name), "warnings": warnings}
    return {
        "graph": name,
        "target": target.name,
        "accepted": result.fits,
        "hint": _hint(result, target, network),
        "nodes": [asdict(verdict) for verdict in result.verdicts],
        "breaches": [asdict(breach) for breach in result.breaches],
        "notes": result.notes,
        "pools": [{**asdict(pool), "percent": pool.percent} for pool in result.pools],
        "warnings": warnings,
    }


def _hint(result: "CheckResult", target: "Target", network: "Network") -> str | None:
    if result.chip is not None or not result.refused:
        return None
    from nsc_deploy.exporters.partitioned.target import split_hint

    return split_hint(network, target)


def _to_the_end(result: "CheckResult") -> "CheckResult":
    """The result, with what only the lowered graph shows: what an export refuses does not fit."""
    from nsc_deploy.errors import ExportError

    try:
        result.pools  # noqa: B018 - counted at the first look
    except ExportError as error:
        return result.refusing(error)
    return result
