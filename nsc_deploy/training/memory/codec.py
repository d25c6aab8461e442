"""Step 2 of Mem-DeepSC: the joint source-channel codec, by mean squared error on sentence vectors."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nsc_deploy.data.stories import Corpus
from nsc_deploy.models.memory.system import MemDeepSC


@dataclass(frozen=True)
class CodecPlan:
    """How the codec is trained.

    Attributes:
        seed: of the sentences drawn and of chance on the channel.
        steps: of the optimiser.
        batch: sentences in a step, each with an SNR of its own.
        rate: highest learning rate, which falls to 0 by a cosine.
    """

    seed: int = 0
    steps: int = 4000
    batch: int = 256
    rate: float = 1e-3


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
    vectors = sentence_vectors(corpus, system)
    generator = torch.Generator().manual_seed(plan.seed)
    halves = [*system.jsc_encoder.parameters(), *system.jsc_decoder.parameters()]
    optimiser = torch.optim.Adam(halves, lr=plan.rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, plan.steps)
    variance = float(vectors.var(0).mean())
    errors = []
    for _ in range(plan.steps):
        drawn = torch.randint(len(vectors), (plan.batch,), generator=generator)
        snr_db = system.draw_snr(plan.batch, generator)
        found = system.receive(
            system.jsc_encoder(vectors[drawn]), snr_db, torch.arange(plan.batch), generator
        )
        loss = functional.mse_loss(found, vectors[drawn])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        falling.step()
        errors.append(loss.item())
    last = errors[-max(1, len(errors) // 10) :]
    return sum(last) / len(last) / variance, time.process_time() - started


def sentence_vectors(corpus: Corpus, system: MemDeepSC) -> Tensor:
    """The vector of each distinct sentence of the training part [sentences, width]."""
    told = {int(row) for row in corpus.train.statements} | {int(row) for row in corpus.train.question}
    with torch.no_grad():
        return system.semantic.send(torch.from_numpy(corpus.sentences[sorted(told)]))
