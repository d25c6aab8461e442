"""Training of a system with memory: the steps of Mem-DeepSC one after the other, each resumable."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nsc_deploy.config.memory import MemoryExperiment, MemoryTrainingConfig
from nsc_deploy.data.corpora import corpus_sha256, load_corpus
from nsc_deploy.data.stories import MOST_WORDS, Corpus, Vocabulary
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.progress import waiting
from nsc_deploy.models.memory.build import (
    build_memory_system,
    build_semantic,
    build_text_system,
)
from nsc_deploy.models.memory.export import write_memory_graphs
from nsc_deploy.models.memory.masks import Mask
from nsc_deploy.models.memory.semantic import SemanticCodec
from nsc_deploy.models.memory.spiking import SpikingJscDecoder, SpikingJscEncoder
from nsc_deploy.models.memory.spiking_sender import SpikingTransmitter
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.models.memory.text import TextSystem
from nsc_deploy.training.checkpoints import BEST, DIRECTORY, STEPS, read_tensors, that_fits, write_tensors
from nsc_deploy.training.family import Training
from nsc_deploy.training.fit import in_bfloat16, reproducible
from nsc_deploy.training.memory.codec import CodecPlan, train_codec
from nsc_deploy.training.memory.evaluate import symbols_at
from nsc_deploy.training.memory.rounds import (
    RoundPlan,
    RoundRecord,
    by_task_accuracy,
    require_finite,
    sample,
    train_rounds,
    under,
)
from nsc_deploy.training.metrics import MemoryMetrics, MemoryStage
from nsc_deploy.training.run_directory import (
    RunState,
    read_experiment_of,
    read_metrics,
    read_provenance,
    require_same_data,
    state_of,
)
from nsc_deploy.training.start import require_another, require_same_weights

SEMANTIC, CODEC, JOINT, MASK = STEPS
_HEAD = "semantic."
_ANSWER = re.compile("[A-Za-z]+(,[A-Za-z]+)*")
RATE, SPIKING_RATE = 1e-3, 4e-3
"""Of the codec, where the experiment sets none."""


_WITHOUT_IT = "Give the data set as it was, or train step 1 anew: leave training.start_from out."


class MemoryTraining(Training):
    """The training of Mem-DeepSC or of a rival that sends text."""

    def __init__(self, experiment: MemoryExperiment) -> None:
        self._experiment = experiment
        self._corpus: Corpus | None = None
        self._begun = False
        self.starts_from = experiment.training.start_from
        self.starts_with = SEMANTIC

    def check(self, out: Path, *, resume: bool) -> None:
        """Refuse a run to start from that is not finished, of other sizes, or the directory to be written.

        A run that was killed before it took that codec over does not go on with another.
        """
        start = self._experiment.training.start_from
        self._begun = resume and (out / DIRECTORY / SEMANTIC).is_file()
        if start is None or self._begun:
            return
        require_another(Path(start), out, "training.start_from")
        other = read_experiment_of(MemoryExperiment, Path(start))
        read_metrics(Path(start))
        mine, theirs = self._experiment.system, other.system
        fields = ("memory", "width", "heads", "hidden", "encoder_steps", "decoder_steps")
        differing = [name for name in fields if getattr(mine, name) != getattr(theirs, name)]
        if _data_but_for_its_place(other) != _data_but_for_its_place(self._experiment):
            differing.append("data")
        if differing:
            raise ConfigError(
                f"has a semantic codec of another kind (different: {', '.join(differing)})",
                where=start,
                hint="Start from a run with the same data and sizes, or leave training.start_from out.",
            )
        if resume and state_of(out) is not RunState.EMPTY:
            require_same_weights(Path(start), out, read_provenance(out).start_sha256, SEMANTIC)

    def load(self, *, progress: bool) -> str:
        """Read or make the stories; refuse a run to start from that was trained on others.

        Whether enough is left where sentences are held out is told here: step 1, which meets them all, takes
        an hour.
        """
        self._corpus = load_corpus(self._experiment.data)
        _without_held_out(self._corpus, self._experiment.training)
        digest = corpus_sha256(self._corpus)
        if self.starts_from is not None and not self._begun:
            require_same_data(Path(self.starts_from), digest, hint=_WITHOUT_IT)
        return digest

    def run(self, out: Path, *, resume: bool, progress: bool) -> MemoryMetrics:
        """Train step by step, then measure the weights that this leaves."""
        if self._corpus is None:
            raise RuntimeError("training began before its data was loaded")
        with reproducible(self._experiment.training.threads), waiting("semantic codec") as say:
            report = _saying(say) if progress else lambda step, progress: None
            return train_memory(self._experiment, self._corpus, out, report)


def _data_but_for_its_place(experiment: MemoryExperiment) -> object:
    """Whether the stories are the same wherever they lie, their digest says."""
    return experiment.data.model_dump(exclude={"path"})


Report = Callable[[str, RoundRecord], None]


def _saying(say: Callable[[str], None]) -> Report:
    return lambda step, progress: say(
        f"{step}: batch {progress.step}, loss {progress.loss:.3f}, validation {progress.mean:.1%}"
    )


def train_memory(
    experiment: MemoryExperiment, corpus: Corpus, run: Path, report: Report = lambda step, progress: None
) -> MemoryMetrics:
    """Train what is not trained yet, write the weights and measure them.

    Args:
        experiment: what to train.
        corpus: on what.
        run: the run directory; each step's state is kept in RUN/checkpoints.
        report: called after each validation with the step's name.

    Raises:
        DataError: a state is damaged.
    """
    states = run / DIRECTORY
    longest = corpus.sentences.shape[1]
    semantic = build_semantic(experiment, corpus.vocabulary, longest)
    known = [corpus.vocabulary.words, corpus.vocabulary.answers, longest]
    stages = [_train_semantic(experiment, corpus, semantic, states, report)]
    system: MemDeepSC | TextSystem
    if experiment.system.name == "mem-deepsc":
        system = build_memory_system(experiment, semantic)
        learnt = _without_held_out(corpus, experiment.training)
        stages += _train_over_the_air(experiment, learnt, system, states, report)
        finish(system)
        write_tensors(states / BEST, system.state_dict(), known)
    else:
        system = build_text_system(experiment, semantic, corpus)
        weights = {f"{_HEAD}{name}": value for name, value in semantic.state_dict().items()}
        write_tensors(states / BEST, weights, known)
    metrics = measure(experiment, corpus, semantic, system, stages)
    if isinstance(system, MemDeepSC):
        write_memory_graphs(
            run,
            system.eval(),
            corpus,
            experiment.data.dataset,
            metrics.test_accuracy,
            experiment.training.seed,
        )
    return metrics


def finished_memory_system(experiment: MemoryExperiment, corpus: Corpus, run: Path) -> MemDeepSC | TextSystem:
    """The system of a finished run.

    Raises:
        DataError: its weights are missing or damaged.
    """
    if experiment.system.name == "mem-deepsc":
        return finished_mem_deepsc(experiment, run)[0]
    weights, _ = read_tensors(run / DIRECTORY / BEST)
    semantic = build_semantic(experiment, corpus.vocabulary, corpus.sentences.shape[1])
    with that_fits(run / DIRECTORY / BEST):
        semantic.load_state_dict(under(weights, _HEAD))
    return build_text_system(experiment, semantic.eval(), corpus)


def finished_mem_deepsc(experiment: MemoryExperiment, run: Path) -> tuple[MemDeepSC, Vocabulary]:
    """The Mem-DeepSC of a finished run and the words and answers that it knows; no data is read.

    Raises:
        DataError: its weights are missing, damaged or of another system.
    """
    weights, known = read_tensors(run / DIRECTORY / BEST)
    with that_fits(run / DIRECTORY / BEST):
        vocabulary, longest = _vocabulary_of(known)
        system = build_memory_system(experiment, build_semantic(experiment, vocabulary, longest))
        system.load_state_dict(weights)
    return system.eval(), vocabulary


def _vocabulary_of(known: object) -> tuple[Vocabulary, int]:
    """The words, the answers and the length of the longest sentence as the weights' note has them.

    Raises:
        ValueError: it is no such note: a run may come from somebody else, and its words go to the terminal.
    """
    match known:
        case [[*words], [*answers], int(longest)] if 0 < longest <= MOST_WORDS:
            plain = (isinstance(one, str) and _ANSWER.fullmatch(one) for one in (*words, *answers))
            if all(plain) and len(set(words)) == len(words):
                return Vocabulary(tuple(map(str, words)), tuple(map(str, answers))), longest
    raise ValueError("no words, answers and longest sentence")


def finish(system: MemDeepSC) -> None:
    """Put the weights of a spiking codec on the grid of a chip."""
    for half in (system.jsc_encoder, system.jsc_decoder):
        if isinstance(half, SpikingJscEncoder | SpikingJscDecoder | SpikingTransmitter):
            half.finish()


def measure(
    experiment: MemoryExperiment,
    corpus: Corpus,
    semantic: SemanticCodec,
    system: MemDeepSC | TextSystem,
    stages: list[MemoryStage],
) -> MemoryMetrics:
    """What the weights reach on the official test, without a channel and over it."""
    seed = experiment.training.seed
    alone = by_task_accuracy(semantic, corpus, corpus.test)
    over_air = by_task_accuracy(system, corpus, corpus.test, seed)
    validated = by_task_accuracy(system, corpus, sample(corpus.validation, 1000), seed)
    symbols = symbols_at(system, corpus.test)
    trained = list(semantic.parameters())
    if isinstance(system, MemDeepSC):
        trained = [weights for side in system.sides for weights in side.parameters()]
    return MemoryMetrics(
        system=experiment.system.name,
        dataset=experiment.data.dataset,
        validation_accuracy=_mean(validated),
        test_accuracy=_mean(over_air),
        parameters=sum(weights.numel() for weights in trained),
        epochs=0,
        training_seconds=sum(stage.seconds for stage in stages),
        channel=experiment.channel.kind,
        knowledge=experiment.channel.knowledge,
        snr_db=system.air.channel.snr_db,
        snr_to_db=system.air.channel.snr_to_db,
        without_channel=_mean(alone),
        tasks_without_channel={str(task): share for task, share in alone.items()},
        tasks={str(task): share for task, share in over_air.items()},
        symbols=symbols.sent,
        position_symbols=symbols.with_positions - symbols.blocks,
        note=corpus.note,
        stages=tuple(stages),
    )


def _mean(by_task: dict[int, float]) -> float:
    return sum(by_task.values()) / len(by_task)


def _train_semantic(
    experiment: MemoryExperiment, corpus: Corpus, semantic: SemanticCodec, states: Path, report: Report
) -> MemoryStage:
    """Step 1, or the codec of the run that this one starts from, as step 1 had left it there.

    What steps 2 and 3 made of it there has met a channel, and would be no codec of rivals that decode bits.
    """
    config = experiment.training
    if config.start_from is not None:
        # Once taken over it is this run's own: a resumption needs the other run no more.
        taken = states / SEMANTIC
        source = taken if taken.is_file() else Path(config.start_from) / DIRECTORY / SEMANTIC
        weights, _ = read_tensors(source)
        with that_fits(source):
            semantic.load_state_dict(under(weights, "weights."))
        write_tensors(states / SEMANTIC, {f"weights.{k}": v for k, v in semantic.state_dict().items()}, [])
        return MemoryStage(name="semantic", steps=0, seconds=0, validation_accuracy=None)
    plan = _plan(experiment, config.semantic_steps, config.semantic_rate)
    history = train_rounds(
        corpus, semantic, plan, states / SEMANTIC, lambda one: report("semantic codec", one)
    )
    return _stage("semantic", history)


def _without_held_out(corpus: Corpus, config: MemoryTrainingConfig) -> Corpus:
    """The corpus without training questions that tell of sentences which are held out.

    Raises:
        ConfigError: nothing is left of a task.
    """
    if not config.hold_out:
        return corpus
    among = corpus.train.telling(corpus.held_out(config.hold_out, config.seed))
    kept = corpus.train.only(np.flatnonzero(~among))
    lost = np.setdiff1d(corpus.train.task, kept.task).tolist()
    if lost:
        raise ConfigError(
            f"leaves no training question of task {', '.join(map(str, lost))} without a sentence that is "
            f"held out ({config.hold_out:.0%})",
            where="training.hold_out",
            hint="Hold out a smaller share.",
        )
    return replace(corpus, train=kept)


def _train_over_the_air(
    experiment: MemoryExperiment, corpus: Corpus, system: MemDeepSC, states: Path, report: Report
) -> list[MemoryStage]:
    """Steps 2 and 3 and, for its mask, the importance model behind what has met no mask (algorithm 2)."""
    config = experiment.training
    air = system.air
    if system.importance is not None:
        system.air = replace(air, mask=Mask.NONE)
    stages = [_train_codec(experiment, corpus, system, states)]
    if config.joint_steps:
        system.semantic.encoder.requires_grad_(not config.freeze_encoder)
        plan = _plan(experiment, config.joint_steps, config.joint_rate)
        history = train_rounds(corpus, system, plan, states / JOINT, lambda one: report("joint", one))
        stages.append(_stage("joint", history))
    system.air = air
    if system.importance is not None:
        system.requires_grad_(False)  # The mask is trained behind frozen weights.
        system.importance.requires_grad_(True)
        plan = _plan(experiment, config.mask_steps, config.mask_rate)
        history = train_rounds(corpus, system, plan, states / MASK, lambda one: report("mask", one))
        stages.append(_stage("mask", history))
    system.requires_grad_(True)
    return stages


def _train_codec(
    experiment: MemoryExperiment, corpus: Corpus, system: MemDeepSC, states: Path
) -> MemoryStage:
    """Step 2, which is short: it is kept when it is done."""
    state = states / CODEC
    halves = torch.nn.ModuleDict({"encoder": system.jsc_encoder, "decoder": system.jsc_decoder})
    config = experiment.training
    if state.is_file():
        weights, told = read_tensors(state)
        with that_fits(state):
            halves.load_state_dict(weights)
            error, seconds = map(float, told)
    else:
        usual = RATE if experiment.system.codec == "dense" else SPIKING_RATE
        held_out = corpus.held_out(config.hold_out, config.seed)
        plan = CodecPlan(config.seed, config.codec_steps, rate=config.codec_rate or usual, held_out=held_out)
        error, seconds = train_codec(corpus, system, plan)
        require_finite(error, state, "codec_rate")
        write_tensors(state, halves.state_dict(), [error, seconds])
    return MemoryStage(
        name="codec", steps=config.codec_steps, seconds=seconds, validation_accuracy=None, error=error
    )


def _plan(experiment: MemoryExperiment, steps: int, rate: float) -> RoundPlan:
    config = experiment.training
    return RoundPlan(
        seed=config.seed,
        steps=steps,
        batch=config.batch_size,
        round=config.round,
        rate=rate,
        warm_up=max(1, round(config.warmup * steps)),
        validate_every=config.validate_every,
        validate_on=config.validate_on,
        products=torch.bfloat16 if in_bfloat16(config.precision) else torch.float32,
    )


def _stage(name: str, history: list[RoundRecord]) -> MemoryStage:
    last = history[-1]
    return MemoryStage(name=name, steps=last.step, seconds=last.seconds, validation_accuracy=last.mean)
