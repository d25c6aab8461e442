"""`nsc-deploy attention`: when and where a trained system attends."""

from pathlib import Path
from typing import Annotated

import typer


def attention(
    run: Annotated[Path, typer.Argument(help="Run directory of att-neurosc.", show_default=False)],
    sample: Annotated[int, typer.Option(help="Test sample to show, from 0.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Picture: .png, .svg or .pdf; else RUN/attention.png.", show_default=False),
    ] = None,
) -> None:
    """Draw the gates of the attention over time and channel for one utterance."""
    from nsc_deploy.training.attention import attention_of, check_picture, write_attention
    from nsc_deploy.training.run_directory import experiment_to_resume

    path = out or run / "attention.png"
    experiment_to_resume(run)
    check_picture(path)
    write_attention(attention_of(run, sample), path)
    typer.echo(f"Written: {path}")
