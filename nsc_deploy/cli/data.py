"""`nsc-deploy data`: which data sets there are, what they hold, and fetching them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.cli.options import words

if TYPE_CHECKING:
    from nsc_deploy.data.catalogue import Description

app = typer.Typer(help="Data sets: list them, describe one, download one.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Fetchable(StrEnum):
    """The data sets that can be downloaded."""

    FSDD = "fsdd"
    SHD = "shd"
    CIFAR100 = "cifar100"
    BABI = "babi"


@app.command("list")
def list_data(as_json: AsJson = False) -> None:
    """List the data sets and say which are here.

    They are looked for in the folder that $NSC_DEPLOY_DATA names, then where `data fetch` puts them.
    """
    import json

    from nsc_deploy.data.catalogue import CATALOGUE, availability, located

    found = [(entry, availability(located(entry.name))) for entry in CATALOGUE]
    if as_json:
        rows = [{**entry.model_dump(mode="json"), **here.model_dump(mode="json")} for entry, here in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    for entry, here in found:
        typer.echo(f"{entry.name:14} {'here  ' if here.place else 'absent'}  {entry.summary}")


@app.command("info")
def info(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="spoken-digits, fsdd, shd, cifar100, digits or babi.",
            autocompletion=words("spoken-digits", "fsdd", "shd", "cifar100", "digits", "babi"),
        ),
    ],
    path: Annotated[
        Path | None,
        typer.Option(help="File or folder of a set that is not made, instead of the usual places."),
    ] = None,
    encode: Annotated[
        bool, typer.Option(help="Load it too, encode sound as events, and count samples and events.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: licence, splits, where it is, the size of its events or images."""
    from nsc_deploy.data.catalogue import describe, located

    described = describe(located(name, path), encode=encode)
    if as_json:
        typer.echo(described.model_dump_json(indent=2))
        return
    for label, value in _rows(described).items():
        if value is not None:
            typer.echo(f"{label:16} {value}")


def _rows(described: "Description") -> dict[str, object]:
    from nsc_deploy.io.text import counted

    rate = described.train_rate
    return {
        "name": described.name,
        "summary": described.summary,
        "licence": described.licence,
        "source": described.source,
        "classes": described.classes,
        "samples": described.samples,
        "splits": ", ".join(described.splits),
        "here" if described.place else "not here": described.place or described.hint,
        "channels": described.channels and f"{described.channels} of events",
        "steps": described.dt and f"{described.steps} of {described.dt * 1000:g} ms",
        "images": described.shape and " x ".join(map(str, described.shape)),
        "training part": described.train_samples and counted(described.train_samples, "sample"),
        "words": described.words and f"{described.words}, in {described.sentences:,} distinct sentences",
        "test part": described.test_samples and counted(described.test_samples, "sample"),
        "event rate": None if rate is None else f"{rate:.2%} of channels and steps, training part",
    }


@app.command("fetch")
def fetch(
    name: Annotated[
        Fetchable, typer.Argument(metavar="NAME", help="What to download: fsdd, shd, cifar100 or babi.")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="Data folder to put it in; the one of the user by default.")
    ] = None,
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="DIGEST",
            help="fsdd: accept recordings with this digest, which an earlier refusal named.",
        ),
    ] = None,
) -> None:
    """Download a data set, check it and put it where it is found without a path."""
    from nsc_deploy.data.fetch import FsddSource, fetch_babi, fetch_cifar100, fetch_fsdd, fetch_shd
    from nsc_deploy.errors import ConfigError

    if expect is not None and name is not Fetchable.FSDD:
        raise ConfigError(
            f"is only used by fsdd: of {name.value} one digest is known and accepted",
            where="--expect",
            hint="Leave it out.",
        )
    if name is Fetchable.CIFAR100:
        place = fetch_cifar100(folder=folder, progress=True)
    elif name is Fetchable.SHD:
        place = fetch_shd(folder=folder, progress=True)
    elif name is Fetchable.BABI:
        place = fetch_babi(folder=folder, progress=True)
    else:
        place = fetch_fsdd(FsddSource(content=expect) if expect else FsddSource(), folder, progress=True)
    typer.echo(place)
