"""Step 2 of Mem-DeepSC: the joint source-channel codec, by mean squared error on sentence vectors."""

import time
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nsc_deploy.data.stories import Corpus
from nsc_deploy.models.memory.spiking import SpikingJscDecoder, SpikingJscEncoder
from nsc_deploy.models.memory.system import MemDeepSC


@dataclass(frozen=True)
class CodecPlan:
    """How the codec is trained.

    Attributes:
        seed: of the sentences drawn and of chance on the channel.
        steps: of the optimiser.
        batch: sentences in a step, each with an SNR of its own.
        rate: highest learning rate, which falls to 0 by a cosine.
        held_out: rows of sentences that are not sent.
    """

    seed: int = 0
    steps: int = 4000
    batch: int = 256
    rate: float = 1e-3
    held_out: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def train_codec(corpus: Corpus, system: MemDeepSC, plan: CodecPlan) -> tuple[float, float]:
    """Train the two halves of the codec.

    A few thousand distinct sentences are all that is ever said, so their vectors are made once. Sentences of
    the training part are drawn evenly.

    Args:
        corpus: whose sentences are sent.
        system: its codec is changed, the semantic codec stays as it is.
        plan: how.

    Returns:
        The mean squared error of the last tenth over the variance of the vectors, and the processor time in
        seconds.
    """
    started = time.process_time()
    words = sentences_of(corpus, plan.held_out)
    vectors = sentence_vectors(words, system)
    for half in (system.jsc_encoder, system.jsc_decoder):
        if isinstance(half, SpikingJscEncoder | SpikingJscDecoder):
            half.fit(vectors.mean(0), vectors.std(0).mean())
    read = words if system.reads_words else vectors
    generator = torch.Generator().manual_seed(plan.seed)
    halves = [*system.jsc_encoder.parameters(), *system.jsc_decoder.parameters()]
    optimiser = torch.optim.Adam(halves, lr=plan.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    variance = float(vectors.var(0).mean())
    errors = []
    for _ in range(plan.steps):
        drawn = torch.randint(len(vectors), (plan.batch,), generator=generator)
        snr_db = system.air.draw_snr(plan.batch, generator)
        symbols = system.jsc_encoder(read[drawn])
        found = system.receive(symbols, snr_db, torch.arange(plan.batch), generator)
        loss = functional.mse_loss(found, vectors[drawn])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
        errors.append(loss.item())
    last = errors[-max(1, len(errors) // 10) :]
    return sum(last) / len(last) / variance, time.process_time() - started


def sentences_of(corpus: Corpus, held_out: NDArray[np.int64]) -> Tensor:
    """The distinct sentences of the training part but for some, as numbers of words [sentences, W]."""
    told = np.union1d(corpus.train.statements, corpus.train.question)
    return torch.from_numpy(corpus.sentences[np.setdiff1d(told, held_out)])


def sentence_vectors(words: Tensor, system: MemDeepSC) -> Tensor:
    """The vector of each sentence [sentences, width]."""
    with torch.no_grad():
        return system.semantic.send(words)
