"""`nsc-deploy run`: a deployment folder on a backend, beside the floating-point graph."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsc_deploy.diagnostics import Diagnostic, collected

if TYPE_CHECKING:
    from collections.abc import Callable

    from nsc_deploy.exporters.lava.run import Outcome


class BackendOption(StrEnum):
    """Values of --backend."""

    LAVA = "lava"
    EMULATOR = "twin"
    REFERENCE = "reference"


def run(
    folder: Annotated[
        Path, typer.Argument(help="A deployment folder that export has written.", metavar="DIR")
    ],
    backend: Annotated[
        BackendOption,
        typer.Option(
            "--backend",
            help="lava; twin, the same integers without Lava; reference, the graph in floating point.",
        ),
    ] = BackendOption.LAVA,
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
        float, typer.Option("--timeout", min=1.0, help="Seconds without a sign of life before Lava is ended.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write spikes, decisions and labels into this .npz.")
    ] = None,
) -> None:
    """Run recorded samples and print both sides: decisions, accuracy, rate cosine, spike coincidence."""
    import json

    from nsc_deploy.exporters.lava.run import Backend
    from nsc_deploy.io.files import require_writable
    from nsc_deploy.io.progress import progress_bar

    chosen = Backend(backend.value)
    if out is not None:
        require_writable(out)
    with collected() as warnings, progress_bar() as progress:
        run_folder = _opened(folder)
        task = progress.add_task(f"samples on {chosen.value}", total=samples)
        outcome = run_folder(
            chosen,
            samples=samples,
            inputs=inputs,
            silence_s=timeout,
            advance=lambda count: progress.advance(task, count),
        )
        count = outcome.parity.samples
        progress.update(task, total=count, completed=count)
    if out is not None:
        _write(out, outcome)
    typer.echo(json.dumps(_as_json(folder, outcome, warnings), indent=2) if as_json else _as_text(outcome))


def _opened(folder: Path) -> "Callable[..., Outcome]":
    """What runs a folder: a deployment, or one in parts."""
    from functools import partial

    from nsc_deploy.exporters.manifest import target_of

    if target_of(folder) == "split":
        from nsc_deploy.exporters.partitioned.read import read_split_deployment
        from nsc_deploy.exporters.partitioned.run import run_split_deployment

        return partial(run_split_deployment, read_split_deployment(folder))
    from nsc_deploy.exporters.lava.deployment import read_lava_deployment
    from nsc_deploy.exporters.lava.run import run_deployment

    return partial(run_deployment, read_lava_deployment(folder))


def _as_json(folder: Path, outcome: "Outcome", warnings: list[Diagnostic]) -> dict[str, Any]:
    import dataclasses

    def listed(values: Any) -> Any:
        return None if values is None else values.tolist()

    return {
        "deployment": str(folder),
        "backend": outcome.backend.value,
        "samples": outcome.samples.tolist(),
        "seconds": round(outcome.seconds, 3),
        "decisions": listed(outcome.decisions),
        "reference_decisions": listed(outcome.reference_decisions),
        "labels": listed(outcome.labels),
        "parity": dataclasses.asdict(outcome.parity),
        "output_error": outcome.output_error,
        "warnings": [dataclasses.asdict(diagnostic) for diagnostic in warnings],
    }


def _as_text(outcome: "Outcome") -> str:
    from nsc_deploy.io.text import counted

    parity = outcome.parity
    name = outcome.backend.value

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.2%}"

    # Before the sums: what a terminal still shows at the end is its last lines.
    each = []
    if outcome.decisions is not None and outcome.reference_decisions is not None:
        each = [*_decisions(outcome, outcome.reference_decisions, outcome.decisions), ""]
    lines = [
        *each,
        f"{counted(parity.samples, 'sample')}, {outcome.seconds:.1f} s",
        f"{'':<20}{'reference':>12}{name:>12}",
        f"{'accuracy':<20}{share(parity.reference_accuracy):>12}{share(parity.other_accuracy):>12}",
        f"{'output spikes':<20}{parity.reference_spikes:>12}{parity.other_spikes:>12}",
        f"{'equal decisions':<20}{share(parity.agreement):>24}",
        f"{'rate cosine':<20}{parity.rate_cosine:>24.6f}",
        f"{'spike coincidence':<20}{share(parity.coincidence):>24}",
    ]
    first = parity.first_divergence
    if first is None:
        lines.append("every output spike is equal")
    else:
        fired = "the reference fired" if first.reference else f"{name} fired"
        lines.append(
            f"first divergence: sample {outcome.samples[first.sample]}, step {first.step}, "
            f"output {first.neuron}, where only {fired}"
        )
    if outcome.output_error is not None:
        lines.append(f"outputs behind the chip differ by up to {outcome.output_error:g}")
    return "\n".join(lines)


def _decisions(outcome: "Outcome", reference_decisions: Any, decisions: Any) -> list[str]:
    """The decisions side by side."""
    name = outcome.backend.value
    truth = outcome.labels if outcome.labels is not None else ["-"] * outcome.parity.samples
    rows = [f"{'sample':>8}{'label':>8}{'reference':>12}{name:>12}"]
    for index, (label, reference, other) in enumerate(
        zip(truth, reference_decisions, decisions, strict=True)
    ):
        mark = "" if reference == other else "  differs"
        rows.append(f"{outcome.samples[index]:>8}{label:>8}{reference:>12}{other:>12}{mark}")
    return rows


def _write(path: Path, outcome: "Outcome") -> None:
    from nsc_deploy.io.npz import save_npz

    arrays: dict[str, Any] = {"spikes": outcome.spikes}
    for field in ("decisions", "reference_decisions", "labels"):
        value = getattr(outcome, field)
        if value is not None:
            arrays[field] = value
    save_npz(path, arrays)
