"""The semantic codec of Mem-DeepSC: a sentence to a vector; a question and a memory to an answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nsc_deploy.models.memory.batches import Batch
from nsc_deploy.models.memory.transformer import Rows, UniversalTransformer, sinusoids

WIDTH = 128


@dataclass(frozen=True)
class SemanticSizes:
    """Sizes of a semantic codec.

    Attributes:
        words: rows of the word table, padding included.
        answers: classes.
        memory: sentences that the queue holds.
        longest: words of the longest sentence.
        width: of a word, a sentence and a slot.
        heads: of the attention.
        hidden: width inside the dense half of a block.
        encoder_steps: how often the encoder takes its block.
        decoder_steps: how often the decoder takes its block.
    """

    words: int
    answers: int
    memory: int = 130
    longest: int = 32
    width: int = WIDTH
    heads: int = 4
    hidden: int = 512
    encoder_steps: int = 3
    decoder_steps: int = 6


class SemanticEncoder(nn.Module):
    """Numbers of words [B, W], 0 for padding, to sentence vectors z [B, width]: the sum over the words."""

    places: Tensor

    def __init__(self, sizes: SemanticSizes) -> None:
        super().__init__()
        self.table = nn.Embedding(sizes.words, sizes.width)
        nn.init.normal_(self.table.weight, std=sizes.width**-0.5)
        self.block = UniversalTransformer(sizes.width, sizes.heads, sizes.hidden, sizes.encoder_steps)
        self.register_buffer("places", sinusoids(sizes.longest, sizes.width), persistent=False)

    def forward(self, words: Tensor) -> Tensor:
        """Sentence vectors [B, width] of padded sentences [B, W]."""
        keep = words != 0
        read = self.block(self.table(words), self.places[: int(words.shape[1])], keep)
        summed: Tensor = (read * keep.unsqueeze(-1)).sum(1)
        return summed

    def by_length(self, words: Tensor) -> Tensor:
        """The same without work on padding: sentences of one length are read together."""
        lengths = (words != 0).sum(1)
        order = lengths.argsort(stable=True)
        groups: list[Rows] = []
        tokens, places, first, start = [], [], 0, 0
        for length, count in enumerate(lengths.bincount().tolist()):
            if not count:
                continue
            tokens.append(words[order[first : first + count], :length].reshape(-1))
            places.append(self.places[:length].repeat(count, 1))
            groups.append(Rows(torch.arange(start, start + count * length).view(count, length), None))
            first, start = first + count, start + count * length
        read = self.block.on_rows(self.table(torch.cat(tokens)), torch.cat(places), groups)
        sums = [part.view(*rows.index.shape, -1).sum(1) for part, rows in _split(read, groups)]
        return torch.empty(len(words), read.shape[-1]).index_copy(0, order, torch.cat(sums))


def _split(read: Tensor, groups: Sequence[Rows]) -> Iterable[tuple[Tensor, Rows]]:
    sizes = [rows.index.numel() for rows in groups]
    return zip(torch.split(read, sizes), groups, strict=True)


class SemanticDecoder(nn.Module):
    """A question and the memory to answers: attention over question and memory, read at the question.

    The newest sentence has the place 1, the one before it 2 and so on; the question has the place 0 and a
    learned mark. Slots that were never filled are left out of the attention.
    """

    places: Tensor

    def __init__(self, sizes: SemanticSizes) -> None:
        super().__init__()
        self.memory = sizes.memory
        self.mark = nn.Parameter(torch.randn(sizes.width) * 0.02)
        self.block = UniversalTransformer(sizes.width, sizes.heads, sizes.hidden, sizes.decoder_steps)
        self.answer = nn.Linear(sizes.width, sizes.answers)
        self.register_buffer("places", sinusoids(sizes.memory + 1, sizes.width), persistent=False)

    def forward(self, question: Tensor, queue: Tensor, filled: Tensor) -> Tensor:
        """Logits [B, answers].

        Args:
            question: vector of the question as received [B, width].
            queue: vectors of the sentences as received [B, memory, width], the newest last.
            filled: [B] how many slots of the queue hold a sentence; they are the last ones.
        """
        logits: Tensor = self.answer(self.block(*self._slots(question, queue, filled), read=1)[:, 0])
        return logits

    def heed(self, question: Tensor, queue: Tensor, filled: Tensor) -> Tensor:
        """How much the question heeds itself and each slot [steps, B, heads, 1 + memory], from the same."""
        heeded: Tensor = self.block.heed(*self._slots(question, queue, filled))[1]
        return heeded

    def _slots(self, question: Tensor, queue: Tensor, filled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Question and queue [B, 1 + memory, width], the code of their places, and which are filled."""
        slots = int(queue.shape[1])
        x = torch.cat([(question + self.mark).unsqueeze(1), queue], 1)
        ages = torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(slots, 0, -1)])
        return x, self.places[ages], ages <= filled.unsqueeze(1)

    def on_rows(self, questions: Tensor, statements: Tensor, ages: Tensor, groups: Sequence[Rows]) -> Tensor:
        """Logits [B, answers] of stories of many lengths without work on empty slots.

        Args:
            questions: [B, width].
            statements: sentences of all stories end to end [rows, width].
            ages: place of each statement, 1 for the newest of its story [rows].
            groups: sequences among the rows of questions, then statements; the question comes first in each.
        """
        x = torch.cat([questions + self.mark, statements])
        places = self.places[torch.cat([torch.zeros(len(questions), dtype=torch.int64), ages])]
        logits: Tensor = self.answer(self.block.on_rows(x, places, groups, heads_only=True))
        return logits


class SemanticCodec(nn.Module):
    """An encoder and a decoder with no channel between: what step 1 trains.

    Args:
        sizes: of both.
        seed: of their weights.
    """

    def __init__(self, sizes: SemanticSizes, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = SemanticEncoder(sizes)
            self.decoder = SemanticDecoder(sizes)

    @property
    def memory(self) -> int:
        """Sentences that the receiver remembers."""
        return self.decoder.memory

    @property
    def sides(self) -> tuple[nn.Module, nn.Module]:
        """What a sender has and what a receiver has."""
        return self.encoder, self.decoder

    def send(self, words: Tensor) -> Tensor:
        """What is sent of each sentence [N, W]: its vector [N, width]."""
        return self.encoder.by_length(words)

    def answer(self, sent: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Logits [B, answers] of a batch whose sentences were sent; nothing is left to chance here."""
        return read_stories(self.decoder, sent[batch.told], batch)


def read_stories(decoder: SemanticDecoder, vectors: Tensor, batch: Batch) -> Tensor:
    """Logits [B, answers] from the vectors of a batch's questions, then its statements [B + rows, width]."""
    count = len(batch)
    return decoder.on_rows(vectors[:count], vectors[count:], batch.ages, batch.groups)


def push(queue: Tensor, sentence: Tensor) -> Tensor:
    """The queue [B, memory, width] after one more sentence [B, width], which stands last; the oldest goes."""
    return torch.cat([queue, sentence.unsqueeze(1)], 1)[:, 1:]
