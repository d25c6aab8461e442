"""Settings of a speech experiment without an effect: refused, for who gives one expects it to have one."""

from typing import TYPE_CHECKING

from nsc_deploy.channels.config import ChannelKind
from nsc_deploy.data.config import UNUSED_SECTIONS

if TYPE_CHECKING:
    from pydantic import BaseModel

    from nsc_deploy.config.speech import SpeechExperiment, TrainingConfig

NO_WARM_UP_DB = -100.0
"""Below every channel, so that training never begins on a better one."""
_NEURONS = ("decay_steps", "threshold")
_GATES = ("gate_hidden", "gate_decay_steps")
_COMPARATORS = ("front_end_level", "front_end_levels")
_OF_SOME = (*_NEURONS, *_GATES, "gate_threshold", *_COMPARATORS, "dropout", "transmission")
# What each system has of them, by its name and, of att-neurosc, its receiver.
_USED = {
    "event": (*_NEURONS, *_GATES, *_COMPARATORS),
    "analog": (*_NEURONS, "gate_decay_steps", "gate_threshold"),
    "vanilla-snn": _NEURONS,
    "sscc": (*_NEURONS, *_GATES),
    "fc": ("transmission",),
    "lstm": ("dropout", "transmission"),
}
_MOSTLY_NOT_DENSE = ("analog", "lstm", "ds-cnn")


def refuse_unused(experiment: "SpeechExperiment") -> None:
    """Refuse settings without an effect, except where they are the defaults, which every run records.

    Raises:
        ValueError: there is one.
    """
    system = experiment.system.name.value
    kind = experiment.system.receiver.value if system == "att-neurosc" else system
    used = _USED.get(kind, ())
    _require_defaults("system", experiment.system, [name for name in _OF_SOME if name not in used], kind)
    if not experiment.system.gate_hidden:
        _require_defaults("system", experiment.system, ["gate_decay_steps"], "a system without gates")
    _refuse_in_the_channel(experiment)
    _refuse_in_training(experiment, kind)
    _refuse_in_the_data(experiment)


def _refuse_in_the_channel(experiment: "SpeechExperiment") -> None:
    kind = experiment.channel.kind
    own = {ChannelKind.MULTIPATH: "taps", ChannelKind.RICIAN: "rician_k"}
    others = [name for of, name in own.items() if of is not kind]
    _require_defaults("channel", experiment.channel, others, f"the channel {kind}")


def _refuse_in_training(experiment: "SpeechExperiment", kind: str) -> None:
    training = experiment.training
    if training.sparsity and kind in _MOSTLY_NOT_DENSE:
        raise ValueError(
            f"training.sparsity cuts synapses of dense layers, and most weights of {kind} are in others: "
            "leave it out"
        )
    if not training.sparsity:
        _require_defaults("training", training, ["cut_until"], "training without sparsity")
    if training.teacher is None:
        _require_defaults("training", training, ["teacher_weight"], "training without a teacher")
    _refuse_warm_ups(training, kind)
    # What goes on from a run names that run's seed, also where it keeps nothing apart.
    if not training.validation_fraction and training.start_from is None:
        _require_defaults("training", training, ["validation_seed"], "training without a validation part")


def _refuse_warm_ups(training: "TrainingConfig", kind: str) -> None:
    """Of what is off; that there is no warm-up is true of it, and fine-tuning says so of every system."""
    if training.spike_rate_warmup and not (training.spike_rate_weight or training.synop_weight):
        _require_defaults(
            "training", training, ["spike_rate_warmup"], "training without a weight of spikes or operations"
        )
    if kind == "sscc":
        of = f"{kind}, which no channel trains"
        begins = [] if training.snr_start_db == NO_WARM_UP_DB else ["snr_start_db"]
        _require_defaults("training", training, [*begins, "snr_warmup"], of)


def _refuse_in_the_data(experiment: "SpeechExperiment") -> None:
    data = experiment.data
    for table in UNUSED_SECTIONS[data.dataset]:
        section = getattr(data, table)
        _require_defaults(f"data.{table}", section, list(type(section).model_fields), data.dataset)
    encoding = data.encoding
    if data.dataset != "shd" and encoding.kind != "lif":
        _require_defaults("data.encoding", encoding, ["lif_decay"], f"the kind {encoding.kind}")
    if encoding.levels == 1:
        of = "one level, which lies at lowest_level_db"
        _require_defaults("data.encoding", encoding, ["highest_level_db"], of)


def _require_defaults(table: str, section: "BaseModel", names: list[str], to: str) -> None:
    for name in names:
        if getattr(section, name) != type(section).model_fields[name].default:
            raise ValueError(f"{table}.{name} means nothing to {to}: leave it out")
