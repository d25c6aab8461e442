"""bAbI tasks 1 to 20 (Weston et al. 2015, CC BY 3.0): stories with questions, read from their text files.

A file is named `qa{task}_{name}_{train|test}.txt` and lies in a folder `en-10k` (10,000 training questions a
task) or `en` (1,000). These folders are read from a directory, or from tar archives: the published one
(`tasks_1-20_v1-2.tar.gz`) or one of each folder (`en-10k.tar.xz`, `en.tar.xz`).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nsc_deploy.data import babi_task3
from nsc_deploy.data.stories import MOST_STATEMENTS, Asked, Corpus, Story, build_corpus, split_words
from nsc_deploy.errors import DataError
from nsc_deploy.io.archives import TarLimits, read_tar
from nsc_deploy.io.files import read_limited, unreadable

TASKS = tuple(range(1, 21))
LARGE, SMALL = "en-10k", "en"
TRAIN_QUESTIONS = 8000
VALIDATION_QUESTIONS = 1000
REGENERATED = "task 3 trains on regenerated stories (10,000 questions, seed 3), not on the published file"
_SEED = 3
_STORIES = 2000
_MOST_FILE_BYTES = 64 * 1024**2
_MOST_ARCHIVE_BYTES = 1024**3
_MOST_MEMBERS = 20_000
_FILE = re.compile(r"(?:^|.*/)(?P<set>en-10k|en)/qa(?P<task>\d{1,2})_[A-Za-z0-9-]+_(?P<part>train|test)\.txt")
_LINE = re.compile(r"(?P<number>[0-9]{1,5}) (?P<text>[^\t]*[^\t ]) ?(?:\t(?P<answer>[^\t]+)(?:\t[0-9 ]*)?)?")
_ANSWER = re.compile(r"[A-Za-z]+(?:,[A-Za-z]+)*")
_HINT = (
    "Name the folder of the data set, with en-10k/qa1_..._train.txt or en-10k.tar.xz in it, or its archive."
)

_Key = tuple[str, int, str]
"""What a file is of: folder (en-10k or en), task and part (train or test)."""


@dataclass(frozen=True)
class _File:
    """A file of the set.

    Attributes:
        key: what it is of.
        where: the file, or the archive and its member, as errors name it.
        text: what it holds.
    """

    key: _Key
    where: str
    text: str


_Files = Mapping[_Key, _File]


def read_babi(path: Path, tasks: Sequence[int] = TASKS, *, size: str = LARGE) -> Corpus:
    """Read the tasks jointly; training and validation are cut from the training files by whole stories.

    Of a task with 10,000 training questions 8,000 are for training and 1,000 for validation, as in
    Mem-DeepSC; the 1,000 after them are not used. Of smaller files it is the same shares. Where the 10k
    training file of task 3 is missing, it is made anew (`babi_task3`) and the corpus says so. The official
    test file is the test part.

    Args:
        path: a folder or an archive.
        tasks: numbers from 1 to 20.
        size: "en-10k" or "en".

    Raises:
        DataError: missing, damaged, or a file of another form; it names the file and the line. A task
            without questions in one of the parts, or a file that is there twice and differs.
    """
    files = _read_files(path)
    train: list[Story] = []
    validation: list[Story] = []
    test: list[Story] = []
    note = None
    for task in tasks:
        stories, made = _training_stories(files, task, size, path)
        note = note or made
        learn, choose = _cut(stories)
        if not learn or not choose:
            raise DataError(
                f"has too few questions of task {task} to learn from and to choose by",
                where=path,
                hint=_DAMAGED,
            )
        train += learn
        validation += choose
        test += _test_stories(files, task, size, path)
    return build_corpus(train, validation, test, note)


def parse(text: str, task: int, where: str) -> list[Story]:
    """The stories of one file.

    Each line is a number, a space and a statement, or a question, a tab and its answer (then maybe a tab and
    the numbers of the lines that support it). A story begins with the number 1.

    Raises:
        DataError: a line of another form or out of order, or a question before any statement; the line is
            named.
    """
    stories: list[Story] = []
    statements: list[str] = []
    asked: list[Asked] = []
    before = 0
    for line_number, line in enumerate(text.splitlines(), 1):
        try:
            number, told, answer = _read_line(line.rstrip(), before, len(statements))
        except DataError as error:
            raise DataError(error.problem, where=f"{where}, line {line_number}", hint=_DAMAGED) from error
        if number == 1 and statements:
            stories.append(Story(task, tuple(statements), tuple(asked)))
            statements, asked = [], []
        before = number
        if answer is None:
            statements.append(told)
        else:
            asked.append(Asked(len(statements), told, answer))
    if statements:
        stories.append(Story(task, tuple(statements), tuple(asked)))
    return stories


def _read_line(line: str, before: int, told_before: int) -> tuple[int, str, str | None]:
    """Number, text and, of a question, the answer."""
    found = _LINE.fullmatch(line)
    if found is None:
        raise DataError("is no numbered statement or question")
    number, text, answer = int(found["number"]), found["text"], found["answer"]
    if number not in (1, before + 1):
        raise DataError(f"has the number {number} after {before}")
    if answer is None and text.endswith("?"):
        raise DataError("asks, and has no answer")
    if answer is not None and not _ANSWER.fullmatch(answer):
        raise DataError("has an answer that is no words with commas")
    if answer is not None and (number == 1 or not told_before):
        raise DataError("asks before anything was told")
    if number > MOST_STATEMENTS:
        raise DataError(f"makes a story longer than {MOST_STATEMENTS} lines")
    split_words(text)
    return number, text, answer


_DAMAGED = "The file is damaged or of another set: fetch it again."


def _training_stories(files: _Files, task: int, size: str, path: Path) -> tuple[list[Story], str | None]:
    file = files.get((size, task, "train"))
    if file is not None:
        return parse(file.text, task, file.where), None
    if task == babi_task3.TASK and size == LARGE:
        return babi_task3.make_stories(_STORIES, _SEED), REGENERATED
    raise _missing(path, f"{size}/qa{task}_..._train.txt")


def _test_stories(files: _Files, task: int, size: str, path: Path) -> list[Story]:
    file = files.get((size, task, "test"), files.get((SMALL, task, "test")))
    if file is None:
        raise _missing(path, f"{size}/qa{task}_..._test.txt")
    stories = parse(file.text, task, file.where)
    if not any(story.asked for story in stories):  # Else the task would be missing from every mean.
        raise DataError(f"holds no question of task {task}", where=file.where, hint=_DAMAGED)
    return stories


def _cut(stories: list[Story]) -> tuple[list[Story], list[Story]]:
    """Training and validation: whole stories, 8 and 1 tenths of the questions."""
    total = sum(len(story.asked) for story in stories)
    learn = total * TRAIN_QUESTIONS // 10_000
    choose = learn + total * VALIDATION_QUESTIONS // 10_000
    parts: tuple[list[Story], list[Story]] = ([], [])
    seen = 0
    for story in stories:
        if seen < choose:
            parts[seen >= learn].append(story)
        seen += len(story.asked)
    return parts


def _read_files(path: Path) -> _Files:
    files: dict[_Key, _File] = {}
    for file in _find_files(path):
        other = files.setdefault(file.key, file)
        if other.text != file.text:
            folder, task, part = file.key
            raise DataError(
                f"is the {part} file of task {task} in {folder}, and so is {other.where}, which holds "
                "something else",
                where=file.where,
                hint="Remove one of them, or name the folder or the archive that is meant.",
            )
    if not files:
        raise DataError("holds no file of bAbI", where=path, hint=_HINT)
    return files


def _find_files(path: Path) -> Iterator[_File]:
    """Those of a folder and of the archives beside it, or of one archive."""
    if path.is_dir():
        yield from _in_folder(path)
        for archive in sorted(path.iterdir()):
            if archive.is_file() and ".tar" in archive.suffixes:
                yield from _in_archive(archive)
    elif path.is_file():
        yield from _in_archive(path)
    else:
        raise DataError("does not exist", where=path, hint=_HINT)


def _in_folder(path: Path) -> Iterator[_File]:
    # "." has no name of its own, and a link may have another than what it leads to.
    named = path if path.name in (LARGE, SMALL) else path.resolve()
    folders = [named] if named.name in (LARGE, SMALL) else [path / LARGE, path / SMALL]
    for folder in folders:
        for file in sorted(folder.glob("qa*.txt")) if folder.is_dir() else ():
            key = _key(f"{folder.name}/{file.name}")
            if key is None:
                continue
            try:
                content = read_limited(file, _MOST_FILE_BYTES)
            except OSError as error:
                raise unreadable(file, error) from error
            if content is None:
                raise DataError("is too large for a file of bAbI", where=file, hint=_DAMAGED)
            yield _File(key, str(file), _decode(content, str(file)))


def _in_archive(archive: Path) -> Iterator[_File]:
    """The files of a tar archive, read into memory: nothing is unpacked, links are not followed."""
    limits = TarLimits("bAbI", _MOST_ARCHIVE_BYTES, _MOST_MEMBERS)
    for name, content in read_tar(archive, limits, lambda name: _MOST_FILE_BYTES if _key(name) else None):
        key, where = _key(name), f"{archive}: {name}"
        if key is not None:
            yield _File(key, where, _decode(content, where))


def _key(name: str) -> _Key | None:
    found = _FILE.fullmatch(name)
    return None if found is None else (found["set"], int(found["task"]), found["part"])


def _decode(content: bytes, where: str) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise DataError(f"is no plain text ({error})", where=where, hint=_DAMAGED) from error


def _missing(path: Path, name: str) -> DataError:
    return DataError(f"lacks {name}", where=path, hint=_HINT)
