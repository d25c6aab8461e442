"""`nsc-deploy train`: from an experiment to a run directory."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsc_deploy.errors import ConfigError

if TYPE_CHECKING:
    from nsc_deploy.training.run import RunResult

_SYSTEM, _DATA, _CHANNEL = "System", "Data and channel", "System and channel"
_TRAINING, _RUN = "Training", "Run"

# Each option's default None means "not given": the file's value, or the default of its field, stands.
_FIELDS = {
    "system": "system.name",
    "receiver": "system.receiver",
    "hidden": "system.hidden",
    "symbols": "system.symbols",
    "group": "system.group",
    "transmission": "system.transmission",
    "dataset": "data.dataset",
    "data_path": "data.path",
    "split": "data.split",
    "speaker": "data.speaker",
    "channel": "channel.kind",
    "taps": "channel.taps",
    "snr": "channel.snr_db",
    "framework": "training.framework",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "schedule": "training.schedule",
    "gradient_clip": "training.gradient_clip",
    "spike_rate_weight": "training.spike_rate_weight",
    "validation_fraction": "training.validation_fraction",
    "patience": "training.patience",
    "time_shift": "training.time_shift",
    "channel_dropout": "training.channel_dropout",
    "event_dropout": "training.event_dropout",
    "seed": "training.seed",
    "devices": "training.devices",
    "nodes": "training.nodes",
    "threads": "training.threads",
}


def _option(panel: str, text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=text, rich_help_panel=panel, show_default=False)
    return option


def train(
    context: typer.Context,
    experiment: Annotated[
        Path | None, typer.Argument(help="Experiment file (TOML); options override it.", show_default=False)
    ] = None,
    out: Annotated[Path | None, _option(_RUN, "Run directory to write.")] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any field: --set training.snr_start_db=10 (repeatable).",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run.", rich_help_panel=_RUN)
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that is there.", rich_help_panel=_RUN)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the metrics as JSON.", rich_help_panel=_RUN)
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.", rich_help_panel=_RUN)] = False,
    system: Annotated[str | None, _option(_SYSTEM, "att-neurosc, vanilla-snn, fc or lstm.")] = None,
    receiver: Annotated[str | None, _option(_SYSTEM, "att-neurosc: event or analog.")] = None,
    hidden: Annotated[int | None, _option(_SYSTEM, "Neurons of the hidden layers.")] = None,
    symbols: Annotated[int | None, _option(_SYSTEM, "Symbols sent in a time step.")] = None,
    group: Annotated[int | None, _option(_SYSTEM, "Output neurons that vote for a class.")] = None,
    transmission: Annotated[str | None, _option(_SYSTEM, "fc, lstm: amplitude or bits.")] = None,
    dataset: Annotated[str | None, _option(_DATA, "spoken-digits, fsdd or shd.")] = None,
    data_path: Annotated[Path | None, _option(_DATA, "File or folder of the data set.")] = None,
    split: Annotated[str | None, _option(_DATA, "fsdd: official or leave-one-speaker-out.")] = None,
    speaker: Annotated[str | None, _option(_DATA, "fsdd: the speaker kept for the test.")] = None,
    channel: Annotated[str | None, _option(_DATA, "awgn, rayleigh, rician or multipath.")] = None,
    taps: Annotated[int | None, _option(_DATA, "Taps of the multipath channel.")] = None,
    snr: Annotated[float | None, _option(_DATA, "Signal-to-noise ratio in dB.")] = None,
    framework: Annotated[str | None, _option(_TRAINING, "snntorch or norse.")] = None,
    epochs: Annotated[int | None, _option(_TRAINING, "Passes over the training part.")] = None,
    batch_size: Annotated[int | None, _option(_TRAINING, "Samples a step, over all devices.")] = None,
    learning_rate: Annotated[float | None, _option(_TRAINING, "Adam's largest step size.")] = None,
    schedule: Annotated[str | None, _option(_TRAINING, "cosine or constant.")] = None,
    gradient_clip: Annotated[float | None, _option(_TRAINING, "Largest gradient norm; 0: no limit.")] = None,
    spike_rate_weight: Annotated[float | None, _option(_TRAINING, "Weight of the spike rate loss.")] = None,
    validation_fraction: Annotated[
        float | None, _option(_TRAINING, "Part of each class for validation.")
    ] = None,
    patience: Annotated[
        int | None, _option(_TRAINING, "Epochs to wait for a better one; 0: never stop.")
    ] = None,
    time_shift: Annotated[
        int | None, _option(_TRAINING, "Augmentation: shift by up to this many steps.")
    ] = None,
    channel_dropout: Annotated[
        float | None, _option(_TRAINING, "Augmentation: part of channels silenced.")
    ] = None,
    event_dropout: Annotated[float | None, _option(_TRAINING, "Augmentation: part of events lost.")] = None,
    seed: Annotated[int | None, _option(_TRAINING, "Seed of everything drawn by chance.")] = None,
    devices: Annotated[int | None, _option(_TRAINING, "Processes a machine, data-parallel.")] = None,
    nodes: Annotated[int | None, _option(_TRAINING, "Machines, data-parallel.")] = None,
    threads: Annotated[
        int | None, _option(_TRAINING, "CPU threads a process; 0: as the machine offers.")
    ] = None,
) -> None:
    """Train a system and write everything that later steps need into a run directory."""
    given = context.params
    overrides = {field: given[option] for option, field in _FIELDS.items() if given[option] is not None}
    if out is None:
        raise ConfigError(
            "is missing", where="--out", remedy="Name the run directory to write: --out runs/first"
        )
    from nsc_deploy.experiment_file import load_experiment, parse_assignment
    from nsc_deploy.training.run import is_first_machine, take_part
    from nsc_deploy.training.run import train as run_training
    from nsc_deploy.training.run_directory import experiment_to_resume

    assigned = dict(parse_assignment(text) for text in assign or ())
    if resume and experiment is None:
        experiment = experiment_to_resume(out, required=not (overrides or assigned))
    options = {field: f"--{option.replace('_', '-')}" for option, field in _FIELDS.items()}
    options |= {field: f"--set {field}" for field in assigned if field not in overrides}
    overrides = assigned | overrides
    asked = load_experiment(experiment, overrides, options)
    if not is_first_machine(asked):
        take_part(asked, out, overwrite=overwrite)
        typer.echo("This machine has done its part; the first one writes the run.")
        return
    try:
        result = run_training(asked, out, resume=resume, overwrite=overwrite, progress=not quiet)
    except KeyboardInterrupt:
        typer.echo(
            f"Every finished epoch is kept; go on with: nsc-deploy train --resume --out {out}", err=True
        )
        raise
    if as_json:
        typer.echo(result.metrics.model_dump_json(indent=2))
    else:
        _print(result)


def _print(result: "RunResult") -> None:
    from rich.console import Console
    from rich.table import Table

    metrics = result.metrics
    name = f"{metrics.system} ({metrics.receiver})" if metrics.receiver else metrics.system
    heading = f"{name} on {metrics.dataset}, {metrics.channel} at {metrics.snr_db:g} dB"
    table = Table(show_header=False)
    early = ", stopped early" if metrics.stopped_early else ""
    rows = {
        "test accuracy": f"{metrics.test_accuracy:.1%}",
        "validation accuracy": _percent(metrics.validation_accuracy),
        "training accuracy": f"{metrics.train_accuracy:.1%}",
        "spikes a neuron and step": _number(metrics.test_spike_rate),
        "spikes a sample": _number(metrics.spikes_per_sample),
        "channel uses a sample": str(metrics.channel_uses),
        "epochs": f"{metrics.epochs}, best {metrics.best_epoch + 1}{early}",
        "training time": f"{metrics.training_seconds:.1f} s",
    }
    for label, value in rows.items():
        table.add_row(label, value)
    console = Console()
    console.print(heading, style="bold", highlight=False)
    console.print(table)
    typer.echo(f"Run: {result.run}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
