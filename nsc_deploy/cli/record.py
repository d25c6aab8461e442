"""`nsc-deploy record`: a recording of arrays."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.cli.options import SignalOption
from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    from nsc_deploy.graphs.formats.recording import Recording
    from nsc_deploy.graphs.network import Signal


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

    A recording may be given labels, with the --dt and --signal that it states.
    """
    import json
    from dataclasses import asdict

    from nsc_deploy.diagnostics import collected
    from nsc_deploy.graphs.formats import recording
    from nsc_deploy.graphs.network import Signal
    from nsc_deploy.io.npz import load_npz
    from nsc_deploy.io.outputs import FileKind, require_output
    from nsc_deploy.io.text import counted

    require_output(out, FileKind.ARRAYS, (values, labels))
    kind = Signal(signal.value)
    with collected() as warnings:
        arrays = {} if values.suffix == ".npy" else load_npz(values)
        if labels is not None and "labels" in arrays:
            raise ConfigError(
                "holds labels of its own", where=f"--labels: {values}", hint="Leave --labels out."
            )
        if recording.is_plain(arrays):
            made = _of_arrays(values, labels, kind, dt, samples_first=samples_first)
        else:
            recording.refuse_samples_first(values, samples_first=samples_first)
            made = _of_recording(values, labels, kind, dt)
    named = recording.is_plain(arrays) and not arrays.keys().isdisjoint(recording.INPUT_NAMES)
    read = {*recording.INPUT_NAMES, *recording.LABEL_NAMES}
    left = [name for name in arrays if name not in read] if named else []  # Else the one there is was read.
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
            "left_out": left,
            "warnings": [asdict(one) for one in warnings],
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    of = f"{made.signal.value} of shape {list(made.shape)}"
    told = "no labels" if made.labels is None else f"labels {made.labels.min():g} to {made.labels.max():g}"
    typer.echo(f"wrote {out}: {counted(made.steps, 'step')}, {counted(made.samples, 'sample')}, {of}, {told}")
    if left:
        typer.echo(f"left out: {', '.join(left)} (labels are an array 'labels', or --labels FILE.npy)")


def _of_arrays(
    values: Path, labels: Path | None, signal: "Signal", dt: float, *, samples_first: bool
) -> "Recording":
    """A recording of plain arrays, with the labels beside them in the file or in one of their own."""
    from nsc_deploy.graphs.formats import recording

    if labels is None:
        return recording.read_inputs(values, signal=signal, dt=dt, samples_first=samples_first)
    return recording.recording_of_array(
        recording.read_array(values, recording.INPUT_NAMES),
        recording.read_array(labels, recording.LABEL_NAMES),
        signal=signal,
        dt=dt,
        where=values,
        samples_first=samples_first,
    )


def _of_recording(file: Path, labels: Path | None, signal: "Signal", dt: float) -> "Recording":
    """A recording as it is, which must state what the options do, or the same with labels.

    Raises:
        ConfigError: it states another signal or step.
    """
    import math

    from nsc_deploy.graphs.formats import recording

    found = recording.read_recording(file)
    for differs, option, value in (
        (found.signal is not signal, "--signal", found.signal.value),
        (not math.isclose(found.dt, dt, rel_tol=1e-6), "--dt", f"{found.dt:g}"),
    ):
        if differs:
            raise ConfigError(
                f"is a recording already, which states {option} {value}",
                where=f"{option}: {file}",
                hint="Say the same, or record the arrays that it was made of anew.",
            )
    if labels is None:
        return found
    classes = recording.read_array(labels, recording.LABEL_NAMES)
    return recording.make_recording(found.values, found.signal, found.dt, classes, where=file)
