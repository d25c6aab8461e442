"""`nsc-deploy energy`: count the operations of a system, price them, report."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli import options
from nsc_deploy.cli.diagnostics import say, tell
from nsc_deploy.diagnostics import tell_in_full

_SOURCES = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN_OR_GRAPH",
        help="Run directories; or .nir and .onnx files, with --inputs or a recording (.npz) beside them.",
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
        help="What an ONNX file takes in: steps-first (steps x samples x ..., as recordings; by default), "
        "batch-first (samples x steps x ...) or no-steps (samples x ...).",
    ),
]
_SIGNAL = Annotated[
    options.SignalOption | None,
    typer.Option(
        help="What inputs are that are plain arrays (.npy, or .npz of numpy): events, graded or real."
    ),
]
_SAMPLES_FIRST = Annotated[
    bool,
    typer.Option(
        "--samples-first", help="Such arrays are samples x steps x ...; by default steps come first."
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
_HOST_PROFILE = Annotated[
    str | None,
    typer.Option(
        help="Prices of the parts on a host, a name or a TOML file; by default those of the others.",
        autocompletion=options.profiles,
    ),
]
_SKIP_ZEROS = Annotated[
    bool,
    typer.Option(
        "--skip-zeros",
        help="Charge products of real values in ONNX files only where neither value nor weight is zero.",
    ),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print as JSON.")]


class OutputFormat(StrEnum):
    """What `energy check` prints where it is not asked for JSON."""

    TEXT = "text"
    GITHUB = "github"


app = typer.Typer(
    help="Count every operation exactly, price it with published figures, hold it to a budget.",
    no_args_is_help=True,
)


@app.command("report")
def report(
    sources: _SOURCES,
    profile: _PROFILE = "horowitz-45nm",
    host_profile: _HOST_PROFILE = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write report.json and report.html into.", metavar="DIR")
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    layout: _LAYOUT = None,
    signal: _SIGNAL = None,
    samples_first: _SAMPLES_FIRST = False,
    classes: options.Classes = None,
    target: _TARGET = None,
    skip_zeros: _SKIP_ZEROS = False,
    as_json: _JSON = False,
    details: Annotated[
        bool,
        typer.Option("--details", help="Print everything: parts, layers, load, memory, break-even, sources."),
    ] = False,
) -> None:
    """Count and price whole systems (run directories) or single graphs with recorded inputs."""
    from nsc_deploy.energy import estimate, show
    from nsc_deploy.io.files import require_writable

    tell_in_full(asked=details)
    if out is not None:
        require_writable(out / "report.json")
    priced = estimate(
        sources,
        profile,
        host_profile=host_profile,
        inputs=_beside(sources, inputs),
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        layout=layout,
        signal=signal,
        samples_first=samples_first,
        classes=classes,
        target=target,
        skip_zeros=skip_zeros,
    )
    if out is not None:
        for path in priced.write(out):
            tell(f"wrote {path}")
    if as_json:
        typer.echo(priced.report.model_dump_json(indent=2))
    else:
        show(priced, "layers" if details else "headline")
        if not details:
            typer.echo("All of it: --details, or --out DIR for a page.", err=True)


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
            help="Prices, as for report; by default the budget's, else the baseline's, else horowitz-45nm.",
            autocompletion=options.profiles,
        ),
    ] = None,
    host_profile: _HOST_PROFILE = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    layout: _LAYOUT = None,
    signal: _SIGNAL = None,
    samples_first: _SAMPLES_FIRST = False,
    classes: options.Classes = None,
    target: _TARGET = None,
    skip_zeros: _SKIP_ZEROS = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write the findings as JUnit XML, for a CI server.", metavar="FILE")
    ] = None,
    output: Annotated[
        OutputFormat,
        typer.Option("--format", help="What to print: text, or github (annotations of GitHub Actions)."),
    ] = OutputFormat.TEXT,
    as_json: _JSON = False,
) -> None:
    """Hold systems or graphs against a budget or an earlier report.

    Exit code 1 where a limit is exceeded, 2 where one cannot be shown to hold. --junit is written there too.
    """
    from nsc_deploy import energy
    from nsc_deploy.energy.report import answers
    from nsc_deploy.errors import UserError
    from nsc_deploy.io.files import write_text
    from nsc_deploy.io.outputs import FileKind, require_output

    if junit is not None:
        require_output(junit, FileKind.JUNIT, (*sources, *(inputs or ()), budget, baseline))
    try:
        result = energy.check(
            sources,
            budget,
            baseline=baseline,
            tolerance=tolerance,
            profile=profile,
            host_profile=host_profile,
            inputs=_beside(sources, inputs),
            samples=samples,
            dt=dt,
            step_seconds=step_seconds,
            reset=reset,
            layout=layout,
            signal=signal,
            samples_first=samples_first,
            classes=classes,
            target=target,
            skip_zeros=skip_zeros,
        )
    except UserError as error:
        # A CI server shows what it is given: a check that could not be made has to be seen there too.
        if junit is not None:
            write_text(junit, answers.failure_as_junit(error))
        if output is OutputFormat.GITHUB and not as_json:
            typer.echo(answers.failure_as_github(error))
        raise
    if junit is not None:
        write_text(junit, result.as_junit())
    if as_json:
        typer.echo(result.model_dump_json(indent=2))
    elif output is OutputFormat.GITHUB:
        typer.echo(result.as_github())
    else:
        say(result.as_text())
    if not result.passed:
        raise typer.Exit(1 if result.exceeded else 2)


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
    signal: _SIGNAL = None,
    samples_first: _SAMPLES_FIRST = False,
    skip_zeros: _SKIP_ZEROS = False,
    as_json: _JSON = False,
) -> None:
    """Show what changed between two builds, layer by layer."""
    from nsc_deploy import energy

    comparison = energy.compare(
        before,
        after,
        profile=profile,
        inputs=_beside([before, after], inputs),
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        layout=layout,
        signal=signal,
        samples_first=samples_first,
        skip_zeros=skip_zeros,
    )
    if as_json:
        typer.echo(comparison.model_dump_json(indent=2))
    else:
        energy.show(comparison)


@app.command("advise")
def advise(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_GRAPH",
            help="Run directory; or a .nir file with --inputs, or .npz beside it.",
        ),
    ],
    profile: Annotated[
        str | None,
        typer.Option(
            help="Prices, as for report; by default the budget's, else horowitz-45nm.",
            autocompletion=options.profiles,
        ),
    ] = None,
    host_profile: _HOST_PROFILE = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="What the changes are ranked by: energy, synops or memory; by default what is over in the "
            "budget, else energy.",
            autocompletion=options.words("energy", "synops", "memory"),
        ),
    ] = None,
    budget: Annotated[
        Path | None,
        typer.Option(help="Limits: rank by what the system is over in.", metavar="BUDGET.toml"),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Print so many changes; by default at most ten, those that save most."
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            help="Accounting of the energy: paper, compute or memory; by default the budget's, else memory."
        ),
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    step_seconds: _STEP = None,
    reset: _RESET = None,
    signal: _SIGNAL = None,
    samples_first: _SAMPLES_FIRST = False,
    classes: options.Classes = None,
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
    """Try what could save energy, SynOps or memory: each change is made, run and priced, none is guessed."""
    from nsc_deploy import energy
    from nsc_deploy.deployment import graph_files
    from nsc_deploy.io.outputs import FileKind, require_output

    if write is not None:
        require_output(write, FileKind.GRAPH, (*graph_files(source), *(inputs or ()), budget))
    advice = energy.advise(
        source,
        profile=profile,
        host_profile=host_profile,
        by=by,
        budget=budget,
        column=column,
        rate_run=rate_run,
        write=write,
        part=part,
        notify=tell,
        inputs=_beside([source], inputs),
        samples=samples,
        dt=dt,
        step_seconds=step_seconds,
        reset=reset,
        signal=signal,
        samples_first=samples_first,
        classes=classes,
    )
    if as_json:
        typer.echo(advice.model_dump_json(indent=2))
    else:
        energy.show(advice, top=top)


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


def _beside(graphs: list[Path], inputs: list[Path] | None) -> list[Path]:
    from nsc_deploy.graphs.formats.recording import recordings_beside

    return recordings_beside(graphs, inputs, tell)
