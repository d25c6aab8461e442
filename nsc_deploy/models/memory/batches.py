"""Questions in batches: each distinct sentence once, stories of similar length beside each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.data.stories import Questions
from nsc_deploy.models.memory.transformer import Rows

# Padded lengths of stories, question included, that share a product in the attention.
_LENGTHS = np.array([4, 7, 8, 10, 12, 16, 24, 36, 60, 96, 1001])


@dataclass(frozen=True)
class Batch:
    """Some questions with what was told before them.

    Attributes:
        told: [B + rows] int64, which of the sentences that come with the batch: the questions, then the
            statements, stories end to end, each oldest first.
        story: [B + rows] int64, whose question or statement it is, 0 to B - 1.
        ages: [rows] int64, 1 for the newest statement of its story.
        groups: sequences among the rows of questions, then statements.
        answer: [B] int64.
        task: [B] int64.
    """

    told: Tensor
    story: Tensor
    ages: Tensor
    groups: tuple[Rows, ...]
    answer: Tensor
    task: Tensor

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self.answer)


def make_batches(
    questions: Questions, chosen: Sequence[NDArray[np.int64]], memory: int
) -> tuple[NDArray[np.int64], list[Batch]]:
    """Batches of the questions at `chosen`, and the rows of the corpus that they speak of, each once.

    Args:
        questions: a part of a corpus.
        chosen: for each batch, which questions.
        memory: statements that a receiver remembers; older ones are left out.

    Returns:
        The distinct sentences [sentences], and batches whose numbers are places in it.
    """
    parts = [_collect(questions, one, memory) for one in chosen]
    distinct, inverse = np.unique(np.concatenate([part.told for part in parts]), return_inverse=True)
    pieces = np.split(inverse, np.cumsum([len(part.told) for part in parts])[:-1])
    batches = [
        Batch(
            told=torch.from_numpy(piece),
            story=torch.from_numpy(part.story),
            ages=torch.from_numpy(part.ages),
            groups=_group(part.lengths),
            answer=torch.from_numpy(part.answer),
            task=torch.from_numpy(part.task),
        )
        for piece, part in zip(pieces, parts, strict=True)
    ]
    return distinct, batches


def in_order(questions: Questions, memory: int, size: int = 500) -> Iterator[tuple[NDArray[np.int64], Batch]]:
    """All questions, those with long stories together, with the sentences of each batch."""
    order = np.argsort(np.minimum(questions.length, memory), kind="stable")
    for first in range(0, len(order), size):
        distinct, [batch] = make_batches(questions, [order[first : first + size]], memory)
        yield distinct, batch


@dataclass(frozen=True)
class _Part:
    told: NDArray[np.int64]
    story: NDArray[np.int64]
    ages: NDArray[np.int64]
    lengths: NDArray[np.int64]
    answer: NDArray[np.int64]
    task: NDArray[np.int64]


def _collect(questions: Questions, chosen: NDArray[np.int64], memory: int) -> _Part:
    lengths = np.minimum(questions.length[chosen], memory)
    ends = questions.first[chosen] + questions.length[chosen]
    total = int(lengths.sum())
    asked = np.arange(len(chosen))
    ages = np.repeat(np.cumsum(lengths), lengths) - np.arange(total)
    statements = questions.statements[np.repeat(ends, lengths) - ages]
    return _Part(
        told=np.concatenate([questions.question[chosen], statements]).astype(np.int64),
        story=np.concatenate([asked, np.repeat(asked, lengths)]),
        ages=ages,
        lengths=lengths,
        answer=questions.answer[chosen],
        task=questions.task[chosen],
    )


def _group(lengths: NDArray[np.int64]) -> tuple[Rows, ...]:
    """Sequences of question and statements, padded to the longest of those with a similar length."""
    count = len(lengths)
    starts = count + np.cumsum(lengths) - lengths
    kind = np.searchsorted(_LENGTHS, lengths + 1)
    groups = []
    for one in np.unique(kind):
        members = np.flatnonzero(kind == one)
        longest = int(lengths[members].max())
        place = np.arange(longest)
        keep = place < lengths[members, None]
        rows = np.where(keep, starts[members, None] + place, 0)
        index = torch.from_numpy(np.concatenate([members[:, None], rows], 1))
        full = torch.from_numpy(np.concatenate([np.ones((len(members), 1), dtype=bool), keep], 1))
        groups.append(Rows(index, None if bool(full.all()) else full))
    return tuple(groups)
