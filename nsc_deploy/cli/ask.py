"""`nsc-deploy ask`: sentences over the air into a receiver's memory, and an answer from it."""

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
    seed: Annotated[int, typer.Option(min=0, help="Of the channel: another seed, other noise.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Send sentences over the channel of a run and answer a question from what the receiver remembers.

    For example: nsc-deploy ask RUN "Mary went to the kitchen." "John moved to the garden." "Where is Mary?"

    A receiver remembers so many statements (system.memory); of more, the oldest are forgotten.
    """
    from dataclasses import asdict

    from nsc_deploy.training.memory.ask import ask as send

    reply = send(run, sentences, snr, seed)
    if as_json:
        import json

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
    console.print(f"At {reply.snr_db:g} dB, with a memory of {reply.memory} sentences", style="bold")
    console.print(table)
    others = ", ".join(f"{answer} {share:.1%}" for answer, share in reply.likely)
    typer.echo(f"Answer: {reply.answer} ({others})")
