"""`nsc-deploy evaluate`: accuracy against SNR and against latency.

`nsc-deploy attention`: when and where a trained system attends.
"""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from nsc_deploy.training.sweep import Sweep

_MOST_POINTS = 1000


class QuantiseOption(StrEnum):
    """Values of --quantise."""

    LAVA = "lava"


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories, as train writes them.", show_default=False),
    ],
    snr: Annotated[
        str | None,
        typer.Option(
            help="SNRs in dB, -100 to 400: --snr=-10:14:2 (first:last:step) or --snr=-10,0,10.",
            show_default=False,
        ),
    ] = None,
    quantise: Annotated[
        QuantiseOption | None,
        typer.Option(
            help="lava: also with the parts for a chip in Lava's integers, at both ends of the channel.",
            show_default=False,
        ),
    ] = None,
    bits: Annotated[
        str | None,
        typer.Option(
            help="With --quantise: bits of a weight, 2 to 8, several with commas (8,4,2); default 8.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Directory for plots and evaluation.json; the run by default, ./evaluation for several.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Accuracy on the test set against SNR and against latency in channel uses.

    With --snr each run is evaluated at all of these SNRs.

    Without it, each at the SNR it was trained at: runs of one system make one curve, one model an SNR.

    A run trained over a range of SNRs is evaluated at five of them, and makes a curve of its own.

    With --quantise lava, also in the integers that an export would write, on the same noise.
    """
    points = None if snr is None else parse_snr(snr)
    forms = _forms(quantise, bits)
    from nsc_deploy.training.plots import check_place, write_plots
    from nsc_deploy.training.run_directory import experiment_to_resume
    from nsc_deploy.training.sweep import sweep_runs

    directory = out or (runs[0] if len(runs) == 1 else Path("evaluation"))
    for run in runs:
        experiment_to_resume(run)
    check_place(directory)
    sweeps = sweep_runs(runs, points, bits=forms, progress=True)
    files = write_plots(sweeps, directory)
    if as_json:
        typer.echo(json.dumps([sweep.as_json() for sweep in sweeps], indent=2))
    else:
        _print(sweeps)
    for path in files:
        typer.echo(f"wrote {path}", err=as_json)


def parse_snr(text: str) -> tuple[float, ...]:
    """The SNRs of `first:last:step` (both ends included) or of a list with commas, in dB.

    Raises:
        ConfigError: not of this form, more than a thousand points, or a step that leads away from `last`.
    """
    try:
        if ":" not in text:
            return tuple(sorted({_finite(value) for value in text.split(",")}))
        first, last, step = (_finite(value) for value in text.split(":"))
    except ValueError as error:
        raise _bad_snr(text) from error
    if step <= 0 or last < first or (last - first) / step > _MOST_POINTS:
        raise _bad_snr(text)
    return tuple(first + step * index for index in range(math.floor((last - first) / step + 1e-9) + 1))


def _forms(quantise: QuantiseOption | None, bits: str | None) -> tuple[int, ...]:
    if quantise is None and bits is not None:
        raise ConfigError("is only used with --quantise", where="--bits", hint="Add --quantise lava.")
    return () if quantise is None else parse_bits("8" if bits is None else bits)


def parse_bits(text: str) -> tuple[int, ...]:
    """The numbers of bits of a list with commas, the largest first.

    Raises:
        ConfigError: not such a list, or a number outside 2 to 8.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(len(part) == 1 and part in "2345678" for part in parts):
        raise ConfigError(
            f"{text!r} is no list of bits from 2 to 8",
            where="--bits",
            hint="Write --bits 8 or --bits 8,4,2.",
        )
    return tuple(sorted({int(part) for part in parts}, reverse=True))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _bad_snr(text: str) -> ConfigError:
    return ConfigError(
        f"{text!r} is not a range of SNRs",
        where="--snr",
        hint="Write --snr=-10:14:2 (first:last:step) or --snr=-10,0,10.",
    )


def _print(sweeps: "list[Sweep]") -> None:
    from itertools import groupby

    from rich.console import Console
    from rich.table import Table

    console, against_snr = Console(markup=False), Table()
    against_snr.add_column("SNR (dB)", justify="right")
    for sweep in sweeps:
        head = sweep.label.replace(", ", "\n")
        against_snr.add_column(f"{head}\ntrained at {sweep.trained_at}", justify="right")
    for snr in sorted({snr for sweep in sweeps for snr in sweep.snr_db}):
        cells = [dict(zip(sweep.snr_db, sweep.accuracy, strict=True)).get(snr) for sweep in sweeps]
        against_snr.add_row(f"{snr:g}", *("-" if cell is None else f"{cell:.1%}" for cell in cells))
    console.print("Test accuracy against SNR", style="bold", highlight=False)
    console.print(against_snr)
    for _, group in groupby(sweeps, key=lambda sweep: sweep.run):
        forms = list(group)
        first = forms[0]
        heading = f"{first.label}: accuracy when deciding after so many steps, {first.trained_at}"
        console.print(f"\n{heading}", style="bold", highlight=False)
        console.print(_against_latency(forms))


def _against_latency(forms: "list[Sweep]") -> "Table":
    """One run: in floating point and, where wanted, in integers of so many bits."""
    from rich.table import Table

    table, first = Table(), forms[0]
    alone = len(forms) == 1
    columns = ["accuracy" if alone else _form(sweep) for sweep in forms]
    for column in ("steps", "channel uses", *columns):
        table.add_column(column, justify="right")
    for rows in zip(*(sweep.milestones() for sweep in forms), strict=True):
        step = rows[0][0]
        accuracies = (f"{accuracy:.1%}" for _, accuracy in rows)
        table.add_row(str(step), f"{step * first.uses.per_step:,}", *accuracies)
    return table


def _form(sweep: "Sweep") -> str:
    return "floating point" if sweep.bits is None else f"{sweep.bits} bits"


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
