"""Experiments with memory: a receiver that remembers what was sent answers questions about it (Mem-DeepSC).

Every default is the paper's, or the choice that `docs/memory.md` gives where the paper leaves one open.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from nsc_deploy.config.section import Section, default_of
from nsc_deploy.errors import MisfitError
from nsc_deploy.io.records import WholeName, WholePath

MemorySystemName = Literal["mem-deepsc", "utf8-turbo", "word-turbo", "sentence-turbo"]


class MemorySystemConfig(Section):
    """Sender and receiver."""

    name: MemorySystemName = "mem-deepsc"
    """mem-deepsc, or a rival that sends text under a turbo code: utf8-turbo (letters), word-turbo (numbers of
    words) or sentence-turbo (the number of the sentence)"""
    codec: Literal["dense", "spiking", "spiking-transmitter"] = "dense"
    """mem-deepsc: the joint source-channel codec, dense layers or spiking neurons; spiking-transmitter: the
    sender is one recurrent spiking network from words on, in place of the sentence encoder too"""
    symbols: Annotated[int, Field(ge=4, le=1024)] = 32
    """mem-deepsc: complex symbols of a sentence (4 to 1024)"""
    levels: Literal[2, 4, 8, 16] = 8
    """spiking codecs: how finely the receiver reads a received bit; 2 decides it, more tell how sure it is"""
    mask: Literal["none", "importance", "consecutive", "random"] = "none"
    """mem-deepsc with dense layers: which symbols are sent where the SNR asks for fewer than all"""
    least_symbols: Annotated[int, Field(ge=1, le=1024)] = 16
    """with a mask: symbols of a sentence that are sent at the highest SNR (1 to 1024)"""
    modulation: Literal["16-qam", "amc"] = "16-qam"
    """of the rivals: 16-qam, or amc: BPSK, QPSK or 16-QAM by the mean SNR"""
    memory: Annotated[int, Field(ge=0, le=1000)] = 130
    """sentences that the receiver remembers; older ones are forgotten; 0: it hears the question alone"""
    width: Annotated[int, Field(ge=8, le=1024, multiple_of=8)] = 128
    """of a word, of a sentence and of a slot of the memory"""
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    """of the attention; they share the width"""
    hidden: Annotated[int, Field(ge=8, le=8192)] = 512
    """width of the dense half of a block"""
    encoder_steps: Annotated[int, Field(ge=1, le=16)] = 3
    """how often the sender takes its block over the words of a sentence"""
    decoder_steps: Annotated[int, Field(ge=1, le=16)] = 6
    """how often the receiver takes its block over question and memory"""

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.width % self.heads:
            raise MisfitError("{heads} must divide {width}", "Choose another number of {heads}.")
        if self.mask != "none" and self.least_symbols > self.symbols:
            raise MisfitError(
                f"{{least_symbols}} is more than the {self.symbols} {{symbols}} of a sentence",
                "A mask is no longer than the signal: lower {least_symbols}, or raise {symbols}.",
            )
        if self.mask == "none" and self.least_symbols != default_of(self, "least_symbols"):
            raise MisfitError("{least_symbols} is only used with a {mask}", "Leave {least_symbols} out.")
        if self.mask != "none" and (self.name != "mem-deepsc" or self.codec != "dense"):
            raise MisfitError(
                "{mask} is only used by mem-deepsc with a dense {codec}",
                "Leave {mask} out.",
            )
        if self.name != "mem-deepsc" and self.codec != "dense":
            raise MisfitError("{codec} is only used by mem-deepsc", "Leave {codec} out.")
        if self.name != "mem-deepsc" and self.symbols != default_of(self, "symbols"):
            raise MisfitError("{symbols} is only used by mem-deepsc", "Leave {symbols} out.")
        if self.name == "mem-deepsc" and self.modulation != "16-qam":
            raise MisfitError(
                "{modulation} is only used by systems that send text", "Leave {modulation} out."
            )
        if self.levels != 8 and (self.name != "mem-deepsc" or self.codec == "dense"):
            raise MisfitError(
                "{levels} is only used by mem-deepsc with a spiking {codec}",
                "Leave {levels} out.",
            )
        if self.codec != "dense" and self.symbols % 8:
            raise MisfitError(
                "{symbols} of a spiking {codec} are eighths of its bits: a multiple of 8",
                "Choose a multiple of 8 {symbols}.",
            )
        return self


class MemoryDataConfig(Section):
    """Which stories are told."""

    dataset: Literal["babi", "toy-stories"] = "babi"
    """babi (tasks 1 to 20 jointly) or toy-stories (two simple kinds, made on the spot)"""
    path: WholePath | None = None
    """babi: folder or archive of the set; not set: babi in $NSC_DEPLOY_DATA"""
    tasks: Annotated[tuple[Annotated[int, Field(ge=1, le=20)], ...], Field(min_length=1)] = tuple(
        range(1, 21)
    )
    """babi: which of the tasks, each once"""
    size: Literal["en-10k", "en"] = "en-10k"
    """babi: en-10k (10,000 training questions a task) or en (1,000)"""
    questions: Annotated[int, Field(ge=20, le=100_000)] = 1000
    """toy-stories: training questions"""

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        of_other = ("questions",) if self.dataset == "babi" else ("path", "tasks", "size")
        for field in of_other:
            if getattr(self, field) != default_of(self, field):
                raise MisfitError(f"{{{field}}} means nothing to {self.dataset}", f"Leave {{{field}}} out.")
        return self

    @model_validator(mode="after")
    def _tasks_differ(self) -> Self:
        twice = next((task for task in self.tasks if self.tasks.count(task) > 1), None)
        if twice is not None:
            raise MisfitError(f"{{tasks}} name task {twice} twice", "Name each task once in {tasks}.")
        return self


class MemoryChannelConfig(Section):
    """The channel between sender and receiver, with one coefficient for each story and zero forcing."""

    kind: Literal["awgn", "rayleigh", "rician"] = "awgn"
    """awgn, rayleigh or rician"""
    snr_db: Annotated[float, Field(ge=-100, le=400)] = -6.0
    """lower end of the SNRs in training and test, in dB: mean power of a symbol over that of the noise"""
    snr_to_db: Annotated[float, Field(ge=-100, le=400)] = 18.0
    """upper end: each story has an SNR of its own, drawn evenly; as snr_db: all have that one"""
    rician_k: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """rician: power of the direct path over that of the scattered ones (the paper's r)"""
    knowledge: Literal["perfect", "pilot"] = "perfect"
    """what the receiver knows of the coefficient: perfect, or a pilot of unit power that met noise as well"""

    @model_validator(mode="before")
    @classmethod
    def _one_alone(cls, values: object) -> object:
        """No upper end (`--snr 6`) is the lower one again: TOML has no null, and 18 would be read."""
        if isinstance(values, Mapping) and "snr_to_db" in values and values["snr_to_db"] is None:
            return {**values, "snr_to_db": values.get("snr_db", cls.model_fields["snr_db"].default)}
        return values

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        if self.kind != "rician" and self.rician_k != default_of(self, "rician_k"):
            raise MisfitError(f"{{rician_k}} means nothing to {self.kind}", "Leave {rician_k} out.")
        return self

    @model_validator(mode="after")
    def _range_rises(self) -> Self:
        if self.snr_to_db < self.snr_db:
            raise MisfitError(
                f"{{snr_to_db}} {self.snr_to_db:g} is not above {{snr_db}} {self.snr_db:g}",
                "Raise {snr_to_db}; as high as {snr_db}, all stories have that one.",
            )
        return self


class MemoryTrainingConfig(Section):
    """How the weights are found, step by step: semantic codec, joint codec, both together, then a mask."""

    start_from: WholeName | None = None
    """finished run of the same sizes; its semantic codec, as step 1 left it, takes the place of step 1, whose
    settings then count for nothing"""
    semantic_steps: Annotated[int, Field(ge=1, le=10**7)] = 8000
    """step 1: batches without a channel (1 to 10000000)"""
    semantic_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """step 1: Adam's step size at its largest (above 0)"""
    codec_steps: Annotated[int, Field(ge=1, le=10**7)] = 6000
    """step 2: batches of sentence vectors over the channel (1 to 10000000)"""
    codec_rate: Annotated[float | None, Field(gt=0, le=10)] = None
    """step 2: Adam's step size at its largest (above 0); not set: 0.001, of spiking codecs 0.004"""
    joint_steps: Annotated[int, Field(ge=0, le=10**7)] = 3000
    """step 3: batches over the channel with both codecs; 0: they stay as trained apart (separate)"""
    joint_rate: Annotated[float, Field(gt=0, le=10)] = 5e-4
    """step 3: Adam's step size at its largest (above 0)"""
    freeze_encoder: bool = False
    """step 3: leave the semantic encoder as it is, which halves the time"""
    hold_out: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """share of the distinct sentences that are never sent in steps 2 and 3; evaluate tells them apart"""
    mask_steps: Annotated[int, Field(ge=1, le=10**7)] = 1000
    """with the importance mask: batches in which it alone is trained, after the other steps"""
    mask_rate: Annotated[float, Field(gt=0, le=10)] = 5e-4
    """with the importance mask: Adam's step size at its largest (above 0)"""
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """questions in a batch (1 to 65536)"""
    round: Annotated[int, Field(ge=1, le=64)] = 5
    """batches whose distinct sentences are sent once, and after which the sender takes a step (1 to 64)"""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.075
    """part of a step's batches over which the step size rises; over the others it falls to 0 (0 to 1)"""
    validate_every: Annotated[int, Field(ge=1, le=10**6)] = 400
    """batches after which tasks are weighed anew by what is not solved, and the state is kept"""
    validate_on: Annotated[int, Field(ge=1, le=1000)] = 100
    """validation questions of each task that this looks at"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """number format of dense products in steps 1 and 3; auto: bf16 where the processor has it"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """seed of weights, batches and channel (0 to 2^31 - 1)"""
    threads: Annotated[int, Field(ge=0, le=1024)] = 1
    """CPU threads; 0 takes what the machine offers and records the number in RUN/experiment.toml"""
    devices: ClassVar[int] = 1
    nodes: ClassVar[int] = 1

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        for field in () if self.joint_steps else ("joint_rate", "freeze_encoder"):
            if getattr(self, field) != default_of(self, field):
                raise MisfitError(
                    f"{{{field}}} is about step 3, of which {{joint_steps}} is 0", f"Leave {{{field}}} out."
                )
        return self


_OF_THE_MASK = ("mask_steps", "mask_rate")
_OVER_THE_AIR = ("codec_steps", "codec_rate", "joint_steps", "joint_rate", "freeze_encoder", "hold_out")


class MemoryExperiment(Section):
    """Everything that decides the outcome of training a system with memory."""

    SYSTEMS: ClassVar[tuple[str, ...]] = ("mem-deepsc", "utf8-turbo", "word-turbo", "sentence-turbo")
    """The systems of this family."""

    system: MemorySystemConfig = MemorySystemConfig()
    data: MemoryDataConfig = MemoryDataConfig()
    channel: MemoryChannelConfig = MemoryChannelConfig()
    training: MemoryTrainingConfig = MemoryTrainingConfig()

    @model_validator(mode="after")
    def _every_setting_counts(self) -> Self:
        """Of systems that send text the semantic codec alone is trained, and every sentence is met there."""
        system = self.system
        if system.name != "mem-deepsc":
            self._refuse_settings((*_OVER_THE_AIR, *_OF_THE_MASK), f"to {system.name}")
        if system.codec == "spiking-transmitter":
            self._refuse_settings(("freeze_encoder",), "to a spiking transmitter, which has no such encoder")
        if system.mask != "importance":
            self._refuse_settings(_OF_THE_MASK, "without an importance mask")
        return self

    def _refuse_settings(self, fields: tuple[str, ...], to_what: str) -> None:
        for field in fields:
            if getattr(self.training, field) != default_of(self.training, field):
                raise ValueError(f"training.{field} means nothing {to_what}: leave it out")
