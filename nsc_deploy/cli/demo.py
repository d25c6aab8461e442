"""`nsc-deploy demo`: the whole path in one command."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nsc_deploy.demo import Demonstration
    from nsc_deploy.demo.features import FeaturesDemonstration


def demo(
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for runs, deployment and report; what is finished there is kept."),
    ] = Path("demo"),
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="Training epochs; 30 by default, of each codec 15 with --features."
        ),
    ] = None,
    features: Annotated[
        bool,
        typer.Option(
            "--features", help="Features of small digits over a channel that flips bits: five minutes."
        ),
    ] = False,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, max=2**31 - 1, help="Seed of everything drawn by chance (0 to 2^31 - 1)."
        ),
    ] = 0,
    lava: Annotated[
        bool,
        typer.Option("--lava/--no-lava", help="Run in the real Lava, or in the twin of its arithmetic."),
    ] = True,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Train anew instead of keeping what is finished.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written and the main figures as JSON.")
    ] = False,
) -> None:
    """Train three receivers on synthesised speech, export one to Lava, run it, report their energy.

    It ends in under ten minutes on two cores, with --features in under five.
    """
    from rich.console import Console

    if features:
        _features(out, epochs, seed, lava=lava, overwrite=overwrite, as_json=as_json)
        return
    from nsc_deploy.demo import Plan, demonstrate

    plan = Plan()
    plan = plan.of_length(epochs or plan.training.epochs, seed)
    done = demonstrate(out, plan, lava=lava, overwrite=overwrite, notify=Console(stderr=True).rule)
    if as_json:
        import json

        typer.echo(json.dumps(done.as_json(), indent=2))
    else:
        print_demonstration(done)
    for path in (*done.runs, done.deployment, *done.files):
        typer.echo(f"wrote {path}", err=True)


def _features(
    out: Path, epochs: int | None, seed: int, *, lava: bool, overwrite: bool, as_json: bool
) -> None:
    from dataclasses import replace

    from rich.console import Console

    from nsc_deploy.demo.features import FeaturesPlan, demonstrate_features

    plan = FeaturesPlan(seed=seed)
    plan = replace(plan, epochs=epochs or plan.epochs)
    notify = Console(stderr=True).rule
    done = demonstrate_features(out, plan, lava=lava, overwrite=overwrite, notify=notify)
    if as_json:
        import json

        typer.echo(json.dumps(done.as_json(), indent=2))
    else:
        print_features(done)
    for path in (*done.runs, *done.deployments, *done.files):
        typer.echo(f"wrote {path}", err=True)


def print_features(done: "FeaturesDemonstration") -> None:
    """Print the main figures of the demonstration with features."""
    from nsc_deploy.cli.evaluate import print_codecs
    from nsc_deploy.energy import show

    print_codecs(list(done.sweeps))
    if done.without_lava is not None:
        typer.echo(f"Lava did not run: {done.without_lava}")
    one = done.outcome.comparison
    typer.echo(
        f"\nThe decoder on {one.samples} samples, {one.other} beside its floating-point graph: potentials of "
        f"the last neurons differ by {one.output.rmse:.4f} (root mean square), thresholds are 1."
    )
    show(done.estimate, "systems")
    spiking = shlex.quote(str(done.runs[1]))
    typer.echo("What was sent for one image, bit by bit:")
    typer.echo(f"  nsc-deploy inspect {spiking} --sent sent.png")


def print_demonstration(done: "Demonstration") -> None:
    """Print the main figures, a screen of them: the page holds the rest."""
    from nsc_deploy.energy import show
    from nsc_deploy.io.text import counted

    if done.without_lava is not None:
        typer.echo(f"Lava did not run: {done.without_lava}")
    one = done.outcome.comparison
    samples, decisions = counted(one.samples, "sample"), one.decisions
    typer.echo(f"The spiking receiver on {samples}, {one.other} beside its floating-point graph:")
    if decisions is not None:
        accuracies = _percent(decisions.other_accuracy), _percent(decisions.reference_accuracy)
        typer.echo(f"  accuracy           {accuracies[0]}, in floating point {accuracies[1]}")
        typer.echo(f"  equal decisions    {_percent(decisions.agreement)}")
    told = one.output.told
    typer.echo(f"  rate cosine        {'-' if told.rate_cosine is None else f'{told.rate_cosine:.4f}'}")
    typer.echo(f"  coinciding spikes  {_percent(told.coincidence)}\n")
    show(done.estimate, "systems")
    runs = shlex.join(str(run) for run in done.runs)
    page = next(path for path in done.files if path.suffix == ".html")
    typer.echo(
        f"What each part and layer takes, and what is left out, is on the page {page}. In the terminal:"
    )
    typer.echo(f"  nsc-deploy energy report {runs}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
