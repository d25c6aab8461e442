"""`load_corpus`: from a configuration to stories, whatever the data set."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nsc_deploy.data.babi import read_babi
from nsc_deploy.data.catalogue import find_source
from nsc_deploy.data.stories import Corpus
from nsc_deploy.data.toy_stories import make_toy_corpus

log = logging.getLogger(__name__)
_TOY_SEED = 0


class SoughtCorpus(Protocol):
    """What says which stories are wanted: the `[data]` table of an experiment with memory."""

    @property
    def dataset(self) -> str:
        """Babi or toy-stories."""

    @property
    def path(self) -> Path | None:
        """Folder or archive of the set; None for the usual places."""

    @property
    def tasks(self) -> Sequence[int]:
        """Which tasks of babi."""

    @property
    def size(self) -> str:
        """en-10k or en."""

    @property
    def questions(self) -> int:
        """Training questions of toy-stories."""


def load_corpus(config: SoughtCorpus) -> Corpus:
    """Read or make the stories; where a part is not the published one, a warning says so.

    Raises:
        DataError: the data is missing, damaged or of the wrong form.
    """
    if config.dataset == "toy-stories":
        return make_toy_corpus(config.questions, _TOY_SEED)
    corpus = read_babi(find_source(config), config.tasks, size=config.size)
    if corpus.note is not None:
        log.warning("warning: babi: %s", corpus.note)
    return corpus


def corpus_sha256(corpus: Corpus) -> str:
    """SHA-256 of every sentence, story, question and answer."""
    digest = hashlib.sha256("\n".join((*corpus.vocabulary.answers, *corpus.texts)).encode())
    for part in corpus.parts.values():
        for array in (part.statements, part.first, part.length, part.question, part.answer, part.task):
            digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()
