"""`nsc-deploy energy`: count the operations of a system, price them, report."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli import options

_SOURCES = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN_OR_GRAPH", help="Run directories; or .nir and .onnx files, which need --inputs."
    ),
]
_INPUTS = Annotated[
    list[Path] | None,
    typer.Option(help="Recorded inputs (.npz) of graph files: one for all, or one for each, in their order."),
]
_SAMPLES = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Count only the first N samples of each recording; all by default."
    ),
]
_DT = Annotated[
    float | None, typer.Option(help="Length of a time step in seconds, if a NIR file does not say.")
]
_STEP = Annotated[
    float | None,
    typer.Option(
        "--step-seconds",
        metavar="SECONDS",
        help="How long a step really takes, where the file has a nominal one (0.0001 s in each of snnTorch): "
        "figures a second and milliseconds are for it.",
    ),
]
_RESET = Annotated[
    str | None,
    typer.Option(
        help="What a spike does: zero the potential, or subtract the threshold; if a NIR file does not say."
    ),
]
_LAYOUT = Annotated[
    str | None,
    typer.Option(
        metavar="LAYOUT",
        help="What an ONNX file takes in: steps-first ([steps, samples, ...], as recordings; by default), "
        "batch-first ([samples, steps, ...]) or no-steps ([samples, ...]).",
    ),
]
_TARGET = Annotated[
    str | None,
    typer.Option(
        metavar="TARGET",
        autocompletion=options.check_targets,
        help="Place the parts that are not for a host on it: loihi1, loihi2, xylo-audio2, speck, lava, or a "
        "TOML file that describes a chip; none for nowhere. By default the chip of the profile.",
    ),
]
_PROFILE = Annotated[
    str,
    typer.Option(
        help="Prices of operations: a name that `energy profiles` lists, or a TOML file.",
        autocompletion=options.profiles,
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


class OutputFormat(StrEnum):
    """What `energy check` prints."""

    TEXT = "text"
    GITHUB = "github"
    JSON = "json"


app = typer.Typer(
    help="Count every operation exactly, price it with published figures, hold it to a budget.",
    no_args_is_help=True,
)


@app.command("report")
def report(
    sources: _SOURCES,
    profile: _PROFILE = "horowitz-45nm",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write report.json and report.html into.", metavar="DIR")
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    layout: _LAYOUT = None,
    target: _TARGET = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    layers: Annotated[bool, typer.Option(help="Print a line for each layer, or only the systems.")] = True,
) -> None:
    """Count and price whole systems (run directories) or single graphs with recorded inputs."""
    from nsc_deploy.energy import estimate, show
    from nsc_deploy.io.files import require_writable

    if out is not None:
        require_writable(out / "report.json")
    priced = estimate(
        sources,
        profile,
        inputs=inputs or [],
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        layout=layout,
        target=target,
    )
    if out is not None:
        for path in priced.write(out):
            typer.echo(f"wrote {path}", err=True)
    if as_json:
        typer.echo(priced.report.model_dump_json(indent=2))
    else:
        show(priced, "layers" if layers else "parts")


@app.command("check")
def check(
    sources: _SOURCES,
    budget: Annotated[
        Path | None, typer.Option(help="Limits, as docs/energy.md shows them.", metavar="BUDGET.toml")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="An earlier report.json; no figure may have grown.", metavar="REPORT.json"),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(help="Growth over the baseline that is let pass, 0 or more, as a share: 0.05 for 5 %."),
    ] = 0.0,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Prices, as for report; by default the baseline's, else horowitz-45nm.",
            autocompletion=options.profiles,
        ),
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    layout: _LAYOUT = None,
    junit: Annotated[
        Path | None, typer.Option(help="Write the findings as JUnit XML, for a CI server.", metavar="FILE")
    ] = None,
    output: Annotated[
        OutputFormat,
        typer.Option("--format", help="What to print: text, github (annotations of GitHub Actions) or json."),
    ] = OutputFormat.TEXT,
) -> None:
    """Hold systems or graphs against a budget or an earlier report.

    Exit code 1 where a limit is exceeded, and the layers that use most of it are named.
    """
    from nsc_deploy import energy
    from nsc_deploy.io.files import write_text

    result = energy.check(
        sources,
        budget,
        baseline=baseline,
        tolerance=tolerance,
        profile=profile,
        inputs=inputs or [],
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        layout=layout,
    )
    if junit is not None:
        write_text(junit, result.as_junit())
    if output is OutputFormat.JSON:
        typer.echo(result.model_dump_json(indent=2))
    else:
        typer.echo(result.as_github() if output is OutputFormat.GITHUB else result.as_text())
    if not result.passed:
        raise typer.Exit(1)


@app.command("compare")
def compare(
    before: Annotated[
        Path,
        typer.Argument(
            metavar="BEFORE", help="A run directory, a graph file with --inputs, or a report.json."
        ),
    ],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="The same, later.")],
    profile: Annotated[
        str | None,
        typer.Option(
            help="Prices, as for report; by default those of a report.json, else horowitz-45nm.",
            autocompletion=options.profiles,
        ),
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    layout: _LAYOUT = None,
    as_json: _JSON = False,
) -> None:
    """Show what changed between two builds, layer by layer."""
    from nsc_deploy import energy

    comparison = energy.compare(
        before,
        after,
        profile=profile,
        inputs=inputs or [],
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        layout=layout,
    )
    if as_json:
        typer.echo(comparison.model_dump_json(indent=2))
    else:
        energy.show(comparison)


@app.command("advise")
def advise(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_GRAPH", help="Run directory; or a .nir file, which needs --inputs."),
    ],
    profile: _PROFILE = "horowitz-45nm",
    column: Annotated[
        str, typer.Option(help="Accounting of the energy: paper, compute or memory.")
    ] = "memory",
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    rate_run: Annotated[
        Path | None,
        typer.Option(
            help="Another run, trained with a loss on the rate of spikes, to compare.", metavar="RUN"
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Write a part without all that its outputs do not need.", metavar="FILE.nir"),
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="The part that --write writes; by default the last NIR part.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Try what could save energy: each change is made, run on the recordings and priced, none is guessed."""
    from nsc_deploy import energy
    from nsc_deploy.io.files import require_writable

    if write is not None:
        require_writable(write)
    advice = energy.advise(
        source,
        profile=profile,
        column=column,
        rate_run=rate_run,
        write=write,
        part=part,
        notify=lambda line: typer.echo(line, err=True),
        inputs=inputs or [],
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
    )
    if as_json:
        typer.echo(advice.model_dump_json(indent=2))
    else:
        energy.show(advice)


@app.command("profiles")
def profiles(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One profile, or a TOML file to check.", autocompletion=options.profiles
        ),
    ] = None,
    as_json: _JSON = False,
) -> None:
    """List the energy profiles, or show (and check) one."""
    import json

    from nsc_deploy.energy import load_profile, load_profiles, show

    if name is not None:
        one = load_profile(name)
        if as_json:
            typer.echo(one.model_dump_json(indent=2))
        else:
            show(one)
        return
    every = load_profiles()
    if as_json:
        typer.echo(json.dumps([profile.model_dump(mode="json") for profile in every], indent=2))
    else:
        show(every)


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of report.json."""
    import json

    from nsc_deploy.energy import Report

    typer.echo(json.dumps(Report.model_json_schema(), indent=2))
