"""`nsc-deploy evaluate`: accuracy against SNR and against latency."""

import json
import math
import reprlib
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from nsc_deploy.training.features.sweep import CodecSweep
    from nsc_deploy.training.memory.sweep import MemorySweep
    from nsc_deploy.training.sweep import Sweep

_MOST_POINTS = 1000
_SNRS = "SNRs; Write {option}=-10:14:2 (first:last:step) or {option}=-10,0,10."
_PROBABILITIES = "probabilities; Write {option} 0:0.3:0.05 (first:last:step) or {option} 0,0.1,0.2."

Errors = tuple[str, tuple[float, ...]] | None
"""Kind of channel and probabilities of an error."""


class QuantiseOption(StrEnum):
    """Values of --quantise."""

    LAVA = "lava"


class PrecisionOption(StrEnum):
    """Values of --precision."""

    FP32 = "fp32"
    BF16 = "bf16"
    AUTO = "auto"


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Run directories, as train writes them.", show_default=False),
    ],
    snr: Annotated[
        str | None,
        typer.Option(
            help="SNRs in dB, -100 to 400: --snr=-10,0,10 or --snr=-10:14:2 (first:last:step; last is among "
            "them where a step meets it).",
            show_default=False,
        ),
    ] = None,
    flip: Annotated[
        str | None,
        typer.Option(
            help="Codecs: probabilities that a bit is flipped (BSC), likewise: --flip 0:0.3:0.05 or --flip "
            "0,0.1,0.2.",
            show_default=False,
        ),
    ] = None,
    erase: Annotated[
        str | None,
        typer.Option(
            help="Codecs: probabilities that a bit is erased (BEC), likewise.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(min=1, max=1000, help="Codecs: how often each sample is sent; the mean is shown.")
    ] = 1,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Codecs: look at the first so many test images alone; systems with memory: at so many "
            "questions of each task, 200 by default.",
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
    precision: Annotated[
        PrecisionOption | None,
        typer.Option(
            help="Codecs: products of the server in fp32 (default) or bf16; auto: bf16 where it is faster.",
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

    Codecs for features: over --flip or --erase, else as trained (of a range, at five points).

    With these, a run of a backbone is evaluated with JPEG and a convolutional code.

    Systems with memory: right answers, mean over tasks, at --snr or from -6 to 18 dB, and symbols a sentence.
    """
    points = None if snr is None else parse_range(snr, "--snr", _SNRS)
    errors = _errors(flip, erase)
    forms = _forms(quantise, bits)
    from nsc_deploy.training.features.sweep import are_features
    from nsc_deploy.training.memory.sweep import have_memory
    from nsc_deploy.training.plots import check_place, write_plots
    from nsc_deploy.training.run_directory import experiment_to_resume
    from nsc_deploy.training.sweep import sweep_runs

    directory = out or (runs[0] if len(runs) == 1 else Path("evaluation"))
    several = draws if draws > 1 else None
    for run in runs:
        experiment_to_resume(run)
    check_place(directory)
    if have_memory(runs):
        unused: dict[str, object] = {
            "--flip": flip,
            "--erase": erase,
            "--draws": several,
            "--precision": precision,
        }
        _require_none(unused, "systems with memory")
        _evaluate_memory(runs, points, samples, forms, directory, as_json)
        return
    codecs = are_features(runs)
    given: dict[str, object] = {"--snr": snr, "--flip": flip, "--erase": erase, "--draws": several}
    _require_fitting(codecs, given | {"--samples": samples, "--precision": precision})
    if codecs:
        _evaluate_codecs(runs, errors, draws, samples, forms, precision, directory, as_json)
        return
    sweeps = sweep_runs(runs, points, bits=forms, progress=True)
    files = write_plots(sweeps, directory)
    if as_json:
        typer.echo(json.dumps([sweep.as_json() for sweep in sweeps], indent=2))
    else:
        _print(sweeps)
    for path in files:
        typer.echo(f"wrote {path}", err=as_json)


def _errors(flip: str | None, erase: str | None) -> "Errors":
    """The kind of channel and the probabilities that the options ask for; None for that of the training."""
    if flip is not None and erase is not None:
        raise ConfigError(
            "cannot be combined", where="--flip, --erase", hint="Evaluate on one, then the other."
        )
    if flip is not None:
        return "bsc", parse_range(flip, "--flip", _PROBABILITIES)
    if erase is not None:
        return "bec", parse_range(erase, "--erase", _PROBABILITIES)
    return None


def _require_fitting(codecs: bool, given: dict[str, object]) -> None:
    """Refuse an option that the runs have no use for."""
    wrong = ("--snr",) if codecs else ("--flip", "--erase", "--draws", "--samples", "--precision")
    option = next((one for one in wrong if given[one] is not None), None)
    if option is not None:
        what = "runs of speech receivers" if codecs else "runs of codecs and backbones"
        hint = (
            "Codecs are evaluated over --flip or --erase." if codecs else "Leave it out; --snr is for these."
        )
        raise ConfigError(f"is only used with {what}", where=option, hint=hint)


def _require_none(given: dict[str, object], what: str) -> None:
    option = next((one for one, value in given.items() if value is not None), None)
    if option is not None:
        raise ConfigError(
            f"is not used with runs of {what}", where=option, hint="Leave it out; --snr is for these."
        )


def _evaluate_memory(
    runs: list[Path],
    snrs: tuple[float, ...] | None,
    samples: int | None,
    forms: tuple[int, ...],
    directory: Path,
    as_json: bool,
) -> None:
    from nsc_deploy.training.memory.plots import write_sweeps
    from nsc_deploy.training.memory.sweep import QUESTIONS, sweep_memory

    sweeps = sweep_memory(runs, snrs, samples or QUESTIONS, bits=forms)
    files = write_sweeps(sweeps, directory)
    if as_json:
        typer.echo(json.dumps([sweep.as_json() for sweep in sweeps], indent=2))
    else:
        _print_memory(sweeps)
    for path in files:
        typer.echo(f"wrote {path}", err=as_json)


def _print_memory(sweeps: "list[MemorySweep]") -> None:
    from rich.console import Console
    from rich.table import Table

    from nsc_deploy.io.text import counted

    console = Console(markup=False)
    for sweep in sweeps:
        table = Table()
        for column in (
            "SNR (dB)",
            "answers right",
            "tasks at 95 %",
            "symbols",
            "in blocks",
            "with positions",
        ):
            table.add_column(column, justify="right")
        for point in sweep.points:
            symbols = point.symbols
            counts = (f"{one:.1f}" for one in (symbols.sent, symbols.blocks, symbols.with_positions))
            tasks = f"{point.solved} of {len(point.by_task)}"
            table.add_row(f"{point.snr_db:g}", f"{point.accuracy:.1%}", tasks, *counts)
        title = f"{sweep.run.name}: {sweep.label}, {counted(sweep.questions, 'test question')}"
        console.print(title, style="bold", highlight=False)
        console.print(table)
        if sweep.points[0].unseen is not None:
            console.print(_apart(sweep))


def _apart(sweep: "MemorySweep") -> "Table":
    """Questions with and without sentences that were held out in training."""
    from rich.table import Table

    table = Table(title="sentences that were held out in steps 2 and 3")
    for column in ("SNR (dB)", "questions", "answers right", "error"):
        table.add_column(column, justify="right")
    for point in sweep.points:
        for name, met in (("without", point.seen), ("with", point.unseen)):
            if met is not None:
                shares = ("-" if share is None else f"{share:.1%}" for share in (met.accuracy, met.error))
                table.add_row(f"{point.snr_db:g}", f"{met.questions:,} {name}", *shares)
    return table


def _evaluate_codecs(
    runs: list[Path],
    errors: "Errors",
    draws: int,
    samples: int | None,
    forms: tuple[int, ...],
    precision: PrecisionOption | None,
    directory: Path,
    as_json: bool,
) -> None:
    from nsc_deploy.channels.config import BinaryKind
    from nsc_deploy.training.features.plots import write_codec_plots
    from nsc_deploy.training.features.sweep import sweep_codecs
    from nsc_deploy.training.fit import in_bfloat16

    kind, points = (None, ()) if errors is None else (BinaryKind(errors[0]), errors[1])
    bfloat16 = precision is not None and in_bfloat16(precision.value)
    sweeps = sweep_codecs(
        runs, kind, points, draws=draws, most=samples, bits=forms, bfloat16=bfloat16, progress=True
    )
    files = write_codec_plots(sweeps, directory)
    if as_json:
        typer.echo(json.dumps([sweep.as_json() for sweep in sweeps], indent=2))
    else:
        print_codecs(sweeps)
    for path in files:
        typer.echo(f"wrote {path}", err=as_json)


def print_codecs(sweeps: "list[CodecSweep]") -> None:
    """Print the accuracy of codecs over a channel as one table."""
    from rich.console import Console
    from rich.table import Table

    from nsc_deploy.io.text import counted

    console, table = Console(markup=False), Table()
    table.add_column("p", justify="right")
    for sweep in sweeps:
        table.add_column(sweep.label.replace(", ", "\n"), justify="right")
    for p in sorted({p for sweep in sweeps for p in sweep.p}):
        cells = [dict(zip(sweep.p, sweep.accuracy, strict=True)).get(p) for sweep in sweeps]
        table.add_row(f"{p:g}", *("-" if cell is None else f"{cell:.1%}" for cell in cells))
    table.add_section()
    table.add_row("bits", *(f"{sweep.bits:,.0f}" for sweep in sweeps))
    table.add_row("samples", *(f"{sweep.samples:,}" for sweep in sweeps))
    table.add_row("no codec,\nno channel", *(f"{sweep.without_channel:.1%}" for sweep in sweeps))
    kinds = {sweep.channel for sweep in sweeps}
    over = f"over the {kinds.pop()}" if len(kinds) == 1 else "of each codec over its own channel"
    how = f"{counted(sweeps[0].draws, 'draw')} of the channel"
    if sweeps[0].products != "float32":
        how += f", products in {sweeps[0].products}"
    console.print(f"Test accuracy {over} ({how})", style="bold", highlight=False)
    console.print(table)
    for sweep in sweeps:
        if sweep.after:
            curve = "  ".join(f"{value:.1%}" for value in sweep.after)
            console.print(f"{sweep.label}, after 1, 2, ... steps at p {sweep.after_p:g}: {curve}")


def parse_range(text: str, option: str, what: str) -> tuple[float, ...]:
    """The values of `first:last:step`, up to `last` where a step meets it, or of a list with commas.

    Args:
        text: what the user wrote.
        option: where.
        what: what it should be, and how to write it.

    Raises:
        ConfigError: not of this form, more than a thousand points, or a step that leads away from `last`.
    """
    try:
        if ":" not in text:
            values = {_finite(value) for value in text.split(",")}
            _require_few(len(values), option)
            return tuple(sorted(values))
        first, last, step = (_finite(value) for value in text.split(":"))
    except ValueError as error:
        raise _bad_range(text, option, what) from error
    if step <= 0 or last < first or math.isinf((last - first) / step):
        raise _bad_range(text, option, what)
    count = math.floor((last - first) / step + 1e-9) + 1
    _require_few(count, option)
    # Rounded, for 3 * 0.05 is not 0.15 in binary.
    return tuple(round(first + step * index, 12) for index in range(count))


def _require_few(count: int, option: str) -> None:
    if count > _MOST_POINTS:
        raise ConfigError(
            f"has {count:,} values, and {_MOST_POINTS:,} are the most",
            where=option,
            hint="Evaluate fewer points.",
        )


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


def _bad_range(text: str, option: str, what: str) -> ConfigError:
    name, hint = what.split("; ")
    return ConfigError(
        f"{reprlib.repr(text)} is not a range of {name}", where=option, hint=hint.format(option=option)
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
