"""Training by the cross-entropy of answers: step 1 of Mem-DeepSC without a channel, step 3 through one.

Sentences are few and come again and again, so a round takes several batches: their distinct sentences are
sent once, the receiver learns from batch after batch, and the sender then takes one step on the gradient that
they all left at its output.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nsc_deploy.data.stories import Corpus, Questions
from nsc_deploy.errors import UserError
from nsc_deploy.models.memory.batches import Batch, in_order, make_batches
from nsc_deploy.models.memory.transformer import products_in
from nsc_deploy.training.checkpoints import read_tensors, that_fits, write_tensors

LEAST_WEIGHT = 0.02
_BETWEEN_SEEDS = 0x9E3779B1
"""Odd, and 2^32 over the golden ratio: so far apart begin the channels of one seed and of the next."""
_SIDES = ("sender", "receiver")
Optimisers = list[torch.optim.Adam | None]


@dataclass(frozen=True)
class RoundPlan:
    """How two sides are trained.

    Attributes:
        seed: of batches and of chance on the channel.
        steps: batches that the receiver learns from.
        batch: questions in a batch.
        round: batches whose sentences are sent together.
        rate: highest learning rate; it rises over `warm_up` and then falls to 0 in a straight line.
        warm_up: steps.
        clip: largest norm of a gradient, sender and receiver apart.
        validate_every: steps after which tasks are weighed anew and the state is kept.
        validate_on: questions of each task.
        products: number format of dense products in training; weights and sums stay in float32.
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
    products: torch.dtype = torch.float32


class Answering(Protocol):
    """What a sender does to sentences, and how a receiver answers."""

    @property
    def memory(self) -> int:
        """Sentences that the receiver remembers."""

    def send(self, words: Tensor) -> Tensor:
        """What is sent of each sentence [N, W]: [N, ...]."""

    def answer(self, sent: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Logits [B, answers] of a batch, whose sentences are rows of `sent`."""


class Trainee(Answering, Protocol):
    """Two sides that learn together."""

    @property
    def sides(self) -> tuple[nn.Module, nn.Module]:
        """What a sender has and what a receiver has; weights that need no gradient stay as they are."""

    def state_dict(self) -> dict[str, Tensor]:
        """All weights by name."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """Take weights on."""


@dataclass(frozen=True)
class RoundRecord:
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


def train_rounds(
    corpus: Corpus,
    trainee: Trainee,
    plan: RoundPlan,
    state: Path,
    report: Callable[[RoundRecord], None] = lambda progress: None,
) -> list[RoundRecord]:
    """Train two sides; go on from `state` where it is there, and keep it there as training goes.

    The questions of a round depend on the seed, the step and the weights of the tasks alone, so a training
    that was killed comes to the same weights as one that was not.

    Args:
        corpus: training and validation questions.
        trainee: changed in place.
        plan: how.
        state: a file, replaced whole each time.
        report: called after each validation.

    Returns:
        What was reported, over all resumptions.

    Raises:
        DataError: the state is damaged or of another training.
        UserError: the training diverged; the state of before is kept.
    """
    for side in trainee.sides:
        side.zero_grad()
    optimisers = [_optimiser(side, plan) for side in trainee.sides]
    history = _restore(state, trainee, optimisers) if state.is_file() else []
    step = history[-1].step if history else 0
    before = history[-1].seconds if history else 0.0
    weights = _weigh(corpus, history[-1].accuracy if history else {})
    every = {task: np.flatnonzero(corpus.train.task == task) for task in corpus.tasks}
    by_task = {task: rows for task, rows in every.items() if len(rows)}
    sentences = torch.from_numpy(corpus.sentences)
    checked = sample(corpus.validation, plan.validate_on)
    losses: list[float] = []
    started = time.process_time()
    while step < plan.steps:
        count = min(plan.round, plan.steps - step)
        drawn = np.random.default_rng((plan.seed, step))
        chosen = [_draw(by_task, weights, plan.batch, drawn) for _ in range(count)]
        distinct, batches = make_batches(corpus.train, chosen, trainee.memory)
        with products_in(plan.products, trainee.sides):
            losses += _round(trainee, optimisers, sentences[distinct], batches, plan, step)
        require_finite(losses[-1], state, "semantic_rate, joint_rate or mask_rate")
        passed = step // plan.validate_every
        step += count
        if step // plan.validate_every > passed or step == plan.steps:
            accuracy = by_task_accuracy(trainee, corpus, checked)
            seconds = before + time.process_time() - started
            history.append(RoundRecord(step, float(np.mean(losses)), accuracy, seconds))
            weights, losses = _weigh(corpus, accuracy), []
            _keep(state, trainee, optimisers, history)
            report(history[-1])
    return history


def require_finite(loss: float, state: Path, rate: str) -> None:
    """Refuse to go on with weights that are no numbers any more.

    Args:
        loss: of the last batch.
        state: the file that the training is kept in.
        rate: what its step size is called.

    Raises:
        UserError: it is not finite.
    """
    if not math.isfinite(loss):
        raise UserError(
            f"training diverged (the loss is {loss})",
            where=state.parent.parent,
            hint=f"Lower training.{rate}; then train anew with --overwrite.",
        )


def by_task_accuracy(
    system: Answering, corpus: Corpus, questions: Questions, seed: int = 0
) -> dict[int, float]:
    """Share of right answers by task; the same seed gives the same noise."""
    generator = torch.Generator().manual_seed(seed)
    right: dict[int, list[float]] = {}
    with torch.inference_mode():
        sent = system.send(torch.from_numpy(corpus.sentences))
        for distinct, batch in in_order(questions, system.memory):
            found = system.answer(sent[torch.from_numpy(distinct)], batch, generator)
            correct = found.argmax(1) == batch.answer
            for task in np.unique(batch.task.numpy()).tolist():
                right.setdefault(task, []).extend(correct[batch.task == task].tolist())
    return {task: float(np.mean(right[task])) for task in sorted(right)}


def sample(questions: Questions, count: int) -> Questions:
    """The same `count` questions of each task, spread over all of them."""
    chosen = []
    for task in np.unique(questions.task):
        rows = np.flatnonzero(questions.task == task)
        chosen.append(rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)])
    return questions.only(np.concatenate(chosen))


def _round(
    trainee: Trainee,
    optimisers: Optimisers,
    sentences: Tensor,
    batches: list[Batch],
    plan: RoundPlan,
    step: int,
) -> list[float]:
    """Take one step of the sender and one of the receiver for each batch; the losses."""
    sending, receiving = optimisers
    # Of a seed, torch's generator takes the lowest 32 bits alone.
    generator = torch.Generator().manual_seed((plan.seed * _BETWEEN_SEEDS + step) % 2**32)
    with torch.set_grad_enabled(sending is not None):
        sent = trainee.send(sentences)
    arrived = sent.detach().requires_grad_()
    losses = []
    for number, batch in enumerate(batches):
        loss = functional.cross_entropy(trainee.answer(arrived, batch, generator), batch.answer)
        loss.backward()  # type: ignore[no-untyped-call]
        if receiving is not None:
            _take(receiving, plan, step + number)
        losses.append(loss.item())
    if sending is not None and arrived.grad is not None:
        sent.backward(arrived.grad / len(batches))  # type: ignore[no-untyped-call]
        _take(sending, plan, step)
    return losses


def _optimiser(side: nn.Module, plan: RoundPlan) -> torch.optim.Adam | None:
    """What changes the weights of a side; None where all of them stay as they are."""
    weights = [one for one in side.parameters() if one.requires_grad]
    return torch.optim.Adam(weights, lr=plan.rate, betas=(0.9, 0.98), eps=1e-9) if weights else None


def _take(optimiser: torch.optim.Adam, plan: RoundPlan, step: int) -> None:
    """One step on the gradients that have gathered, at the rate of this step, after which they are none."""
    falling = (plan.steps - step) / max(1, plan.steps - plan.warm_up)
    rate = plan.rate * min((step + 1) / plan.warm_up, falling, 1)
    for group in optimiser.param_groups:
        group["lr"] = rate
        nn.utils.clip_grad_norm_(group["params"], plan.clip)
    optimiser.step()
    optimiser.zero_grad()


def _weigh(corpus: Corpus, accuracy: dict[int, float]) -> dict[int, float]:
    """How often a task is drawn: by how far it is from solved; none is left out, which would be forgotten."""
    found = {task: max(LEAST_WEIGHT, 1 - accuracy.get(task, 0.0)) for task in corpus.tasks}
    total = sum(found.values())
    return {task: weight / total for task, weight in found.items()}


def _draw(
    by_task: dict[int, NDArray[np.int64]], weights: dict[int, float], count: int, drawn: np.random.Generator
) -> NDArray[np.int64]:
    wanted = np.array([weights[task] for task in by_task])
    shares = drawn.multinomial(count, wanted / wanted.sum())
    return np.concatenate(
        [drawn.choice(rows, share) for rows, share in zip(by_task.values(), shares, strict=True)]
    )


def _keep(state: Path, trainee: Trainee, optimisers: Optimisers, history: list[RoundRecord]) -> None:
    tensors = {f"weights.{name}": weights for name, weights in trainee.state_dict().items()}
    for side, optimiser in zip(_SIDES, optimisers, strict=True):
        for number, moments in optimiser.state_dict()["state"].items() if optimiser else ():
            tensors |= {f"adam.{side}.{number}.{key}": value for key, value in moments.items()}
    write_tensors(state, tensors, [_as_json(one) for one in history])


def _as_json(progress: RoundRecord) -> list[object]:
    accuracy = {str(task): share for task, share in progress.accuracy.items()}
    return [progress.step, progress.loss, accuracy, progress.seconds]


def _restore(state: Path, trainee: Trainee, optimisers: Optimisers) -> list[RoundRecord]:
    tensors, note = read_tensors(state)
    with that_fits(state):
        trainee.load_state_dict(under(tensors, "weights."))
        for side, optimiser in zip(_SIDES, optimisers, strict=True):
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in under(tensors, f"adam.{side}.").items():
                number, _, kind = key.partition(".")
                moments.setdefault(int(number), {})[kind] = value
            if optimiser is not None:
                optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
        return [_record(*one) for one in note]


def _record(step: int, loss: float, accuracy: dict[str, float], seconds: float) -> RoundRecord:
    """What `_as_json` made of a record.

    Raises:
        ValueError: a step before the first.
        TypeError: no numbers.
    """
    if int(step) < 0:
        raise ValueError(f"a step {step}")
    shares = {int(task): float(share) for task, share in accuracy.items()}
    return RoundRecord(int(step), float(loss), shares, float(seconds))


def under(tensors: Mapping[str, Tensor], head: str) -> dict[str, Tensor]:
    """The tensors whose name begins with `head`, without it."""
    return {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}
