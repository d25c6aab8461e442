"""Step 1 of Mem-DeepSC: the semantic codec, by cross-entropy and without a channel.

Sentences are few and come again and again, so a round takes several batches: their distinct sentences are
encoded once, the decoder learns from batch after batch, and the encoder then takes one step on the gradient
that they all left at its output.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.data.stories import Corpus, Questions
from nsc_deploy.models.memory.semantic import SemanticDecoder, SemanticEncoder, SemanticSizes
from nsc_deploy.training.checkpoints import read_tensors, write_tensors
from nsc_deploy.training.memory.batches import Batch, in_order, make_batches

LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class SemanticPlan:
    """How the semantic codec is trained.

    Attributes:
        seed: of weights and batches.
        steps: batches that the decoder learns from.
        batch: questions in a batch.
        round: batches whose sentences are encoded together.
        rate: highest learning rate; it rises over `warm_up` and then falls to 0 in a straight line.
        warm_up: steps.
        clip: largest norm of a gradient, encoder and decoder apart.
        validate_every: steps after which tasks are weighed anew and the state is kept.
        validate_on: questions of each task.
    """

    seed: int = 0
    steps: int = 8000
    batch: int = 128
    round: int = 5
    rate: float = 1e-3
    warm_up: int = 600
    clip: float = 1.0
    validate_every: int = 400
    validate_on: int = 100


@dataclass
class SemanticCodec:
    """An encoder and the decoder that was trained with it."""

    encoder: SemanticEncoder
    decoder: SemanticDecoder

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(one.numel() for part in (self.encoder, self.decoder) for one in part.parameters())


@dataclass(frozen=True)
class Progress:
    """What training has come to at one step.

    Attributes:
        step: batches done.
        loss: mean cross-entropy since the last such record.
        accuracy: of validation questions, by task.
        seconds: of processor time so far.
    """

    step: int
    loss: float
    accuracy: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def mean(self) -> float:
        """Mean over the tasks."""
        return sum(self.accuracy.values()) / max(1, len(self.accuracy))


def build_codec(corpus: Corpus, sizes: SemanticSizes, seed: int) -> SemanticCodec:
    """A codec with drawn weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SemanticCodec(SemanticEncoder(sizes), SemanticDecoder(sizes))


def train_semantic(
    corpus: Corpus,
    codec: SemanticCodec,
    plan: SemanticPlan,
    state: Path,
    report: Callable[[Progress], None] = lambda progress: None,
) -> list[Progress]:
    """Train a codec; go on from `state` where it is there, and keep it there as training goes.

    The questions of a round depend on the seed, the step and the weights of the tasks alone, so a training
    that was killed comes to the same codec as one that was not.

    Args:
        corpus: training and validation questions.
        codec: changed in place.
        plan: how.
        state: a file, replaced whole each time.
        report: called after each validation.

    Returns:
        What was reported, over all resumptions.
    """
    optimisers = [
        torch.optim.Adam(part.parameters(), lr=plan.rate, betas=(0.9, 0.98), eps=1e-9)
        for part in (codec.encoder, codec.decoder)
    ]
    history = _restore(state, codec, optimisers) if state.is_file() else []
    step = history[-1].step if history else 0
    before = history[-1].seconds if history else 0.0
    weights = _weigh(corpus, history[-1].accuracy if history else {})
    by_task = {task: np.flatnonzero(corpus.train.task == task) for task in corpus.tasks}
    sentences = torch.from_numpy(corpus.sentences)
    checked = _sample(corpus.validation, plan.validate_on)
    losses: list[float] = []
    started = time.process_time()
    while step < plan.steps:
        count = min(plan.round, plan.steps - step)
        drawn = np.random.default_rng((plan.seed, step))
        chosen = [_draw(by_task, weights, plan.batch, drawn) for _ in range(count)]
        distinct, batches = make_batches(corpus.train, chosen, codec.decoder.memory)
        losses += _round(codec, optimisers, sentences[distinct], batches, plan, step)
        passed = step // plan.validate_every
        step += count
        if step // plan.validate_every > passed or step == plan.steps:
            accuracy = by_task_accuracy(codec, corpus, checked)
            seconds = before + time.process_time() - started
            history.append(Progress(step, float(np.mean(losses)), accuracy, seconds))
            weights, losses = _weigh(corpus, accuracy), []
            _keep(state, codec, optimisers, history)
            report(history[-1])
    return history


def by_task_accuracy(codec: SemanticCodec, corpus: Corpus, questions: Questions) -> dict[int, float]:
    """Share of right answers without a channel, by task."""
    sentences = torch.from_numpy(corpus.sentences)
    right: dict[int, list[float]] = {}
    with torch.inference_mode():
        vectors = codec.encoder.by_length(sentences)
        for distinct, batch in in_order(questions, codec.decoder.memory):
            found = vectors[torch.from_numpy(distinct)]
            correct = _logits(codec.decoder, found, batch).argmax(1) == batch.answer
            for task in np.unique(batch.task.numpy()).tolist():
                right.setdefault(task, []).extend(correct[batch.task == task].tolist())
    return {task: float(np.mean(right[task])) for task in sorted(right)}


def _round(
    codec: SemanticCodec,
    optimisers: list[torch.optim.Adam],
    sentences: Tensor,
    batches: list[Batch],
    plan: SemanticPlan,
    step: int,
) -> list[float]:
    """Take one step of the encoder and one of the decoder for each batch; the losses."""
    encoding, decoding = optimisers
    vectors = codec.encoder.by_length(sentences)
    met = vectors.detach().requires_grad_()
    losses = []
    for number, batch in enumerate(batches):
        _set_rate(decoding, plan, step + number)
        decoding.zero_grad()
        loss = functional.cross_entropy(_logits(codec.decoder, met, batch), batch.answer)
        loss.backward()  # type: ignore[no-untyped-call]
        _take(decoding, codec.decoder, plan.clip)
        losses.append(loss.item())
    encoding.zero_grad()
    assert met.grad is not None  # noqa: S101 (every batch reads sentences)
    vectors.backward(met.grad / len(batches))  # type: ignore[no-untyped-call]
    _set_rate(encoding, plan, step)
    _take(encoding, codec.encoder, plan.clip)
    return losses


def _take(optimiser: torch.optim.Adam, part: nn.Module, clip: float) -> None:
    nn.utils.clip_grad_norm_(part.parameters(), clip)
    optimiser.step()


def _logits(decoder: SemanticDecoder, vectors: Tensor, batch: Batch) -> Tensor:
    return decoder.on_rows(
        vectors.index_select(0, batch.question),
        vectors.index_select(0, batch.statements),
        batch.ages,
        batch.groups,
    )


def _set_rate(optimiser: torch.optim.Adam, plan: SemanticPlan, step: int) -> None:
    rate = plan.rate * min(
        (step + 1) / plan.warm_up, (plan.steps - step) / max(1, plan.steps - plan.warm_up), 1
    )
    for group in optimiser.param_groups:
        group["lr"] = rate


def _weigh(corpus: Corpus, accuracy: dict[int, float]) -> dict[int, float]:
    """How often a task is drawn: by how far it is from solved; none is left out, which would be forgotten."""
    found = {task: max(LEAST_WEIGHT, 1 - accuracy.get(task, 0.0)) for task in corpus.tasks}
    total = sum(found.values())
    return {task: weight / total for task, weight in found.items()}


def _draw(
    by_task: dict[int, NDArray[np.int64]], weights: dict[int, float], count: int, drawn: np.random.Generator
) -> NDArray[np.int64]:
    shares = drawn.multinomial(count, [weights[task] for task in by_task])
    return np.concatenate(
        [drawn.choice(rows, share) for rows, share in zip(by_task.values(), shares, strict=True)]
    )


def _sample(questions: Questions, count: int) -> Questions:
    """The same `count` questions of each task, spread over all of them."""
    chosen = []
    for task in np.unique(questions.task):
        rows = np.flatnonzero(questions.task == task)
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)])
    return questions.only(np.concatenate(chosen))


def _keep(
    state: Path, codec: SemanticCodec, optimisers: list[torch.optim.Adam], history: list[Progress]
) -> None:
    tensors = dict(codec_tensors(codec))
    for name, optimiser in zip(("encoder", "decoder"), optimisers, strict=True):
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{name}.{number}.{key}": value for key, value in moments.items()}
    note = [
        [one.step, one.loss, {str(task): share for task, share in one.accuracy.items()}, one.seconds]
        for one in history
    ]
    write_tensors(state, tensors, note)


def codec_tensors(codec: SemanticCodec) -> dict[str, Tensor]:
    """The weights of a codec by name."""
    return {
        f"{name}.{key}": value
        for name, part in (("encoder", codec.encoder), ("decoder", codec.decoder))
        for key, value in part.state_dict().items()
    }


def under(tensors: dict[str, Tensor], head: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `head`, without it."""
    return {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}


def _restore(state: Path, codec: SemanticCodec, optimisers: list[torch.optim.Adam]) -> list[Progress]:
    tensors, note = read_tensors(state)
    for name, part, optimiser in zip(
        ("encoder", "decoder"), (codec.encoder, codec.decoder), optimisers, strict=True
    ):
        head = f"{name}."
        part.load_state_dict(
            {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
        )
        moments: dict[int, dict[str, Tensor]] = {}
        head = f"adam.{name}."
        for key, value in tensors.items():
            if key.startswith(head):
                number, _, kind = key.removeprefix(head).partition(".")
                moments.setdefault(int(number), {})[kind] = value
        described = optimiser.state_dict()
        optimiser.load_state_dict(described | {"state": moments})
    return [
        Progress(step, loss, {int(task): share for task, share in accuracy.items()}, seconds)
        for step, loss, accuracy, seconds in note
    ]
