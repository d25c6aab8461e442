"""`nsc-deploy record`: a recording of arrays."""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.options import SignalOption


def record(
    values: Annotated[
        Path,
        typer.Argument(
            help="Values, steps x samples x ...: an .npy file, or an .npz with one array called inputs.",
            metavar="VALUES",
        ),
    ],
    dt: Annotated[float, typer.Option("--dt", help="Length of a time step in seconds.")],
    signal: Annotated[
        SignalOption,
        typer.Option("--signal", help="What the values are: events (0 or 1), graded (counts) or real."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The recording to write (.npz).")],
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="The class of each sample, from 0 on: an .npy file."),
    ] = None,
    samples_first: Annotated[
        bool, typer.Option("--samples-first", help="The values are samples x steps x ....")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a recording that every command takes as --inputs, of arrays that any program saved.

    What the options state is checked: time first, events 0 or 1, graded values whole numbers, labels classes.
    """
    import json
    from dataclasses import asdict

    from nsc_deploy.diagnostics import collected
    from nsc_deploy.graphs.formats import recording
    from nsc_deploy.graphs.network import Signal
    from nsc_deploy.io.files import require_writable
    from nsc_deploy.io.text import counted

    require_writable(out)
    kind = Signal(signal.value)
    with collected() as warnings:
        if labels is None:
            made = recording.read_inputs(values, signal=kind, dt=dt, samples_first=samples_first)
        else:
            read = recording.read_array(values, recording.INPUT_NAMES)
            classes = recording.read_array(labels, recording.LABEL_NAMES)
            made = recording.recording_of_array(
                read, classes, signal=kind, dt=dt, where=values, samples_first=samples_first
            )
    recording.write_recording(out, made)
    if as_json:
        answer = {
            "recording": str(out),
            "steps": made.steps,
            "samples": made.samples,
            "shape": made.shape,
            "signal": made.signal,
            "dt": made.dt,
            "labelled": made.labels is not None,
            "warnings": [asdict(one) for one in warnings],
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    of = f"{made.signal.value} of shape {list(made.shape)}"
    typer.echo(f"wrote {out}: {counted(made.steps, 'step')}, {counted(made.samples, 'sample')}, {of}")
