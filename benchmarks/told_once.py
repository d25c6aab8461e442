"""A round of step 1 of Mem-DeepSC: each distinct sentence encoded once, against each as often as it is told.

The sizes are those of `examples/mem_deepsc.toml` (width 128, 4 heads, 512 hidden, 3 and 6 steps), batches of
200 questions, 4 in a round, one thread, float32. Sentences are those of bAbI where it is found (babi in
$NSC_DEPLOY_DATA), else of toy stories, which repeat themselves more. Processor time is measured.
"""

import time

import numpy as np
import torch
from interleaved import Comparison, best_times, parser, report
from torch import Tensor
from torch.nn import functional

from nsc_deploy.config.memory import MemoryDataConfig
from nsc_deploy.data.corpora import load_corpus
from nsc_deploy.data.stories import Corpus
from nsc_deploy.errors import DataError
from nsc_deploy.models.memory.batches import Batch, make_batches
from nsc_deploy.models.memory.semantic import SemanticCodec, SemanticSizes, read_stories

BATCH, ROUND, MEMORY = 200, 4, 130
GOAL = 1.5


def stories() -> tuple[str, Corpus]:
    """The name of what is told, and its corpus."""
    try:
        return "bAbI", load_corpus(MemoryDataConfig(dataset="babi"))
    except DataError:
        return "toy stories", load_corpus(MemoryDataConfig(dataset="toy-stories", questions=5000))


def draw(corpus: Corpus) -> list[np.ndarray]:
    """Questions of each batch, evenly from all tasks."""
    drawn = np.random.default_rng(0)
    return [drawn.choice(len(corpus.train), BATCH, replace=False) for _ in range(ROUND)]


class Round:
    """Forward and backward pass of all batches of a round.

    Args:
        corpus: whose training questions are learnt from.
        chosen: questions of each batch.
    """

    def __init__(self, corpus: Corpus, chosen: list[np.ndarray]) -> None:
        sizes = SemanticSizes(
            words=corpus.vocabulary.size, answers=len(corpus.vocabulary.answers), memory=MEMORY
        )
        self.model = SemanticCodec(sizes, seed=0)
        distinct, self.batches = make_batches(corpus.train, chosen, MEMORY)
        self.sentences = torch.from_numpy(corpus.sentences[distinct])
        self.told = sum(len(batch.told) for batch in self.batches)

    def once(self) -> None:
        """The distinct sentences of the round are encoded together; every batch reads from them."""
        sent = self.model.send(self.sentences)
        arrived = sent.detach().requires_grad_()
        for batch in self.batches:
            self._learn(arrived[batch.told], batch)
        assert arrived.grad is not None
        sent.backward(arrived.grad)

    def as_told(self) -> None:
        """Every sentence of every story is encoded where it is told."""
        for batch in self.batches:
            self._learn(self.model.send(self.sentences[batch.told]), batch)

    def gradient(self) -> Tensor:
        """What the last pass left at the encoder, and nothing from then on."""
        found = torch.cat(
            [one.grad.flatten() for one in self.model.encoder.parameters() if one.grad is not None]
        )
        self.model.zero_grad()
        return found

    def _learn(self, vectors: Tensor, batch: Batch) -> None:
        scores = read_stories(self.model.decoder, vectors, batch)
        functional.cross_entropy(scores, batch.answer).backward()


def main() -> None:
    """Time both in turn, after they have given the same gradient."""
    asked = parser(__doc__ or "", rounds=5).parse_args()
    torch.set_num_threads(1)
    name, corpus = stories()
    work = Round(corpus, draw(corpus))
    work.once()
    expected = work.gradient()
    work.as_told()
    torch.testing.assert_close(work.gradient(), expected, atol=1e-5, rtol=1e-3)
    best = best_times({"once": work.once, "as told": work.as_told}, asked.rounds, time.process_time)
    ratio = best["as told"] / best["once"]
    told = f"{work.told:,} sentences, {len(work.sentences):,} distinct"
    report(
        Comparison(f"a round of {ROUND} batches on {name}: {told}", best, ratio, f">= {GOAL}", ratio >= GOAL),
        as_json=asked.json,
    )


if __name__ == "__main__":
    main()
