"""Sentences sent one after the other over the air, remembered, and a question answered from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from nsc_deploy.config.memory import MemoryExperiment
from nsc_deploy.errors import ConfigError
from nsc_deploy.io.pictures import save_figure
from nsc_deploy.models.memory.system import MemDeepSC
from nsc_deploy.training.memory.training import finished_mem_deepsc
from nsc_deploy.training.run_directory import read_experiment_of, read_metrics

_MOST_LIKELY = 3


@dataclass(frozen=True)
class Message:
    """What was sent of one sentence.

    Attributes:
        text: the sentence.
        symbols: complex symbols on the air, those that tell a mask's positions left out.
        error: mean squared error of its vector as received, over the vector's mean square.
        remembered: False for a statement that the queue has forgotten again, and for the question.
    """

    text: str
    symbols: int
    error: float
    remembered: bool


@dataclass(frozen=True)
class Reply:
    """An answer and how it came about.

    Attributes:
        answer: the most likely one.
        likely: the most likely answers with their probabilities, the first first.
        messages: the statements, then the question.
        snr_db: of all of them.
        memory: statements that the receiver can remember.
        position_symbols: symbols more for each message, which tell what an importance mask has kept; else 0.
        attention: how much the question heeds each message in each step of the receiver, mean over the heads;
            sums of 1.
    """

    answer: str
    likely: tuple[tuple[str, float], ...]
    messages: tuple[Message, ...]
    snr_db: float
    memory: int
    position_symbols: float
    attention: tuple[tuple[float, ...], ...]


def ask(run: Path, sentences: Sequence[str], snr_db: float, seed: int = 0) -> Reply:
    """Send statements and, last, a question; they meet one channel coefficient.

    Args:
        run: finished run of mem-deepsc.
        sentences: statements, oldest first, then the question.
        snr_db: in dB.
        seed: of the channel.

    Raises:
        ConfigError: no statement before the question, or a run of a system that sends text.
        DataError: not a finished run, unknown words, or a sentence longer than any that was learnt.
    """
    experiment = read_experiment_of(MemoryExperiment, run)
    if experiment.system.name != "mem-deepsc":
        raise ConfigError(
            f"is a run of {experiment.system.name}, which sends no vectors",
            where=run,
            hint="Name a run of mem-deepsc.",
        )
    read_metrics(run)
    if len(sentences) < 2:
        raise ConfigError(
            "an empty story: there is no statement before the question",
            where="SENTENCE",
            hint='Write statements, then the question: "Mary went to the garden." "Where is Mary?"',
        )
    system, vocabulary = finished_mem_deepsc(experiment, run)
    longest = len(system.semantic.encoder.places)
    numbers = [vocabulary.numbers(sentence) for sentence in sentences]
    for sentence, found in zip(sentences, numbers, strict=True):
        if len(found) > longest:
            raise ConfigError(
                f"has {len(found)} words, and the longest sentence that was learnt has {longest}",
                where=repr(sentence),
                hint="Say it in two sentences.",
            )
    with torch.inference_mode():
        return _send(system, vocabulary.answers, sentences, numbers, snr_db, seed)


def _send(
    system: MemDeepSC,
    answers: Sequence[str],
    sentences: Sequence[str],
    numbers: Sequence[Sequence[int]],
    snr_db: float,
    seed: int,
) -> Reply:
    words = torch.zeros(len(numbers), max(map(len, numbers)), dtype=torch.int64)
    for row, found in zip(words, numbers, strict=True):
        row[: len(found)] = torch.tensor(found)
    generator = torch.Generator().manual_seed(seed)
    system.air = system.air.at(snr_db)
    vectors = system.semantic.encoder(words)
    count, snrs = len(numbers), torch.full((len(numbers),), snr_db, dtype=torch.float64)
    symbols = system.send(words)
    kept = system.mask(symbols, snrs, torch.Generator().manual_seed(seed)).keep
    received = system.receive(symbols, snrs, torch.zeros(count, dtype=torch.int64), generator)
    error = (received - vectors).square().mean(1) / vectors.square().mean(1)
    told = received[:-1][max(0, count - 1 - system.memory) :]
    queue = torch.zeros(1, system.memory, vectors.shape[1])
    if len(told):
        queue[0, -len(told) :] = told
    heard = received[-1:], queue, torch.tensor([len(told)])
    scores = system.semantic.decoder(*heard)
    heeded = system.semantic.decoder.heed(*heard)[:, 0].mean(1)
    shares, order = scores.softmax(1)[0].topk(min(_MOST_LIKELY, len(answers)))
    sent = [system.symbols] * count if kept is None else kept.sum(1).tolist()
    messages = tuple(
        Message(text, int(sent[place]), float(error[place]), count - 1 - system.memory <= place < count - 1)
        for place, text in enumerate(sentences)
    )
    likely = tuple((answers[one], float(share)) for one, share in zip(order.tolist(), shares, strict=True))
    by_message = torch.zeros(len(heeded), count)
    by_message[:, -1] = heeded[:, 0]
    by_message[:, count - 1 - len(told) : -1] = heeded[:, 1 + system.memory - len(told) :]
    attention = tuple(tuple(step) for step in by_message.tolist())
    return Reply(likely[0][0], likely, messages, snr_db, system.memory, system.position_symbols, attention)


def write_attention(reply: Reply, path: Path) -> None:
    """Draw how much the question heeds each message in each step; the suffix decides the format.

    Raises:
        ConfigError: a suffix that is no format of a picture.
        UserError: the place cannot be written.
    """
    texts = [message.text for message in reply.messages]
    widest = max(map(len, texts))
    figure = Figure(figsize=(4 + 0.085 * widest, 1.6 + 0.3 * len(texts)), layout="constrained")
    axes = figure.subplots()
    shares = np.array(reply.attention).T
    image = axes.imshow(shares, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(texts)), texts)
    axes.set_xticks(range(shares.shape[1]), [str(step) for step in range(1, shares.shape[1] + 1)])
    for row, place in zip(shares, range(len(shares)), strict=True):
        for step, share in enumerate(row):
            if share >= 0.1:
                colour = "white" if share > 0.6 else "black"
                axes.text(step, place, f"{share:.0%}", ha="center", va="center", color=colour, fontsize=7)
    axes.set(
        xlabel="step of the receiver", title=f"{reply.answer} ({reply.likely[0][1]:.0%}), {reply.snr_db:g} dB"
    )
    figure.colorbar(image, ax=axes, label="attention of the question", shrink=0.9)
    save_figure(figure, path)
