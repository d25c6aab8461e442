"""The rivals that send text by a source code, the turbo code and a constellation, for the codec to read.

Nothing of them is trained but the semantic codec, without a channel. A sentence is sent in as many blocks of
the turbo code as its bits need, filled up with zeros. What arrives damaged is read as far as it can be: words
that nobody knows are left out, and of a sentence without any word nothing is remembered but its place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nsc_deploy.channels.coding import turbo
from nsc_deploy.channels.qam import Constellation, carried, map_bits, soft_bits
from nsc_deploy.channels.symbols import transmit
from nsc_deploy.data.stories import Corpus, Vocabulary
from nsc_deploy.errors import ConfigError
from nsc_deploy.models.memory.batches import Batch
from nsc_deploy.models.memory.semantic import SemanticCodec, read_stories
from nsc_deploy.models.memory.system import Air


class SourceCode(StrEnum):
    """How a sentence becomes bits.

    - UTF8: its text, 8 bits a character.
    - WORDS: the number of each word, 8 bits each.
    - SENTENCE: the number of the sentence among all that are ever said.
    """

    UTF8 = "utf8"
    WORDS = "words"
    SENTENCE = "sentence"


class Adaptation(StrEnum):
    """How the constellation is chosen: always 16-QAM, or by the mean SNR (AMC)."""

    QAM16 = "16-qam"
    AMC = "amc"

    def at(self, snr_db: float) -> Constellation:
        """The constellation at a mean SNR in dB."""
        return Constellation.QAM16 if self is Adaptation.QAM16 else carried(snr_db)


@dataclass(frozen=True)
class SymbolCount:
    """Complex symbols that a sentence takes on the air, mean over sentences.

    Attributes:
        blocks: as whole blocks of the code.
        filled: for the bits of the sentence alone, at rate 1/3: how the paper counts.
    """

    blocks: float
    filled: float


class TextCode:
    """Sentences of a corpus as blocks of bits, and blocks of bits as words.

    Args:
        corpus: whose sentences are sent.
        source: how.

    Raises:
        ConfigError: more words or sentences than numbers.
    """

    def __init__(self, corpus: Corpus, source: SourceCode) -> None:
        self.source = source
        self._vocabulary: Vocabulary = corpus.vocabulary
        self._sentences = corpus.sentences
        self._number = {word: number for number, word in enumerate(corpus.vocabulary.words, 1)}
        self.sentence_bits = max(1, (len(corpus.texts) - 1).bit_length())
        if source is SourceCode.WORDS and corpus.vocabulary.size > 256:
            raise ConfigError(
                f"has {len(corpus.vocabulary.words)} words, and 8 bits number 255",
                where="system.name",
                hint="Choose utf8-turbo or sentence-turbo.",
            )
        bits = [self._bits(corpus, row) for row in range(len(corpus.texts))]
        self.lengths = np.array([len(one) for one in bits])
        self.block_counts = -(-self.lengths // turbo.BLOCK)
        self.firsts = np.concatenate([[0], np.cumsum(self.block_counts)[:-1]])
        self.blocks = np.zeros((int(self.block_counts.sum()), turbo.BLOCK), np.uint8)
        for first, one in zip(self.firsts, bits, strict=True):
            self.blocks[first:].reshape(-1)[: len(one)] = one

    def _bits(self, corpus: Corpus, row: int) -> NDArray[np.uint8]:
        if self.source is SourceCode.SENTENCE:
            return np.array([row >> place & 1 for place in range(self.sentence_bits)], np.uint8)
        if self.source is SourceCode.UTF8:
            return np.unpackbits(np.frombuffer(corpus.texts[row].encode(), np.uint8))
        words = corpus.sentences[row]
        return np.unpackbits(words[words > 0].astype(np.uint8))

    def read(self, bits: NDArray[np.uint8]) -> list[int]:
        """The words that a sentence's blocks [blocks * 256] hold; unknown ones are left out."""
        if self.source is SourceCode.SENTENCE:
            row = int(sum(int(bit) << place for place, bit in enumerate(bits[: self.sentence_bits])))
            if row >= len(self._sentences):
                return []
            return [int(word) for word in self._sentences[row] if word]
        values = np.packbits(bits)
        if self.source is SourceCode.WORDS:
            return [int(word) for word in values if 0 < word < self._vocabulary.size]
        text = values.tobytes().rstrip(b"\0").decode(errors="replace").lower()
        words = "".join(letter if "a" <= letter <= "z" else " " for letter in text).split()
        return [self._number[word] for word in words if word in self._number]

    def symbols(self, rows: Sequence[int] | NDArray[np.int64], constellation: Constellation) -> SymbolCount:
        """What these sentences take on the air, mean."""
        chosen = np.asarray(rows)
        whole = -(-turbo.CODED // constellation.bits)
        return SymbolCount(
            blocks=float(self.block_counts[chosen].mean()) * whole,
            filled=float(self.lengths[chosen].mean()) * 3 / constellation.bits,
        )


class TextSystem:
    """Sends sentences as text and answers from what arrives; for evaluation alone.

    Args:
        corpus: whose sentences are sent.
        semantic: reads what arrives.
        code: sentences as bits.
        adaptation: how bits become symbols.
        air: what lies between; its mask is not used.
    """

    def __init__(
        self, corpus: Corpus, semantic: SemanticCodec, code: TextCode, adaptation: Adaptation, air: Air
    ) -> None:
        self.semantic = semantic
        self.code = code
        self.adaptation = adaptation
        self.air = air
        self._coded = torch.from_numpy(turbo.encode(code.blocks))
        self._longest = corpus.sentences.shape[1]
        with torch.inference_mode():
            self._vectors = semantic.send(torch.from_numpy(corpus.sentences))

    @property
    def memory(self) -> int:
        """Sentences that the receiver remembers."""
        return self.semantic.memory

    def send(self, words: Tensor) -> Tensor:
        """What names each sentence of the corpus, all of which are asked for in order: its row."""
        return torch.arange(len(words))

    def answer(self, sent: Tensor, batch: Batch, generator: torch.Generator) -> Tensor:
        """Logits [B, answers] of a batch whose sentences, rows of the corpus, went over the air."""
        rows = sent[batch.told].numpy()
        vectors = self._vectors[torch.from_numpy(rows)].clone()
        snr_db = self.air.draw_snr(len(batch), generator)
        wrong, words = self._receive(rows, batch.story, snr_db, generator)
        if len(wrong):
            vectors[torch.from_numpy(wrong)] = self._read(words)
        return read_stories(self.semantic.decoder, vectors, batch)

    def _receive(
        self, rows: NDArray[np.int64], story: Tensor, snr_db: Tensor, generator: torch.Generator
    ) -> tuple[NDArray[np.int64], list[list[int]]]:
        """Which of the sentences arrive otherwise than they were sent, and what words they then hold."""
        counts = self.code.block_counts[rows]
        owner = np.repeat(np.arange(len(rows)), counts)
        starts = np.cumsum(counts) - counts
        blocks = self.code.firsts[rows][owner] + np.arange(len(owner)) - starts[owner]
        of_story = story[torch.from_numpy(owner)]
        adapted = np.array([self.adaptation.at(one) for one in snr_db.tolist()])[of_story.numpy()]
        received = np.empty((len(blocks), turbo.BLOCK), np.uint8)
        for constellation in Constellation:
            chosen = np.flatnonzero(adapted == constellation)
            if len(chosen):
                at = of_story[torch.from_numpy(chosen)]
                received[chosen] = self._transmit(blocks[chosen], snr_db[at], at, constellation, generator)
        wrong = np.unique(owner[(received != self.code.blocks[blocks]).any(1)])
        texts = [received[starts[one] : starts[one] + counts[one]].reshape(-1) for one in wrong]
        return wrong, [self.code.read(text) for text in texts]

    def _transmit(
        self,
        blocks: NDArray[np.int64],
        snr_db: Tensor,
        story: Tensor,
        constellation: Constellation,
        generator: torch.Generator,
    ) -> NDArray[np.uint8]:
        """The messages of some blocks as they are decoded."""
        symbols = map_bits(self._coded[torch.from_numpy(blocks)], constellation)
        air = self.air
        detected = transmit(symbols, snr_db, story, air.channel, air.knowledge, generator)
        ratios = soft_bits(detected.symbols, detected.noise_power, constellation)
        return turbo.decode(ratios.numpy())

    def _read(self, sentences: list[list[int]]) -> Tensor:
        """Vectors of sentences as they arrived; zero where no word is left."""
        words = torch.zeros(len(sentences), self._longest, dtype=torch.int64)
        for row, sentence in zip(words, sentences, strict=True):
            kept = sentence[: self._longest]
            row[: len(kept)] = torch.tensor(kept, dtype=torch.int64)
        some = (words != 0).any(1)
        vectors = torch.zeros(len(words), self._vectors.shape[1])
        if bool(some.any()):
            vectors[some] = self.semantic.send(words[some])
        return vectors
