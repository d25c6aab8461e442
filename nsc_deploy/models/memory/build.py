"""From an experiment to the system that it describes."""

from torch import nn

from nsc_deploy.channels.config import ChannelConfig, ChannelKind
from nsc_deploy.channels.symbols import Knowledge
from nsc_deploy.config.memory import MemoryChannelConfig, MemoryExperiment
from nsc_deploy.data.stories import Corpus, Vocabulary
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.memory.jsc import build_jsc
from nsc_deploy.models.memory.masks import Mask, build_importance
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes
from nsc_deploy.models.memory.spiking import build_spiking_jsc
from nsc_deploy.models.memory.spiking_sender import build_spiking_sender
from nsc_deploy.models.memory.system import Air, MemDeepSC
from nsc_deploy.models.memory.text import Adaptation, SourceCode, TextCode, TextSystem

_SOURCES = {
    "utf8-turbo": SourceCode.UTF8,
    "word-turbo": SourceCode.WORDS,
    "sentence-turbo": SourceCode.SENTENCE,
}


def sizes_of(experiment: MemoryExperiment, vocabulary: Vocabulary, longest: int) -> SemanticSizes:
    """The sizes of an experiment's semantic codec for a vocabulary and sentences of so many words at most."""
    system = experiment.system
    return SemanticSizes(
        words=vocabulary.size,
        answers=len(vocabulary.answers),
        memory=system.memory,
        longest=longest,
        width=system.width,
        heads=system.heads,
        hidden=system.hidden,
        encoder_steps=system.encoder_steps,
        decoder_steps=system.decoder_steps,
    )


def air_of(experiment: MemoryExperiment) -> Air:
    """What lies between sender and receiver of an experiment."""
    return Air(
        channel=channel_of(experiment.channel),
        knowledge=Knowledge(experiment.channel.knowledge),
        mask=Mask(experiment.system.mask),
        least=experiment.system.least_symbols,
    )


def channel_of(config: MemoryChannelConfig) -> ChannelConfig:
    """The channel as `channels.symbols` takes it."""
    return ChannelConfig(
        kind=ChannelKind(config.kind),
        snr_db=config.snr_db,
        snr_to_db=config.snr_to_db if config.snr_to_db > config.snr_db else None,
        rician_k=config.rician_k,
    )


def build_semantic(experiment: MemoryExperiment, vocabulary: Vocabulary, longest: int) -> SemanticCodec:
    """The semantic codec, with weights drawn from the experiment's seed."""
    return SemanticCodec(sizes_of(experiment, vocabulary, longest), experiment.training.seed)


def build_memory_system(experiment: MemoryExperiment, semantic: SemanticCodec) -> MemDeepSC:
    """Mem-DeepSC around a semantic codec, its other weights drawn from the experiment's seed."""
    system, seed = experiment.system, experiment.training.seed
    encoder: nn.Module
    decoder: nn.Module
    if system.codec == "dense":
        encoder, decoder = build_jsc(system.width, system.symbols, seed)
    else:
        encoder, decoder = build_spiking_jsc(system.width, system.symbols, system.levels, seed)
    if system.codec == "spiking-transmitter":
        table, places = semantic.encoder.table, semantic.encoder.places
        encoder = build_spiking_sender(table.num_embeddings, len(places), system.width, system.symbols, seed)
    importance = build_importance(system.symbols, seed) if system.mask == "importance" else None
    return MemDeepSC(semantic, encoder, decoder, system.symbols, air_of(experiment), importance)


def build_text_system(experiment: MemoryExperiment, semantic: SemanticCodec, corpus: Corpus) -> TextSystem:
    """A rival that sends text."""
    source = _SOURCES.get(experiment.system.name)
    if source is None:
        raise ConfigError("does not send text", where=experiment.system.name)
    code = TextCode(corpus, source)
    return TextSystem(corpus, semantic, code, Adaptation(experiment.system.modulation), air_of(experiment))
