"""`nsc-deploy attention`: when and where a trained system attends."""

from pathlib import Path
from typing import Annotated

import typer


def attention(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Run directory of att-neurosc, as train writes it.", show_default=False
        ),
    ],
    sample: Annotated[int, typer.Option(min=0, help="Which sample of the test set, counted from 0.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Picture to write: .png, .svg or .pdf; RUN/attention.png by default.", show_default=False
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the picture's place and each gate's mean as JSON.")
    ] = False,
) -> None:
    """Draw the gates of the attention over time and channel for one utterance.

    A gate says how much of each channel passes in each step: 1 as it is, 0 nothing.
    """
    from nsc_deploy.training.attention import attention_of, check_picture, write_attention
    from nsc_deploy.training.run_directory import experiment_to_resume

    path = out or run / "attention.png"
    experiment_to_resume(run)
    check_picture(path)
    attention = attention_of(run, sample)
    write_attention(attention, path)
    if as_json:
        import json

        typer.echo(json.dumps({"picture": str(path)} | attention.as_json(), indent=2, allow_nan=False))
    else:
        typer.echo(f"wrote {path}")
