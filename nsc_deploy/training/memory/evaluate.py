"""Answers over the air: accuracy by task at an SNR, and the symbols that a sentence takes there."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from nsc_deploy.data.stories import Corpus, Questions
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.models.memory.text import TextSystem
from nsc_deploy.training.memory.rounds import by_task_accuracy


@dataclass(frozen=True)
class Symbols:
    """Complex symbols of a sentence on the air, mean.

    Attributes:
        sent: of the sentence; of text, the bits of the sentence alone at rate 1/3, as the paper counts.
        blocks: of text, with whole blocks of the code; else as `sent`.
        with_positions: with what tells the receiver which symbols a mask has kept; else as `blocks`.
    """

    sent: float
    blocks: float
    with_positions: float


@dataclass(frozen=True)
class Met:
    """Questions with or without sentences that were held out in training.

    Attributes:
        questions: how many.
        accuracy: share of right answers, mean over the tasks that there are questions of; None without any.
        error: mean squared error of the sentences' vectors as received, over the variance of all; None of
            text.
    """

    questions: int
    accuracy: float | None
    error: float | None


@dataclass(frozen=True)
class Point:
    """What a system does at one SNR.

    Attributes:
        snr_db: of every story.
        by_task: share of right answers, by task.
        symbols: of a sentence.
        seen: where sentences were held out in training, questions that tell of none of them.
        unseen: questions that are one, or come with one among what the receiver remembers.
    """

    snr_db: float
    by_task: dict[int, float]
    symbols: Symbols
    seen: Met | None = None
    unseen: Met | None = None

    @property
    def accuracy(self) -> float:
        """Mean over the tasks."""
        return _mean(self.by_task)

    @property
    def solved(self) -> int:
        """Tasks with 95 % and more."""
        return sum(share >= 0.95 for share in self.by_task.values())


def evaluate_at(
    system: MemDeepSC | TextSystem,
    corpus: Corpus,
    questions: Questions,
    snr_db: float,
    seed: int = 0,
    held_out: NDArray[np.int64] | None = None,
) -> Point:
    """Send every story at one SNR; the same seed gives the same noise.

    Args:
        system: trained; its air is set back afterwards.
        corpus: whose sentences these are.
        questions: a part of it.
        snr_db: in dB.
        seed: of the channel.
        held_out: sentences that were not sent in training; questions about them are told apart too.
    """
    before, system.air = system.air, system.air.at(snr_db)
    try:
        accuracy = by_task_accuracy(system, corpus, questions, seed)
        point = Point(snr_db, accuracy, symbols_at(system, questions))
        if held_out is None:
            return point
        among, errors = questions.telling(held_out, system.memory), _errors(system, corpus, held_out, seed)
        met = [
            _met(system, corpus, questions.only(np.flatnonzero(chosen)), error, seed)
            for chosen, error in zip((~among, among), errors, strict=True)
        ]
        return replace(point, seen=met[0], unseen=met[1])
    finally:
        system.air = before


def _met(
    system: MemDeepSC | TextSystem, corpus: Corpus, questions: Questions, error: float | None, seed: int
) -> Met:
    by_task = by_task_accuracy(system, corpus, questions, seed) if len(questions) else {}
    return Met(len(questions), _mean(by_task) if by_task else None, error)


def _errors(
    system: MemDeepSC | TextSystem, corpus: Corpus, held_out: NDArray[np.int64], seed: int
) -> tuple[float | None, float | None]:
    """Of the vectors of the other sentences, and of those held out; each is sent once."""
    if isinstance(system, TextSystem):
        return None, None
    words = torch.from_numpy(corpus.sentences)
    with torch.inference_mode():
        vectors = system.semantic.send(words)
        snr_db = torch.full((len(words),), system.air.channel.snr_db, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed)
        received = system.receive(system.send(words), snr_db, torch.arange(len(words)), generator)
        errors = (received - vectors).square().mean(1) / vectors.var(0).mean()
    apart = torch.zeros(len(words), dtype=torch.bool)
    apart[torch.from_numpy(held_out)] = True
    return float(errors[~apart].mean()), float(errors[apart].mean())


def _mean(by_task: dict[int, float]) -> float:
    return sum(by_task.values()) / len(by_task)


def symbols_at(system: MemDeepSC | TextSystem, questions: Questions) -> Symbols:
    """What a statement takes on the air at the SNR that a system is set to; over a range, the mean."""
    if isinstance(system, TextSystem):
        statements, snrs_db = questions.statements.astype(np.int64), system.air.channel.spread_db
        chosen = Counter(system.adaptation.at(one) for one in snrs_db)
        counts = [(system.code.symbols(statements, kind), share) for kind, share in chosen.items()]
        filled = sum(count.filled * share for count, share in counts) / len(snrs_db)
        blocks = sum(count.blocks * share for count, share in counts) / len(snrs_db)
        return Symbols(filled, blocks, blocks)
    return Symbols(system.symbols_sent, system.symbols_sent, system.symbols_sent + system.position_symbols)
