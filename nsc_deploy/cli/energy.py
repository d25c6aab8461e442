"""`nsc-deploy energy`: count the operations of a system, price them, report."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Exact operation counts, priced with sourced figures.", no_args_is_help=True)


@app.command("report")
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_OR_GRAPH...", help="Run folders, or .nir and .onnx files with --inputs."),
    ],
    profile: Annotated[
        str, typer.Option(help="Name of a profile (see `energy profiles`) or a TOML file.")
    ] = "horowitz-45nm",
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.json and report.html.", metavar="DIR")
    ] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option(help="Recorded inputs (.npz) of graph files: one for all, or one for each."),
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Count only the first N samples of each recording.")
    ] = None,
    dt: Annotated[
        float | None, typer.Option(help="Seconds a step, for a NIR file that does not state it.")
    ] = None,
    reset: Annotated[
        str | None, typer.Option(help="zero or subtract, for a NIR file that does not state it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    layers: Annotated[bool, typer.Option(help="Print a line for each layer.")] = True,
) -> None:
    """Count and price whole systems (run folders) or single graphs with recorded inputs."""
    from nsc_deploy.energy.make_report import make_report, write_report
    from nsc_deploy.energy.terminal import print_report, wide_console

    made = make_report(sources, profile=profile, recordings=inputs or [], samples=samples, dt=dt, reset=reset)
    if out is not None:
        for path in write_report(made, out):
            typer.echo(f"wrote {path}", err=True)
    if as_json:
        typer.echo(made.model_dump_json(indent=2))
    else:
        print_report(made, wide_console(), layers=layers)


@app.command("profiles")
def profiles(
    name: Annotated[str | None, typer.Argument(help="One profile, or a TOML file to check.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the energy profiles, or show (and check) one."""
    import json

    from nsc_deploy.energy.profile import load_profile, load_profiles
    from nsc_deploy.energy.terminal import print_profile, print_profiles, wide_console

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

    from nsc_deploy.energy.report import Report

    typer.echo(json.dumps(Report.model_json_schema(), indent=2))
