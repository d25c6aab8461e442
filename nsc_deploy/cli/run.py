"""`nsc-deploy run`: a deployment folder on a backend, beside the floating-point graph."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsc_deploy.cli.diagnostics import say
from nsc_deploy.cli.options import RunCode, words
from nsc_deploy.diagnostics import Diagnostic, collected, tell_in_full

if TYPE_CHECKING:
    from nsc_deploy.exporters.c.cost import StepCost
    from nsc_deploy.exporters.verify import Run

_MOST_LISTED = 10


def run(
    folder: Annotated[
        Path, typer.Argument(help="A deployment folder that export has written.", metavar="DIR")
    ],
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            help="By default what the folder was exported to; twin, the integers for Lava without Lava; "
            "for C: host, compiled for this machine; qemu, on a Cortex-M, instructions counted; emulator; "
            "reference, the graph in floating point.",
            autocompletion=words("lava", "twin", "host", "qemu", "emulator", "reference"),
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples", min=1, help="Recorded samples to run, evenly spread; all of them by default."
        ),
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option("--inputs", help="Recorded inputs (.npz) other than those in the folder.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=1.0, help="Seconds without a sign of life before Lava, or code, is ended."
        ),
    ] = 120.0,
    run_code: RunCode = False,
    cpu: Annotated[
        str | None,
        typer.Option(
            "--cpu",
            help="Core for --backend qemu: cortex-m0, m3, m4 (default), m7, m33 or m55.",
            autocompletion=words(*(f"cortex-m{one}" for one in (0, 3, 4, 7, 33, 55))),
        ),
    ] = None,
    clock: Annotated[
        float | None,
        typer.Option("--clock", min=0.001, help="MHz of that core: also print the time of a step."),
    ] = None,
    by_function: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="With qemu: instructions of the first sample (of 32 steps at most) by function, and bounds "
            "in cycles.",
        ),
    ] = False,
    details: Annotated[
        bool,
        typer.Option(
            "--details", help="List the decision of every sample, not of those that disagree alone."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write spikes, decisions and labels into this .npz.")
    ] = None,
) -> None:
    """Run recorded samples and print both sides: decisions, accuracy, rate cosine, spike coincidence."""
    import json

    from nsc_deploy.errors import ConfigError
    from nsc_deploy.exporters.verify import open_deployment
    from nsc_deploy.exporters.verify import run as run_deployment
    from nsc_deploy.io.outputs import FileKind, require_output
    from nsc_deploy.io.progress import progress_bar

    named = {"--cpu": cpu is not None, "--clock": clock is not None, "--profile": by_function}
    if any(named.values()) and backend != "qemu":
        option = next(one for one, there in named.items() if there)
        raise ConfigError("only QEMU runs code on a core", where=option, hint="Add --backend qemu.")
    if out is not None:
        require_output(out, FileKind.ARRAYS, (inputs,))
    tell_in_full(asked=details)
    with collected() as warnings, progress_bar() as progress:
        deployment = open_deployment(folder)
        task = progress.add_task(f"samples on {backend or deployment.target}", total=samples)
        done = run_deployment(
            deployment,
            backend,
            samples=samples,
            inputs=inputs,
            silence_s=timeout,
            run_code=run_code,
            cpu=cpu,
            advance=lambda count: progress.advance(task, count),
        )
        count = done.comparison.samples
        progress.update(task, total=count, completed=count)
    if out is not None:
        _write(out, done)
    cost = _cost(done, deployment.network.dt, cpu, clock)
    profiled = None
    if by_function:
        from nsc_deploy.exporters.c.profile import profile_folder

        profiled = profile_folder(folder, cpu=cpu, inputs=inputs, run_code=run_code)
    if as_json:
        answer = _as_json(folder, done, warnings)
        if cost is not None:
            answer["cost"] = cost.as_json()
        if profiled is not None:
            answer["profile"] = profiled.as_json()
        typer.echo(json.dumps(answer, indent=2, allow_nan=False))
    else:
        extra = [line for one in (cost, profiled) if one is not None for line in one.lines()]
        say("\n".join([_as_text(done, details=details), *extra]))


def _cost(done: "Run", dt: float | None, cpu: str | None, clock: float | None) -> "StepCost | None":
    """What a step took, where the backend counts instructions."""
    if done.instructions is None:
        return None
    from nsc_deploy.exporters.c.cost import StepCost

    # A sample that enters whole has one step of its whole length.
    each = None if dt is None else dt * done.comparison.steps / len(done.instructions)
    return StepCost.of(done.instructions, cpu=cpu, clock_mhz=clock, dt=each)


def _as_json(folder: Path, done: "Run", warnings: list[Diagnostic]) -> dict[str, Any]:
    import dataclasses

    def listed(values: Any) -> Any:
        return None if values is None else values.tolist()

    return {
        "deployment": str(folder),
        "backend": done.backend,
        "samples": done.samples.tolist(),
        "seconds": round(done.comparison.other_seconds, 3),
        "decisions": listed(done.decisions),
        "reference_decisions": listed(done.reference_decisions),
        "labels": listed(done.labels),
        "parity": done.parity(),
        "output_error": done.output_error,
        "output_range": done.output_range,
        "warnings": [dataclasses.asdict(diagnostic) for diagnostic in warnings],
    }


def _as_text(done: "Run", *, details: bool) -> str:
    from nsc_deploy.io.text import counted, percent

    one, name = done.comparison, done.backend
    output, decisions = one.output.told, one.decisions

    def share(value: float | None) -> str:
        return "-" if value is None else f"{percent(value, 2)}%"

    accuracies = (
        (None, None) if decisions is None else (decisions.reference_accuracy, decisions.other_accuracy)
    )
    lines = [
        f"{counted(one.samples, 'sample')}, {one.other_seconds:.1f} s",
        f"{'':<20}{'reference':>12}{name:>12}",
        f"{'accuracy':<20}{share(accuracies[0]):>12}{share(accuracies[1]):>12}",
    ]
    if output.reference_spikes is not None:
        lines.append(f"{'output spikes':<20}{output.reference_spikes:>12,}{output.other_spikes:>12,}")
    lines.append(f"{'equal decisions':<20}{share(None if decisions is None else decisions.agreement):>24}")
    if output.reference_spikes is not None:
        cosine = "-" if output.rate_cosine is None else f"{output.rate_cosine:.6f}"
        lines.append(f"{'rate cosine':<20}{cosine:>24}")
        lines.append(f"{'spike coincidence':<20}{share(output.coincidence):>24}")
        lines.append(_first_divergence(done))
    if done.output_error is not None:
        lines.append(_output_error(done))
    if done.decisions is not None and done.reference_decisions is not None:
        lines += _decisions(done, done.reference_decisions, done.decisions, details=details)
    return "\n".join(lines)


def _first_divergence(done: "Run") -> str:
    first = done.comparison.first_divergence
    if done.comparison.output.silent:
        nothing = "no output fires" if done.output_error is None else "no spike leaves the chip"
        return f"{nothing} on either side: silence is no agreement"
    if first is None:
        return "every output spike is equal"
    fired = "the reference fired" if first.reference else f"{done.backend} fired"
    return (
        f"first divergence: sample {done.samples[first.sample]}, step {first.step}, "
        f"output {first.neuron}, where only {fired}"
    )


def _output_error(done: "Run") -> str:
    behind = "" if done.comparison.output.reference_spikes is None else " behind the chip"
    if not done.output_range:
        return f"every output{behind} is 0 on either side: silence is no agreement"
    return f"outputs{behind} differ by up to {done.output_error:g}, of values up to {done.output_range:.3g}"


def _decisions(done: "Run", reference_decisions: Any, decisions: Any, *, details: bool) -> list[str]:
    """The decisions side by side: of the samples that disagree, or of all."""
    truth = done.labels if done.labels is not None else ["-"] * len(decisions)
    disagree = [index for index, other in enumerate(decisions) if reference_decisions[index] != other]
    if not disagree and not details:
        return []
    listed = range(len(decisions)) if details else disagree[:_MOST_LISTED]
    rows = ["", f"{'sample':>8}{'label':>8}{'reference':>12}{done.backend:>12}"]
    for index in listed:
        mark = "  differs" if index in disagree else ""
        sides = f"{reference_decisions[index]:>12}{decisions[index]:>12}"
        rows.append(f"{done.samples[index]:>8}{truth[index]:>8}{sides}{mark}")
    if len(listed) < len(disagree):
        rows.append(f"and {len(disagree) - len(listed):,} more that differ (--details lists every sample)")
    return rows


def _write(path: Path, done: "Run") -> None:
    from nsc_deploy.io.npz import save_npz

    arrays: dict[str, Any] = {"spikes": done.spikes}
    for field in ("decisions", "reference_decisions", "labels"):
        value = getattr(done, field)
        if value is not None:
            arrays[field] = value
    save_npz(path, arrays)
