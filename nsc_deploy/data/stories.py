"""Stories with questions: sentences as numbers of words, each distinct sentence kept once."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import DataError, did_you_mean

MOST_WORDS = 32
MOST_STATEMENTS = 1000
_WORD = re.compile(r"[a-z]+")
_PLAIN = re.compile(r"[A-Za-z .,?!'\t-]*")
PADDING = 0
_HELD_OUT = 0x5EED


@dataclass(frozen=True)
class Asked:
    """A question of a story.

    Attributes:
        after: how many statements of the story came before it.
        question: its text.
        answer: one word, or a list of words joined by commas; a list is one answer, and its order counts.
    """

    after: int
    question: str
    answer: str


@dataclass(frozen=True)
class Story:
    """Statements in their order, and what was asked between and after them.

    Attributes:
        task: the number of its kind, from 1.
        statements: texts.
        asked: questions in their order.
    """

    task: int
    statements: tuple[str, ...]
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Questions:
    """All questions of one part of a corpus; a sentence is named by its row in the corpus.

    Attributes:
        statements: [statements of all stories] int32, stories end to end.
        first: [questions] int64, where in `statements` the story of a question begins.
        length: [questions] int64, statements told before the question.
        question: [questions] int32, sentence.
        answer: [questions] int64, class.
        task: [questions] int64, number of the task, from 1.
    """

    statements: NDArray[np.int32]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    question: NDArray[np.int32]
    answer: NDArray[np.int64]
    task: NDArray[np.int64]

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self.answer)

    def story(self, number: int, memory: int) -> NDArray[np.int32]:
        """The last `memory` statements before a question, oldest first."""
        end = self.first[number] + self.length[number]
        return self.statements[max(self.first[number], end - memory) : end]

    def telling(self, sentences: NDArray[np.int64], memory: int = MOST_STATEMENTS) -> NDArray[np.bool_]:
        """Which questions name one of these sentences, or have one told before them [questions].

        Args:
            sentences: rows of the corpus.
            memory: how many statements before a question count, as many as a receiver remembers.
        """
        told = np.concatenate([[0], np.cumsum(np.isin(self.statements, sentences))])
        ends = self.first + self.length
        before = told[ends] - told[np.maximum(self.first, ends - memory)]
        among: NDArray[np.bool_] = (before > 0) | np.isin(self.question, sentences)
        return among

    def only(self, chosen: NDArray[np.int64]) -> "Questions":
        """The questions at `chosen`, in that order; the stories stay whole."""
        return Questions(
            self.statements, self.first[chosen], self.length[chosen], self.question[chosen],
            self.answer[chosen], self.task[chosen],
        )  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """The words that a transmitter knows and the answers that a receiver chooses among.

    Attributes:
        words: in alphabetical order; word w has the number 1 + its place, 0 is padding.
        answers: in alphabetical order; an answer's class is its place.
    """

    words: tuple[str, ...]
    answers: tuple[str, ...]

    @property
    def size(self) -> int:
        """Rows of a word table, padding included."""
        return len(self.words) + 1

    def numbers(self, sentence: str) -> list[int]:
        """The numbers of the words of a sentence.

        Raises:
            DataError: no word, more than 32 words, or words that are not known: they are named.
        """
        found = split_words(sentence)
        known = {word: number for number, word in enumerate(self.words, 1)}
        unknown = [word for word in found if word not in known]
        if unknown:
            names = ", ".join(repr(word) for word in dict.fromkeys(unknown))
            raise DataError(
                f"holds words that the model does not know: {names}{did_you_mean(unknown[0], self.words)}",
                where=repr(sentence),
                hint=f"It knows {len(self.words)} words: {', '.join(self.words)}.",
            )
        return [known[word] for word in found]


@dataclass(frozen=True)
class Corpus:
    """Stories and questions of three parts, over one table of sentences.

    Attributes:
        vocabulary: words and answers.
        texts: each distinct sentence as it is written, in alphabetical order.
        sentences: [distinct sentences, longest] int64, numbers of words, padded with 0 at the end.
        train: questions to learn from.
        validation: questions to choose by.
        test: questions to judge by.
        note: where a part is not the published one, what it is.
    """

    vocabulary: Vocabulary
    texts: tuple[str, ...]
    sentences: NDArray[np.int64]
    train: Questions
    validation: Questions
    test: Questions
    note: str | None = None

    @property
    def parts(self) -> Mapping[str, Questions]:
        """The three parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def held_out(self, share: float, seed: int) -> NDArray[np.int64]:
        """A share of the distinct sentences, but one at least, drawn evenly: their rows in rising order."""
        drawn = np.random.default_rng((seed, _HELD_OUT))
        count = max(1, round(share * len(self.texts))) if share else 0
        return np.sort(drawn.choice(len(self.texts), count, replace=False)).astype(np.int64)

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks that there are test questions of."""
        return tuple(int(task) for task in np.unique(self.test.task))


@lru_cache(maxsize=2**14)
def split_words(sentence: str) -> tuple[str, ...]:
    """The words of a sentence in lower case, without punctuation.

    Raises:
        DataError: no word, more than 32 words, or signs that no sentence of such a set has.
    """
    if not _PLAIN.fullmatch(sentence):
        raise DataError(
            "holds signs other than letters, spaces and . , ? ! ' -",
            where=repr(sentence),
            hint="Write it in plain English letters.",
        )
    words = _WORD.findall(sentence.lower())
    if not words:
        raise DataError("holds no word", where=repr(sentence), hint="Write a sentence, or leave it out.")
    if len(words) > MOST_WORDS:
        raise DataError(
            f"has {len(words)} words, and a sentence may have {MOST_WORDS}",
            where=repr(sentence),
            hint="Say it in two sentences.",
        )
    return tuple(words)


def build_corpus(
    train: Sequence[Story], validation: Sequence[Story], test: Sequence[Story], note: str | None = None
) -> Corpus:
    """Number the words, the answers and the distinct sentences of stories.

    Words are those of the training part, and those of the other parts must be among them. Answers are those
    of all parts: one that training does not have cannot be learnt, and its questions count as wrong. The
    published 1k file of task 8 asks for two such lists.

    Raises:
        DataError: an empty part, or a word that training does not have.
    """
    parts = {"training": train, "validation": validation, "test": test}
    for name, stories in parts.items():
        if not any(story.asked for story in stories):
            raise DataError(f"the {name} part holds no question", hint="Name a larger set.")
    words = sorted({word for text in set(_texts(train)) for word in split_words(text)})
    answers = sorted(
        {asked.answer for stories in parts.values() for story in stories for asked in story.asked}
    )
    vocabulary = Vocabulary(tuple(words), tuple(answers))
    texts = tuple(sorted({text for stories in parts.values() for text in _texts(stories)}))
    numbers = [vocabulary.numbers(text) for text in texts]
    table = np.zeros((len(texts), max(map(len, numbers))), dtype=np.int64)
    for row, found in zip(table, numbers, strict=True):
        row[: len(found)] = found
    of_text = {text: number for number, text in enumerate(texts)}
    of_answer = {answer: number for number, answer in enumerate(answers)}
    learn, choose, judge = (_number(stories, of_text, of_answer) for stories in parts.values())
    return Corpus(vocabulary, texts, table, learn, choose, judge, note)


def _texts(stories: Iterable[Story]) -> Iterable[str]:
    for story in stories:
        yield from story.statements
        yield from (asked.question for asked in story.asked)


def _number(stories: Sequence[Story], of_text: Mapping[str, int], of_answer: Mapping[str, int]) -> Questions:
    statements = [of_text[text] for story in stories for text in story.statements]
    starts = np.concatenate([[0], np.cumsum([len(story.statements) for story in stories])]).astype(np.int64)
    asked = [
        (start, story.task, one) for start, story in zip(starts, stories, strict=False) for one in story.asked
    ]
    return Questions(
        statements=np.array(statements, dtype=np.int32),
        first=np.array([start for start, _, _ in asked], dtype=np.int64),
        length=np.array([one.after for _, _, one in asked], dtype=np.int64),
        question=np.array([of_text[one.question] for _, _, one in asked], dtype=np.int32),
        answer=np.array([of_answer[one.answer] for _, _, one in asked], dtype=np.int64),
        task=np.array([task for _, task, _ in asked], dtype=np.int64),
    )
