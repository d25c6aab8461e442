"""The options of `nsc-deploy train` that stand for fields of an experiment.

Their texts state ranges and defaults by hand: help must answer without importing the models that know them.
"""

from pathlib import Path
from typing import Annotated

import typer

from nsc_deploy.cli.options import words

_SYSTEM, _DATA, _TRAINING, _CHIP = "System", "Data and channel", "Training", "For a chip"

# Each option's default None means "not given": the file's value, or the default of its field, stands.
DOTTED = {
    "system": "system.name",
    "receiver": "system.receiver",
    "coding": "system.coding",
    "backbone": "system.backbone",
    "steps": "system.steps",
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
    "framework": "training.framework",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "learning_rate": "training.learning_rate",
    "schedule": "training.schedule",
    "gradient_clip": "training.gradient_clip",
    "spike_rate_weight": "training.spike_rate_weight",
    "synop_weight": "training.synop_weight",
    "sparsity": "training.sparsity",
    "validation_fraction": "training.validation_fraction",
    "patience": "training.patience",
    "time_shift": "training.time_shift",
    "channel_dropout": "training.channel_dropout",
    "event_dropout": "training.event_dropout",
    "seed": "training.seed",
    "devices": "training.devices",
    "nodes": "training.nodes",
    "threads": "training.threads",
    "quantise": "quantisation.target",
    "bits": "quantisation.bits",
}


def _option(panel: str, text: str, *choices: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        help=text,
        rich_help_panel=panel,
        show_default=False,
        autocompletion=words(*choices) if choices else None,
    )
    return option


System = Annotated[
    str | None,
    _option(
        _SYSTEM,
        "Speech: att-neurosc, vanilla-snn, fc, lstm; in integers qnn, gru or ds-cnn; sscc. Images: backbone, "
        "and behind one snn-sc, s-jscc, cnn-sc or cnn-1bit. Text: mem-deepsc, utf8-turbo, word-turbo or "
        "sentence-turbo; default att-neurosc.",
        "att-neurosc",
        "vanilla-snn",
        "fc",
        "lstm",
        "qnn",
        "gru",
        "ds-cnn",
        "sscc",
        "backbone",
        "snn-sc",
        "s-jscc",
        "cnn-sc",
        "cnn-1bit",
        "mem-deepsc",
        "utf8-turbo",
        "word-turbo",
        "sentence-turbo",
    ),
]
Receiver = Annotated[
    str | None,
    _option(
        _SYSTEM,
        "att-neurosc: event (spikes only) or analog (multiplies on the host); default event.",
        "event",
        "analog",
    ),
]
Coding = Annotated[
    str | None,
    _option(
        _SYSTEM,
        "event without gates: rate, or ttfs (a neuron fires at most once a sample); default rate.",
        "rate",
        "ttfs",
    ),
]
Backbone = Annotated[
    str | None,
    _option(
        _SYSTEM,
        "Codecs: a finished run of a backbone. Alone: vgg16, resnet50, resnet10 or cnn8; default resnet10.",
        "vgg16",
        "resnet50",
        "resnet10",
        "cnn8",
    ),
]
Steps = Annotated[
    int | None,
    _option(_SYSTEM, "Codecs: bits of a value of cnn-sc, 1 to 10, or time steps, 1 to 64; default 8."),
]
Hidden = Annotated[
    int | None,
    _option(
        _SYSTEM,
        "Neurons of each hidden layer, 1 to 65536; codecs: filters between the two convolutions of a side "
        "(0, which is an eighth of the feature's channels); default 128.",
    ),
]
Symbols = Annotated[
    int | None,
    _option(
        _SYSTEM,
        "Symbols sent in a time step, 1 to 65536; mem-deepsc: in a sentence, 4 to 1024 (32); default 128.",
    ),
]
Group = Annotated[int | None, _option(_SYSTEM, "Output neurons that vote for a class, 1 to 1024; default 5.")]
Transmission = Annotated[
    str | None,
    _option(
        _SYSTEM,
        "fc, lstm: amplitude (a value a symbol) or bits (16 symbols a value); default amplitude.",
        "amplitude",
        "bits",
    ),
]
Dataset = Annotated[
    str | None,
    _option(
        _DATA,
        "Speech: spoken-digits (synthesised), fsdd (recordings) or shd (spikes). Images: cifar100 (their "
        "default) or digits. Text: babi (its default) or toy-stories; default spoken-digits.",
        "spoken-digits",
        "fsdd",
        "shd",
        "cifar100",
        "digits",
        "babi",
        "toy-stories",
    ),
]
DataPath = Annotated[
    Path | None,
    _option(
        _DATA,
        "File or folder of a data set that is not made; the usual places by default.",
    ),
]
Split = Annotated[
    str | None,
    _option(
        _DATA,
        "fsdd: official, leave-one-speaker-out (needs --speaker) or selection (without the test part); "
        "default official.",
        "official",
        "leave-one-speaker-out",
        "selection",
    ),
]
Speaker = Annotated[
    str | None, _option(_DATA, "fsdd: who is kept for the test; with --split leave-one-speaker-out.")
]
Channel = Annotated[
    str | None,
    _option(
        _DATA,
        "Wireless channel: awgn, rayleigh, rician or multipath; text: awgn (default), rayleigh or rician; "
        "codecs: bsc (their default) or bec; default multipath.",
        "awgn",
        "rayleigh",
        "rician",
        "multipath",
        "bsc",
        "bec",
    ),
]
Taps = Annotated[int | None, _option(_DATA, "Taps of the multipath channel, 1 to 1024; default 8.")]
Snr = Annotated[
    str | None,
    _option(
        _DATA,
        "Signal-to-noise ratio in dB, -100 to 400; --snr=-10:10 trains one model over a range; text: -6:18; "
        "default 10.",
    ),
]
Flip = Annotated[
    str | None,
    _option(_DATA, "Codecs: probability that a bit is flipped (BSC); --flip 0:0.3 is a range; default 0.15."),
]
Erase = Annotated[str | None, _option(_DATA, "Codecs: probability that a bit is erased (BEC), likewise.")]
Framework = Annotated[
    str | None,
    _option(
        _TRAINING, "Whose spiking neurons train: snntorch or norse; default snntorch.", "snntorch", "norse"
    ),
]
Epochs = Annotated[
    int | None,
    _option(_TRAINING, "Passes over the training part, 1 or more; other systems: their own; default 100."),
]
BatchSize = Annotated[
    int | None,
    _option(
        _TRAINING,
        "Samples of one training step, over all devices together; other systems: their own; default 64.",
    ),
]
LearningRate = Annotated[
    float | None,
    _option(
        _TRAINING,
        "Adam's step size at its largest, above 0; other systems: their own; default 0.002.",
    ),
]
Schedule = Annotated[
    str | None,
    _option(
        _TRAINING,
        "Step size over time: cosine (falls to a hundredth) or constant; default cosine.",
        "cosine",
        "constant",
    ),
]
GradientClip = Annotated[
    float | None, _option(_TRAINING, "Largest norm of a gradient; 0: no limit; default 0.")
]
SpikeRateWeight = Annotated[
    float | None,
    _option(
        _TRAINING, "Weight in the loss of the squared spikes a sample and neuron; 0: none; default 0.0001."
    ),
]
SynopWeight = Annotated[
    float | None,
    _option(
        _TRAINING,
        "Weight in the loss of thousands of synaptic operations a sample, in all layers; 0: none; default 0.",
    ),
]
Sparsity = Annotated[
    float | None,
    _option(_TRAINING, "Share of each dense layer's synapses that is cut in training, 0 to 1; default 0."),
]
ValidationFraction = Annotated[
    float | None, _option(_TRAINING, "Share of each class kept for validation, 0 to 0.9; default 0.1.")
]
Patience = Annotated[
    int | None,
    _option(_TRAINING, "Stop after so many epochs without a better validation; 0: never; default 0."),
]
TimeShift = Annotated[
    int | None, _option(_TRAINING, "Augmentation: move a sample by up to so many time steps; default 2.")
]
ChannelDropout = Annotated[
    float | None,
    _option(
        _TRAINING,
        "Augmentation: probability that a channel is silent, 0 to 1; other systems: their own; default 0.2.",
    ),
]
EventDropout = Annotated[
    float | None, _option(_TRAINING, "Augmentation: probability that an event is lost, 0 to 1; default 0.")
]
Seed = Annotated[int | None, _option(_TRAINING, "Seed of everything drawn by chance, 0 or more; default 0.")]
Devices = Annotated[
    int | None, _option(_TRAINING, "Processes on this machine that share each step; default 1.")
]
Nodes = Annotated[int | None, _option(_TRAINING, "Machines that share each step; default 1.")]
Threads = Annotated[
    int | None,
    _option(
        _TRAINING,
        "CPU threads of a process; 0: as many as the machine offers; text: 1 (its default); default 0.",
    ),
]
Quantise = Annotated[
    str | None,
    _option(
        _CHIP,
        "lava: train with weights and decays rounded as an export rounds them; default none.",
        "none",
        "lava",
    ),
]
Bits = Annotated[
    int | None, _option(_CHIP, "Bits of a weight with --quantise, sign included, 2 to 8; default 8.")
]
