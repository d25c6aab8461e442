"""`nsc-deploy ask`: sentences over the air into a receiver's memory, and an answer from it.

`nsc-deploy attention`: when and where a trained system attends.
"""

import json
from pathlib import Path
from typing import Annotated

import typer


def ask(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Finished run of mem-deepsc.", show_default=False)
    ],
    sentences: Annotated[
        list[str],
        typer.Argument(metavar="SENTENCE...", help="Statements, then the question.", show_default=False),
    ],
    snr: Annotated[float, typer.Option(min=-100, max=400, help="SNR in dB (-100 to 400).")] = 10.0,
    seed: Annotated[
        int,
        typer.Option(min=0, max=2**31 - 1, help="Of the channel: another seed, other noise (0 to 2^31 - 1)."),
    ] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--attention",
            help="Picture to write, .png, .svg or .pdf: how much the question heeds each sentence.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send sentences over the channel of a run and answer a question from what the receiver remembers.

    For example: nsc-deploy ask RUN "Mary went to the kitchen." "John moved to the garden." "Where is Mary?"

    A receiver remembers so many statements (system.memory); of more, the oldest are forgotten.
    """
    from dataclasses import asdict

    from nsc_deploy.io.files import require_writable
    from nsc_deploy.io.pictures import require_format
    from nsc_deploy.io.text import counted
    from nsc_deploy.training.memory.ask import ask as send
    from nsc_deploy.training.memory.ask import write_attention

    if picture is not None:
        require_format(picture)
        require_writable(picture)
    reply = send(run, sentences, snr, seed)
    if picture is not None:
        write_attention(reply, picture)
        typer.echo(f"wrote {picture}", err=as_json)
    if as_json:
        typer.echo(json.dumps(asdict(reply), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("sentence", "symbols sent", "error", "remembered"):
        table.add_column(column, justify="left" if column == "sentence" else "right")
    for message in reply.messages[:-1]:
        kept = "yes" if message.remembered else "forgotten"
        table.add_row(message.text, str(message.symbols), f"{message.error:.1%}", kept)
    question = reply.messages[-1]
    table.add_row(question.text, str(question.symbols), f"{question.error:.1%}", "question")
    console = Console(markup=False)
    console.print(
        f"At {reply.snr_db:g} dB, with a memory of {counted(reply.memory, 'sentence')}", style="bold"
    )
    console.print(table)
    if reply.position_symbols:
        console.print(
            f"{reply.position_symbols:g} symbols more for each say which ones the mask has kept.",
            highlight=False,
        )
    others = ", ".join(f"{answer} {share:.1%}" for answer, share in reply.likely)
    typer.echo(f"Answer: {reply.answer} ({others})")


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
        typer.echo(json.dumps({"picture": str(path)} | attention.as_json(), indent=2, allow_nan=False))
    else:
        typer.echo(f"wrote {path}")
