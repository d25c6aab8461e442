"""`nsc-deploy mend`: the graph that another framework's exporter meant."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.diagnostics import say
from nsc_deploy.cli.options import ResetChoice, SignalChoice
from nsc_deploy.diagnostics import collected, tell_in_full
from nsc_deploy.errors import ConfigError


class MakerOption(StrEnum):
    """Values of --from."""

    SNNTORCH = "snntorch"
    NORSE = "norse"
    SPIKINGJELLY = "spikingjelly"
    SINABS = "sinabs"
    ROCKPOOL = "rockpool"


def mend(
    file: Annotated[Path, typer.Argument(help="A NIR file of another framework.", metavar="FILE.nir")],
    maker: Annotated[MakerOption, typer.Option("--from", help="The framework whose exporter wrote it.")],
    out: Annotated[Path, typer.Option("--out", help="The NIR file to write; none that is read.")],
    dt: Annotated[
        float | None,
        typer.Option(
            "--dt",
            help="Length of a step in seconds: of the export where the file does not tell it (Norse, LIF of "
            "SpikingJelly), else the real one.",
        ),
    ] = None,
    step_seconds: Annotated[
        float | None,
        typer.Option(
            "--step-seconds",
            help="The real length of a step, where that of the file is nominal (snnTorch's 0.1 ms).",
        ),
    ] = None,
    reset: ResetChoice = None,
    said: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="What the model's neurons have and the file cannot say, in the framework's words: "
            "norm_input=false (sinabs), reset_delay=false (snnTorch), v_reset=0.1 (Norse).",
            metavar="NAME=VALUE",
        ),
    ] = None,
    sums: Annotated[
        list[str] | None,
        typer.Option(
            "--sum",
            help="A sum that the exporter lost: the node that takes it in, and those it adds up.",
            metavar="NODE=FIRST,SECOND",
        ),
    ] = None,
    signal: SignalChoice = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="What entered the model (.npz, .npy); with --outputs.")
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option("--outputs", help="What the model gave for it in its framework (.npz, .npy)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write the graph that a framework's exporter meant, with its step and its reset.

    With --inputs and --outputs nothing is written unless every output is the framework's own.
    """
    tell_in_full()
    import json
    import math
    from dataclasses import asdict

    from nsc_deploy.exporters.mend import mend_file
    from nsc_deploy.graphs.formats.writers.statement import Maker, Statement
    from nsc_deploy.graphs.network import Reset, Signal

    for name, value in (("--dt", dt), ("--step-seconds", step_seconds)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise ConfigError(f"{value} is no number of seconds above 0", where=name)
    if outputs is not None and inputs is None:
        raise ConfigError("lacks what entered", where="--outputs", hint="Add --inputs.")
    statement = Statement(
        dt=dt,
        step_seconds=step_seconds,
        reset=None if reset is None else Reset(reset.value),
        said=_pairs(said, "--set"),
        sums={name: tuple(ends.split(",")) for name, ends in _pairs(sums, "--sum").items()},
        signal=None if signal is None else Signal(signal.value),
    )
    with collected() as warnings:
        done = mend_file(file, Maker(maker.value), statement, out, inputs=inputs, outputs=outputs)
    if as_json:
        answer = {
            "file": str(out),
            "from": maker.value,
            "dt": done.network.step_seconds,
            "reset": done.network.reset,
            "assumed": done.assumed,
            "unsaid": done.unsaid,
            "compared": None if done.comparison is None else done.comparison.output.compared,
            "outputs": done.outputs,
            "warnings": [asdict(one) for one in warnings],
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    how = f"dt {done.network.step_seconds:g} s, reset {done.network.reset}"
    say(f"wrote {out}: {how}")
    for assumption in done.assumed:
        say(f"taken for granted: {assumption}")
    if signal is None and "signal" not in done.network.input_node.parameters.metadata:
        say("what enters is left open: --signal events, graded or real writes it down")
    if done.comparison is None:
        say(f"not compared with {maker.value}, whose files cannot say {done.unsaid}")
        say("--inputs and --outputs compare it with what the model gave")
    else:
        say(f"verified: all {done.comparison.output.compared} outputs are those of {outputs}")
    if not done.outputs:
        say("no output fires on the inputs that it was tried with: that says nothing of it")


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise ConfigError(f"'{text}' is no NAME=VALUE", where=option)
        if name in found:
            raise ConfigError(f"says {name} twice", where=option)
        found[name] = value
    return found
