"""`nsc-deploy train`: from an experiment to a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.cli import train_options as fields
from nsc_deploy.cli.diagnostics import tell
from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    from nsc_deploy.training.run import RunResult

_RUN = "Run"


def train(
    context: typer.Context,
    experiment: Annotated[
        Path | None,
        typer.Argument(
            metavar="EXPERIMENT.toml",
            help="Experiment file (TOML); options override what it says. Without one, defaults hold.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run directory to write (required); a new or an empty one.",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Go on from the best weights and the experiment of a finished run, for a few epochs.",
            metavar="RUN",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Set any other field of an experiment: --set training.weight_decay=0.01 (may be repeated).",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the unfinished run in --out.", rich_help_panel=_RUN)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Remove the run that is in --out and begin anew.", rich_help_panel=_RUN
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the metrics as JSON.", rich_help_panel=_RUN)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show no progress bar.", rich_help_panel=_RUN)
    ] = False,
    system: fields.System = None,
    receiver: fields.Receiver = None,
    coding: fields.Coding = None,
    backbone: fields.Backbone = None,
    steps: fields.Steps = None,
    hidden: fields.Hidden = None,
    symbols: fields.Symbols = None,
    group: fields.Group = None,
    transmission: fields.Transmission = None,
    dataset: fields.Dataset = None,
    data_path: fields.DataPath = None,
    split: fields.Split = None,
    speaker: fields.Speaker = None,
    channel: fields.Channel = None,
    taps: fields.Taps = None,
    snr: fields.Snr = None,
    flip: fields.Flip = None,
    erase: fields.Erase = None,
    framework: fields.Framework = None,
    epochs: fields.Epochs = None,
    batch_size: fields.BatchSize = None,
    learning_rate: fields.LearningRate = None,
    schedule: fields.Schedule = None,
    gradient_clip: fields.GradientClip = None,
    spike_rate_weight: fields.SpikeRateWeight = None,
    synop_weight: fields.SynopWeight = None,
    sparsity: fields.Sparsity = None,
    validation_fraction: fields.ValidationFraction = None,
    patience: fields.Patience = None,
    time_shift: fields.TimeShift = None,
    channel_dropout: fields.ChannelDropout = None,
    event_dropout: fields.EventDropout = None,
    seed: fields.Seed = None,
    devices: fields.Devices = None,
    nodes: fields.Nodes = None,
    threads: fields.Threads = None,
    quantise: fields.Quantise = None,
    bits: fields.Bits = None,
) -> None:
    """Train a system and write everything that later steps need into a run directory.

    The run holds the experiment with every field described, graphs, recorded inputs, metrics and checkpoints.

    For example: nsc-deploy train --system att-neurosc --snr 10 --out runs/first

    An image classifier, then a codec for its features:

    nsc-deploy train --system backbone --backbone resnet10 --dataset cifar100 --out runs/resnet10

    nsc-deploy train --system snn-sc --backbone runs/resnet10 --flip 0.15 --out runs/snn-sc

    For one model over a range of SNRs: nsc-deploy train --snr=-10:10 --out runs/range

    To fine-tune a run for the integers of a chip: --quantise lava --bits 4 --from runs/first --out runs/4bits
    """
    given = context.params
    overrides = {name: given[option] for option, name in fields.DOTTED.items() if given[option] is not None}
    if snr is not None:
        overrides |= _snr(snr)
    overrides |= _errors(flip, erase)
    if out is None:
        raise ConfigError(
            "is missing", where="--out", hint="Name the run directory to write: --out runs/first"
        )
    from nsc_deploy.experiment_file import FILE_NAME, load_experiment, parse_assignment
    from nsc_deploy.io.files import require_writable

    assigned = dict(parse_assignment(text) for text in assign or ())
    if resume and experiment is None:
        from nsc_deploy.training.run_directory import experiment_to_resume

        experiment = experiment_to_resume(out, required=not (overrides or assigned or from_run))
    options = {name: f"--{option.replace('_', '-')}" for option, name in fields.DOTTED.items()}
    options |= dict.fromkeys(("channel.snr_db", "channel.snr_to_db"), "--snr")
    if flip is not None or erase is not None:
        option = "--flip" if erase is None else "--erase"
        options |= dict.fromkeys(("channel.kind", "channel.p", "channel.p_to"), option)
    _refuse_contradictions(assigned, overrides, options)
    options |= {field: f"--set {field}" for field in assigned if field not in overrides}
    overrides = assigned | overrides
    if from_run is not None:
        experiment, overrides = _going_on(from_run, experiment, out, resume, overrides)
    with _that_there_is_no_run(out if resume and experiment is None else None):
        asked = load_experiment(experiment, overrides, options)
    require_writable(out / FILE_NAME)
    # Only now, for torch takes seconds to load, and a misspelt option should not wait for it.
    from nsc_deploy.training.run import is_first_machine, take_part
    from nsc_deploy.training.run import train as run_training
    from nsc_deploy.training.run_directory import RunState, state_of

    if not is_first_machine(asked):
        take_part(asked, out, overwrite=overwrite)
        typer.echo("This machine has done its part; the first one writes the run.")
        return
    was_done = resume and state_of(out) is RunState.FINISHED
    try:
        result = run_training(asked, out, resume=resume, overwrite=overwrite, progress=not quiet)
    except KeyboardInterrupt:
        typer.echo(
            f"Every finished epoch is kept; go on with: nsc-deploy train --resume --out {out}", err=True
        )
        raise
    if was_done:
        tell(f"{out} is finished: nothing was left to train")
    if as_json:
        typer.echo(result.metrics.model_dump_json(indent=2))
    else:
        _print(result)


def _refuse_contradictions(
    assigned: dict[str, object], overrides: dict[str, object], options: dict[str, str]
) -> None:
    """Refuse a field that an option and --set give different values."""
    for field in assigned.keys() & overrides.keys():
        value, other = overrides[field], assigned[field]
        if value != other and str(value) != str(other):
            raise ConfigError(
                f"sets {field} to {value}, and --set to {other}",
                where=options[field],
                hint="Leave one of them out.",
            )


@contextmanager
def _that_there_is_no_run(out: Path | None) -> Iterator[None]:
    """Add to an error about fields that OUT, if it is named, holds no run that they could be of."""
    try:
        yield
    except ConfigError as error:
        if out is None:
            raise
        hint = f"{out} holds no run to go on with: name the system too. {error.hint or ''}".rstrip()
        raise ConfigError(error.problem, where=error.where, hint=hint) from error


def _snr(text: str) -> dict[str, object]:
    """The fields of a channel that `--snr` stands for: one SNR, or both ends of a range."""
    try:
        ends = [float(value) for value in text.split(":")]
    except ValueError:
        ends = []
    if len(ends) not in {1, 2} or (len(ends) == 2 and not ends[0] < ends[1]):
        raise ConfigError(
            f"{text!r} is no SNR in dB and no range that rises",
            where="--snr",
            hint="Write --snr=10, or --snr=-10:10 for an SNR of its own for each sample from -10 to 10 dB.",
        )
    return {"channel.snr_db": ends[0], "channel.snr_to_db": ends[1] if len(ends) == 2 else None}


def _errors(flip: str | None, erase: str | None) -> dict[str, object]:
    """The fields of a channel that `--flip` or `--erase` stands for."""
    if flip is None and erase is None:
        return {}
    if flip is not None and erase is not None:
        raise ConfigError("cannot be combined", where="--flip, --erase", hint="Train on one of them.")
    option, kind, text = ("--flip", "bsc", flip) if flip is not None else ("--erase", "bec", erase)
    try:
        ends = [float(value) for value in str(text).split(":")]
    except ValueError:
        ends = []
    if len(ends) not in {1, 2} or (len(ends) == 2 and not ends[0] < ends[1]):
        raise ConfigError(
            f"{text!r} is no probability and no range that rises",
            where=option,
            hint=f"Write {option} 0.15, or {option} 0:0.3 for a probability of its own for each sample.",
        )
    return {
        "channel.kind": kind,
        "channel.p": ends[0],
        "channel.p_to": ends[1] if len(ends) == 2 else None,
    }


def _going_on(
    run: Path, experiment: Path | None, out: Path, resume: bool, overrides: dict[str, object]
) -> tuple[Path, dict[str, object]]:
    """The experiment file of the run to start from, or of the one to go on with, and what to change in it."""
    from nsc_deploy.experiment_file import FILE_NAME
    from nsc_deploy.training.start import fine_tuning, was_started_from

    if experiment is not None and not (resume and experiment == out / FILE_NAME):
        raise ConfigError(
            "cannot be combined with an experiment file: the experiment is that of the run",
            where="--from",
            hint="Change single fields with options or --set.",
        )
    if experiment is not None and was_started_from(out, run):  # which may be gone by now
        return experiment, overrides
    return run / FILE_NAME, fine_tuning(run) | overrides


def _print(result: "RunResult") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    for label, value in result.metrics.rows.items():
        table.add_row(label, value)
    console = Console(markup=False)
    console.print(result.metrics.title, style="bold", highlight=False)
    console.print(table)
    typer.echo(f"Run: {result.run}")
