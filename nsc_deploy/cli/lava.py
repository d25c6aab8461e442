"""`nsc-deploy lava`: the managed environment Lava runs in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nsc_deploy.exporters.lava.environment import LavaEnvironment

app = typer.Typer(help="The managed Python 3.10 environment that runs Lava.", no_args_is_help=True)


@app.command()
def install(
    python: Annotated[
        Path | None,
        typer.Option("--python", help="A Python 3.10 interpreter; one is looked for by default."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Build it anew even if it is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print its place and versions as JSON.")] = False,
) -> None:
    """Build the managed environment with lava-nc (about 400 MB, one or two minutes).

    One that is there already is kept. It is needed by `run` with the backend lava only.
    """
    from nsc_deploy.exporters.lava.environment import install_environment
    from nsc_deploy.io.progress import waiting

    with waiting("Lava environment") as tell:
        environment = install_environment(python, force=force, notify=tell)
    if as_json:
        _print_json(environment)
        return
    typer.echo(
        f"lava-nc {environment.lava_version} on Python {environment.python_version} "
        f"is ready in {environment.path}"
    )


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say whether the managed environment is there; exit code 1 if not."""
    from nsc_deploy.exporters.lava.environment import environment_path, installed_environment

    environment = installed_environment()
    if as_json:
        _print_json(environment)
    elif environment is None:
        typer.echo(
            f"not installed (would be in {environment_path()}); install it with: nsc-deploy lava install"
        )
    else:
        typer.echo(
            f"installed in {environment.path}: Python {environment.python_version}, "
            f"lava-nc {environment.lava_version}, numpy {environment.numpy_version}"
        )
    if environment is None:
        raise typer.Exit(1)


def _print_json(environment: "LavaEnvironment | None") -> None:
    import json

    from nsc_deploy.exporters.lava.environment import environment_path

    state: dict[str, object] = {"installed": environment is not None, "path": str(environment_path())}
    if environment is not None:
        state |= {
            "python": environment.python_version,
            "lava-nc": environment.lava_version,
            "numpy": environment.numpy_version,
        }
    typer.echo(json.dumps(state, indent=2))
