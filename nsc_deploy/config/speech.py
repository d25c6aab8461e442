"""Experiments with speech receivers: events over a channel with fading and noise, decided at the other end.

An experiment has five tables, each a frozen pydantic model whose fields carry their unit and range:
`[system]`, `[data]`, `[channel]`, `[training]` and `[quantisation]`. `nsc_deploy.experiment_file` reads and
writes them.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nsc_deploy.channels.config import ChannelConfig
from nsc_deploy.config.first_spikes import refuse_drowned_weights
from nsc_deploy.config.section import Section
from nsc_deploy.config.unused import refuse_unused
from nsc_deploy.data.config import DataConfig
from nsc_deploy.errors import MisfitError
from nsc_deploy.io.records import WholeName


class SystemName(StrEnum):
    """The systems that can be trained."""

    ATT_NEUROSC = "att-neurosc"
    VANILLA_SNN = "vanilla-snn"
    FC = "fc"
    LSTM = "lstm"
    QNN = "qnn"
    GRU = "gru"
    DS_CNN = "ds-cnn"
    SSCC = "sscc"

    @property
    def spiking(self) -> bool:
        """Whether the symbols on the air are spikes."""
        return self in {SystemName.ATT_NEUROSC, SystemName.VANILLA_SNN}

    @property
    def has_neurons(self) -> bool:
        """Whether spiking neurons are in it, also where it sends no spikes."""
        return self.spiking or self is SystemName.SSCC

    @property
    def at_once(self) -> bool:
        """Whether a sample is sent as a whole, after its last step."""
        return self.integer or self is SystemName.SSCC

    @property
    def integer(self) -> bool:
        """Whether it computes in integers, and sends each sample once, after its last step."""
        return self in {SystemName.QNN, SystemName.GRU, SystemName.DS_CNN}


class ReceiverKind(StrEnum):
    """The receivers of att-neurosc."""

    ANALOG = "analog"
    EVENT = "event"


class Coding(StrEnum):
    """What neurons of the event system say with their spikes."""

    RATE = "rate"
    TTFS = "ttfs"


class Transmission(StrEnum):
    """How the conventional systems send a real-valued feature of 16-bit half precision."""

    AMPLITUDE = "amplitude"
    BITS = "bits"


MOST_BITS = 7
"""Of an activation of a qnn. With 8, sums of two products overflow 16 bits in onnxruntime on processors that
have no VNNI, and saturate without a word."""


class SystemConfig(Section):
    """Transmitter and receiver: what they are and how large."""

    name: SystemName = SystemName.ATT_NEUROSC
    """att-neurosc, vanilla-snn (the same without attention), fc or lstm; in integers qnn, gru or ds-cnn;
    sscc (separate source and channel coding of events, classified by spiking neurons)"""
    receiver: ReceiverKind = ReceiverKind.EVENT
    """att-neurosc only: analog (the poster's, multiplies on the host) or event (spikes only)"""
    coding: Coding = Coding.RATE
    """event without gates: rate, or ttfs (time to first spike: each neuron fires at most once a sample)"""
    hidden: Annotated[int, Field(ge=1, le=65536)] = 128
    """neurons of the hidden layers (1 to 65536)"""
    symbols: Annotated[int, Field(ge=1, le=65536)] = 128
    """symbols sent in one time step, in one frame of sscc (1 to 65536)"""
    group: Annotated[int, Field(ge=1, le=1024)] = 5
    """output neurons that vote for one class (1 to 1024)"""
    decay_steps: Annotated[float, Field(gt=1, le=1e6)] = 10.0
    """time constant tau of the neurons, in time steps (above 1); a step keeps 1 - 1/tau of the potential"""
    threshold: Annotated[float, Field(gt=0, le=1e6)] = 0.3
    """firing threshold of the neurons, in units of their input (above 0)"""
    gate_decay_steps: Annotated[float, Field(gt=1, le=1e6)] = 2.0
    """time constant of the attention's neurons, in time steps (above 1)"""
    gate_threshold: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """analog only: firing threshold of the attention's neurons, in units of their input (above 0)"""
    gate_hidden: Annotated[int, Field(ge=0, le=65536)] = 32
    """event and sscc: neurons through which the attention sees all lines (to 65536); 0: no attention"""
    delays: Annotated[int, Field(ge=0, le=62)] = 0
    """event and sscc: each line into a dense layer is late by a learnt number of steps, so many at most (to
    62); 0: by none"""
    front_end_level: Annotated[float, Field(gt=0, le=1e6)] = 0.4
    """event only: lowest level of the receiver's comparators before training, in amplitudes (above 0)"""
    front_end_levels: Annotated[int, Field(ge=1, le=16)] = 2
    """event only: levels that the size of each received sample is compared with (1 to 16)"""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """lstm only: probability that a feature between the encoder's layers is dropped in training (0 to 1)"""
    transmission: Transmission = Transmission.AMPLITUDE
    """fc and lstm: amplitude (a value a symbol, charged 16 channel uses) or bits (16 BPSK symbols a value)"""

    activation_bits: Annotated[int | None, Field(ge=1, le=MOST_BITS)] = None
    """qnn, gru, ds-cnn: bits of an activation (1 to 7); not set: for qnn as many as count the steps,
    ceil(log2(steps + 1)), for the others 7"""

    @model_validator(mode="after")
    def _receivers_are_of_att_neurosc(self) -> Self:
        if self.name is not SystemName.ATT_NEUROSC and self.receiver is not ReceiverKind.EVENT:
            raise MisfitError(f"{{receiver}} means nothing to {self.name}", "Leave {receiver} out.")
        return self


class TrainingConfig(Section):
    """How the weights are found. The defaults serve att-neurosc with the event receiver; `OWN_SETTINGS` has
    what serves the others, which a `SpeechExperiment` takes where a field is not given.
    """

    framework: Literal["snntorch", "norse"] = "snntorch"
    """which library's neurons train the spiking systems: snntorch or norse"""
    start_from: WholeName | None = None
    """finished run whose best weights training starts from; not set: weights drawn from the seed"""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 100
    """passes over the training part (1 to 100000); the default is the system's own"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """samples of one step over all devices together (1 to 65536), divisible by their number"""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 2e-3
    """Adam's step size at its largest (above 0); the default is the system's own"""
    schedule: Literal["cosine", "constant"] = "cosine"
    """cosine (from learning_rate to a hundredth of it over all steps) or constant"""
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """epochs over which the learning rate rises linearly from 0 (0 for none)"""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """decoupled weight decay (AdamW), per step and unit of learning rate (0 to 1)"""
    gradient_clip: Annotated[float, Field(ge=0)] = 0.0
    """largest norm of the gradient of a step; 0 for no limit"""
    spike_rate_weight: Annotated[float, Field(ge=0)] = 1e-4
    """weight of the mean over samples and transmitter neurons of (spikes a sample)^2 in the loss; 0: none,
    the default of systems without spikes"""
    spike_rate_warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    """part of the epochs over which the spike rate weight rises from 0 to its value (0 to 1)"""
    synop_weight: Annotated[float, Field(ge=0)] = 0.0
    """weight in the loss of thousands of synaptic operations a sample, in all layers that spikes drive; it
    rises as the spike rate weight does; 0: none"""
    teacher: WholeName | None = None
    """finished run on the same data set whose mean votes are learnt beside the labels (Hinton et al. 2015)"""
    teacher_weight: Annotated[float, Field(gt=0)] = 1.0
    """weight in the loss of the squared distance to the teacher's mean votes (above 0)"""
    sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """part of the synapses of each dense layer that is cut in training, the weakest first (0 for none); not
    of lstm, ds-cnn and the analog receiver, whose weights are mostly in other layers"""
    cut_until: Annotated[float, Field(ge=0, le=1)] = 0.6
    """part of the epochs over which synapses are cut; the others train what is left (0 to 1)"""
    snr_start_db: Annotated[float, Field(ge=-100, le=400)] = 10.0
    """SNR of the training channel in the first epoch in dB, falls to the channel's own; -100: no warm-up"""
    snr_warmup: Annotated[float, Field(ge=0, le=1)] = 0.5
    """part of the epochs over which the training channel goes from snr_start_db to its own SNR (0 to 1)"""
    validation_fraction: Annotated[float, Field(ge=0, lt=0.9)] = 0.1
    """part of each class cut from the training set to choose the epoch and to stop early (0 to 0.9)"""
    validation_seed: Annotated[int | None, Field(ge=0, lt=2**31)] = None
    """seed of the validation part alone, so that a fine-tuned run keeps the first run's; not set: seed"""
    patience: Annotated[int, Field(ge=0)] = 0
    """epochs without a better validation result after which training stops; 0 never stops early"""
    time_shift: Annotated[int, Field(ge=0, le=10_000)] = 2
    """augmentation: each training sample is moved by up to this many time steps, either way (0 for none)"""
    channel_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """augmentation: probability that an input channel is silent for a whole training sample (0 to 1); the
    default is the system's own"""
    event_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """augmentation: probability that a single input event is lost (0 to 1)"""
    precision: Literal["auto", "bf16", "fp32"] = "fp32"
    """bf16: products that spikes enter in bfloat16 (weights, sums over steps and validation stay in float32);
    auto: where the processor has instructions for them; fp32"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """seed of weights, data order, validation part, augmentation and channel noise (0 to 2^31 - 1)"""
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """processes a machine that train data-parallel (1 to 1024)"""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """machines that train data-parallel (1 to 1024)"""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads a process; 0 takes what the machine offers and records the number in RUN/experiment.toml"""

    @property
    def split_seed(self) -> int:
        """The seed that the validation part is cut with."""
        return self.seed if self.validation_seed is None else self.validation_seed

    @model_validator(mode="after")
    def _batch_is_shared_equally(self) -> Self:
        processes = self.devices * self.nodes
        if self.batch_size % processes:
            raise MisfitError(
                f"{{batch_size}} {self.batch_size} cannot be shared equally by {processes} processes "
                "({devices} times {nodes})",
                f"Choose a {{batch_size}} that is a multiple of {processes}.",
            )
        if self.patience and not self.validation_fraction:
            raise MisfitError(
                "{patience} needs a validation part, and {validation_fraction} is 0",
                "Set {validation_fraction} to 0.1 for example, or leave {patience} out.",
            )
        return self


OWN_SETTINGS: dict[tuple[SystemName, ReceiverKind | None], dict[str, object]] = {
    (SystemName.ATT_NEUROSC, ReceiverKind.EVENT): {},
    (SystemName.ATT_NEUROSC, ReceiverKind.ANALOG): {
        "epochs": 50, "learning_rate": 1e-3, "channel_dropout": 0.1,
    },
    (SystemName.VANILLA_SNN, None): {"epochs": 50, "learning_rate": 1e-2, "channel_dropout": 0.1},
    (SystemName.FC, None): {
        "epochs": 100, "learning_rate": 1e-3, "channel_dropout": 0.1, "spike_rate_weight": 0.0,
    },
    (SystemName.LSTM, None): {
        "epochs": 50, "learning_rate": 3e-3, "channel_dropout": 0.1, "spike_rate_weight": 0.0,
    },
    (SystemName.QNN, None): {
        "epochs": 100, "learning_rate": 2e-3, "channel_dropout": 0.2, "spike_rate_weight": 0.0,
    },
    (SystemName.GRU, None): {
        "epochs": 50, "learning_rate": 2e-3, "channel_dropout": 0.1, "spike_rate_weight": 0.0,
    },
    (SystemName.DS_CNN, None): {
        "epochs": 50, "learning_rate": 2e-3, "channel_dropout": 0.1, "spike_rate_weight": 0.0,
    },
    (SystemName.SSCC, None): {"spike_rate_weight": 0.0},
}  # fmt: skip
"""Training settings in which a system differs from the defaults, each chosen on FSDD without its test part
(docs/results.md), but those of gru, ds-cnn and sscc, for which nothing else was tried."""


class QuantisationConfig(Section):
    """Training with the weights that a chip will compute with."""

    target: Literal["none", "lava"] = "none"
    """none; lava: weights and decays of the parts for a chip are rounded as an export to Lava rounds them"""
    bits: Annotated[int, Field(ge=2, le=8)] = 8
    """bits of a weight, its sign included (2 to 8); only used with target lava"""


class SpeechExperiment(Section):
    """Everything that decides the outcome of training a speech receiver with its transmitter."""

    SYSTEMS: ClassVar[tuple[str, ...]] = tuple(name.value for name in SystemName)
    """The systems of this family."""

    system: SystemConfig = SystemConfig()
    data: DataConfig = DataConfig()
    channel: ChannelConfig = ChannelConfig()
    training: TrainingConfig = TrainingConfig()
    quantisation: QuantisationConfig = QuantisationConfig()

    @model_validator(mode="after")
    def _settled(self) -> Self:
        """Fill in the system's own settings where none are given; only ever while the experiment is made."""
        system = self.system
        receiver = system.receiver if system.name is SystemName.ATT_NEUROSC else None
        own = OWN_SETTINGS[system.name, receiver]
        missing = {name: own[name] for name in own.keys() - self.training.model_fields_set}
        object.__setattr__(self, "training", self.training.model_copy(update=missing))
        if system.name.integer and system.activation_bits is None:
            bits = self.data.steps.bit_length() if system.name is SystemName.QNN else MOST_BITS
            object.__setattr__(self, "system", system.model_copy(update={"activation_bits": bits}))
        return self

    @model_validator(mode="after")
    def _counts_fit_activations(self) -> Self:
        bits = self.system.activation_bits
        if bits is not None and not self.system.name.integer:
            raise ValueError(f"system.activation_bits is for qnn, gru and ds-cnn, not for {self.system.name}")
        counts = self.system.name is SystemName.QNN
        if bits is not None and counts and self.data.steps > 2 ** min(bits, MOST_BITS) - 1:
            raise ValueError(
                f"system.activation_bits: {bits} bits do not count {self.data.steps} steps; "
                f"{self.data.steps.bit_length()} do, and {MOST_BITS} is the most there is"
            )
        return self

    @property
    def weight_bits(self) -> int | None:
        """Bits that weights are rounded to in training, or None."""
        return None if self.quantisation.target == "none" else self.quantisation.bits

    @model_validator(mode="after")
    def _first_spikes_and_delays_are_of_the_event_system(self) -> Self:
        system = self.system
        event = system.name is SystemName.ATT_NEUROSC and system.receiver is ReceiverKind.EVENT
        if system.coding is Coding.TTFS and not (event and system.gate_hidden == 0):
            raise ValueError("system.coding ttfs is for the event receiver with system.gate_hidden 0")
        if system.coding is Coding.TTFS:
            refuse_drowned_weights(system.decay_steps, self.data.steps)
        if system.delays and not (event or system.name is SystemName.SSCC):
            raise ValueError("system.delays is for the event receiver and for sscc")
        return self

    @model_validator(mode="after")
    def _only_what_lava_takes_is_rounded(self) -> Self:
        if self.quantisation.target == "none":
            if self.quantisation.bits != QuantisationConfig().bits:
                raise ValueError("quantisation.bits is only used with quantisation.target lava")
            return self
        system = self.system
        if not system.name.has_neurons:
            raise ValueError(
                f"quantisation.target lava: {system.name} has nothing for a chip; use a spiking system"
            )
        if system.name is SystemName.ATT_NEUROSC and system.receiver is ReceiverKind.ANALOG:
            raise ValueError(
                "quantisation.target lava: chip parts of the analog receiver take real values, which Lava "
                "refuses; use the event receiver"
            )
        return self

    @model_validator(mode="after")
    def _has_neurons_for_a_framework(self) -> Self:
        if not self.system.name.has_neurons and self.training.framework != "snntorch":
            raise ValueError(f"training.framework means nothing to {self.system.name}: leave it out")
        return self

    @model_validator(mode="after")
    def _only_spikes_have_a_rate(self) -> Self:
        name = self.system.name
        for field, has in (("spike_rate_weight", name.spiking), ("synop_weight", name.has_neurons)):
            if getattr(self.training, field) and not has:
                raise ValueError(f"training.{field} needs a spiking system; {name} has no spikes")
        if self.training.precision == "bf16" and not name.has_neurons:
            raise ValueError(f"training.precision bf16 needs a spiking system; {name} has no spikes")
        return self

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        refuse_unused(self)
        return self
