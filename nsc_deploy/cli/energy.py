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
_RESET = Annotated[
    str | None,
    typer.Option(
        help="What a spike does: zero the potential, or subtract the threshold; if a NIR file does not say."
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
    profile: Annotated[
        str,
        typer.Option(
            help="Prices of operations: a name that `energy profiles` lists, or a TOML file.",
            autocompletion=options.profiles,
        ),
    ] = "horowitz-45nm",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write report.json and report.html into.", metavar="DIR")
    ] = None,
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
    reset: _RESET = None,
    target: _TARGET = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    layers: Annotated[bool, typer.Option(help="Print a line for each layer, or only the systems.")] = True,
) -> None:
    """Count and price whole systems (run directories) or single graphs with recorded inputs."""
    from nsc_deploy.energy.output.terminal import print_report, wide_console
    from nsc_deploy.energy.pipeline import make_report, write_report
    from nsc_deploy.io.files import require_writable

    if out is not None:
        require_writable(out / "report.json")
    made = make_report(
        sources,
        profile=profile,
        recordings=inputs or [],
        samples=samples,
        dt=dt,
        reset=reset,
        target=target,
    )
    if out is not None:
        for path in write_report(made, out):
            typer.echo(f"wrote {path}", err=True)
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
    else:
        print_report(made, wide_console(), layers=layers)


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
    reset: _RESET = None,
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
    from nsc_deploy.energy.output.ci import as_github, as_junit, as_text
    from nsc_deploy.energy.pipeline import make_check
    from nsc_deploy.io.files import write_text

    result = make_check(
        sources,
        budget=budget,
        baseline=baseline,
        tolerance=tolerance,
        profile=profile,
        recordings=inputs or [],
        samples=samples,
        dt=dt,
        reset=reset,
    )
    if junit is not None:
        write_text(junit, as_junit(result))
    if output is OutputFormat.JSON:
        typer.echo(result.model_dump_json(indent=2))
    else:
        typer.echo(as_github(result) if output is OutputFormat.GITHUB else as_text(result))
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
    reset: _RESET = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show what changed between two builds, layer by layer."""
    from nsc_deploy.energy.output.terminal import wide_console
    from nsc_deploy.energy.output.terminal_changes import print_comparison
    from nsc_deploy.energy.pipeline import make_comparison

    found = make_comparison(
        before, after, profile=profile, recordings=inputs or [], samples=samples, dt=dt, reset=reset
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_comparison(found, wide_console())


@app.command("advise")
def advise(
    source: Annotated[
        Path,
        typer.Argument(metavar="RUN_OR_GRAPH", help="Run directory; or a .nir file, which needs --inputs."),
    ],
    profile: Annotated[
        str,
        typer.Option(
            help="Prices of operations: a name that `energy profiles` lists, or a TOML file.",
            autocompletion=options.profiles,
        ),
    ] = "horowitz-45nm",
    column: Annotated[
        str, typer.Option(help="Accounting of the energy: paper, compute or memory.")
    ] = "memory",
    inputs: _INPUTS = None,
    samples: _SAMPLES = None,
    dt: _DT = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Try what could save energy: each change is made, run on the recordings and priced, none is guessed."""
    from nsc_deploy.energy.output.terminal import wide_console
    from nsc_deploy.energy.output.terminal_changes import print_advice
    from nsc_deploy.energy.pipeline import make_advice
    from nsc_deploy.io.files import require_writable

    if write is not None:
        require_writable(write)
    found = make_advice(
        source,
        profile=profile,
        column=column,
        recordings=inputs or [],
        samples=samples,
        dt=dt,
        reset=reset,
        rate_run=rate_run,
        write=write,
        part=part,
    )
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        print_advice(found, wide_console())


@app.command("profiles")
def profiles(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One profile, or a TOML file to check.", autocompletion=options.profiles
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the energy profiles, or show (and check) one."""
    import json

    from nsc_deploy.energy.output.terminal import print_profile, print_profiles, wide_console
    from nsc_deploy.energy.pricing.profile import load_profile, load_profiles

    if name is not None:
        one = load_profile(name)
        if as_json:
            typer.echo(one.model_dump_json(indent=2))
        else:
            print_profile(one, wide_console())
        return
    found = load_profiles()
    if as_json:
        typer.echo(json.dumps([profile.model_dump(mode="json") for profile in found], indent=2))
    else:
        print_profiles(found, wide_console())


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of report.json."""
    import json

    from nsc_deploy.energy.report.schema import Report

    typer.echo(json.dumps(Report.model_json_schema(), indent=2))
