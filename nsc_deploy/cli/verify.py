"""`nsc-deploy verify`: two backends, one graph, the same inputs."""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.diagnostics import say, tell
from nsc_deploy.cli.options import Classes, Dt, ResetChoice, RunCode, SignalChoice, words

BACKENDS = words("reference", "snntorch", "norse", "lava", "twin", "onnx")


def verify(
    subject: Annotated[
        Path,
        typer.Argument(
            help="A deployment folder, a NIR file, or a run (a part of it).", metavar="DEPLOYMENT_NIR_OR_RUN"
        ),
    ],
    against: Annotated[
        str,
        typer.Option(
            "--against",
            help="What the subject is compared with: reference, snntorch, norse, onnx, lava, twin, a target "
            "of another package, or a file of outputs that a framework gave itself (.npz, .npy).",
            autocompletion=BACKENDS,
        ),
    ],
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Recorded inputs (.npz); by default those in the folder.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Recorded samples, evenly spread; by default all.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="What runs the subject; by default its own backend, the twin for Lava.",
            autocompletion=BACKENDS,
        ),
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Every spike has to be equal.")] = False,
    max_accuracy_drop: Annotated[
        float | None, typer.Option("--max-accuracy-drop", help="Points of accuracy that may be lost.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option("--min-agreement", min=0, max=1, help="Share of equal decisions.")
    ] = None,
    min_rate_cosine: Annotated[
        float | None, typer.Option("--min-rate-cosine", min=-1, max=1, help="Mean cosine of firing rates.")
    ] = None,
    min_coincidence: Annotated[
        float | None, typer.Option("--min-coincidence", min=0, max=1, help="Share of coinciding spikes.")
    ] = None,
    max_rmse: Annotated[
        float | None,
        typer.Option(
            "--max-rmse",
            min=0,
            help="Error of any layer's potentials, in each neuron's threshold, else the largest potential.",
        ),
    ] = None,
    allow_silence: Annotated[
        bool,
        typer.Option("--allow-silence", help="A limit may hold where no output fires on either side."),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option("--part", help="The part of a run; by default the receiver's that is for a chip."),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            "--bits", min=2, max=8, help="Bits of a weight where a graph is lowered to Lava (default 8)."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=1.0, help="Seconds without a sign of life before Lava, or code, is ended."
        ),
    ] = 120.0,
    run_code: RunCode = False,
    dt: Dt = None,
    reset: ResetChoice = None,
    signal: SignalChoice = None,
    classes: Classes = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the result as HTML and JSON into this folder.")
    ] = None,
) -> None:
    """Compare two runs of one graph: accuracy, spikes and potentials of each layer, where they first part.

    Exit code 1 where a limit is missed. Code in a folder of snntorch or norse runs with --run-code alone.
    """
    import json

    from nsc_deploy.exporters.inputs import choose_samples
    from nsc_deploy.exporters.verify import open_subject
    from nsc_deploy.exporters.verify import verify as run
    from nsc_deploy.graphs.formats.nir import GraphOptions
    from nsc_deploy.graphs.formats.recording import recordings_beside
    from nsc_deploy.io.files import require_writable
    from nsc_deploy.io.progress import progress_bar
    from nsc_deploy.verification.limits import Limits
    from nsc_deploy.verification.output import HTML_FILE, as_text, write_report
    from nsc_deploy.verification.output import as_json as machine

    if out is not None:
        require_writable(out / HTML_FILE)
    limits = Limits(
        max_accuracy_drop,
        min_agreement,
        min_rate_cosine,
        min_coincidence,
        max_rmse,
        exact,
        allow_silence=allow_silence,
    )
    named = None if inputs is None else [inputs]
    inputs = next(iter(recordings_beside([subject], named, tell)), None)
    opened = open_subject(subject, GraphOptions.of(dt, reset, signal, classes), inputs, part)
    if opened.path != subject:
        tell(f"verifying {opened.path}")
    chosen = choose_samples(opened, inputs, samples)
    with progress_bar() as progress:
        task = progress.add_task(f"samples against {against}", total=chosen.values.shape[1])
        result = run(
            opened,
            against,
            chosen,
            limits,
            on=on,
            bits=bits,
            silence_s=timeout,
            run_code=run_code,
            advance=lambda count: progress.advance(task, count),
        )
    if out is not None:
        for path in write_report(out, result):
            tell(f"wrote {path}")
    if as_json:
        typer.echo(json.dumps(machine(result), indent=2, allow_nan=False))
    else:
        say(as_text(result))
    if not result.passed:
        raise typer.Exit(1)
