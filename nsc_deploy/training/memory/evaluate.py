"""Answers over the air: accuracy by task at an SNR, and the symbols that a sentence takes there."""

from dataclasses import dataclass

import numpy as np

from nsc_deploy.data.stories import Corpus, Questions
from nsc_deploy.models.memory.masks import Mask, symbols_to_send
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.models.memory.text import TextSystem
from nsc_deploy.training.memory.rounds import by_task_accuracy

POSITION_RATE = 3
"""Coded bits for each bit that says which symbols an importance mask keeps, sent as 16-QAM like text."""


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
class Point:
    """What a system does at one SNR.

    Attributes:
        snr_db: of every story.
        by_task: share of right answers, by task.
        symbols: of a sentence.
    """

    snr_db: float
    by_task: dict[int, float]
    symbols: Symbols

    @property
    def accuracy(self) -> float:
        """Mean over the tasks."""
        return sum(self.by_task.values()) / len(self.by_task)

    @property
    def solved(self) -> int:
        """Tasks with 95 % and more."""
        return sum(share >= 0.95 for share in self.by_task.values())


def evaluate_at(
    system: MemDeepSC | TextSystem, corpus: Corpus, questions: Questions, snr_db: float, seed: int = 0
) -> Point:
    """Send every story at one SNR; the same seed gives the same noise.

    Args:
        system: trained; its air is set back afterwards.
        corpus: whose sentences these are.
        questions: a part of it.
        snr_db: in dB.
        seed: of the channel.
    """
    before, system.air = system.air, system.air.at(snr_db)
    try:
        accuracy = by_task_accuracy(system, corpus, questions, seed)
        return Point(snr_db, accuracy, symbols_at(system, questions))
    finally:
        system.air = before


def symbols_at(system: MemDeepSC | TextSystem, questions: Questions) -> Symbols:
    """What a statement takes on the air at the SNR that a system is set to."""
    snr_db = system.air.channel.snr_db
    if isinstance(system, TextSystem):
        count = system.code.symbols(questions.statements.astype(np.int64), system.adaptation.at(snr_db))
        return Symbols(count.filled, count.blocks, count.blocks)
    if system.air.mask is Mask.NONE:
        return Symbols(system.symbols, system.symbols, system.symbols)
    sent = symbols_to_send(snr_db, system.symbols, system.air.least)
    told = system.symbols * POSITION_RATE / 4 if system.air.mask is Mask.IMPORTANCE else 0
    return Symbols(sent, sent, sent + told)
