import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.data import babi
from nsc_deploy.data.babi import parse, read_babi
from nsc_deploy.errors import DataError

STORY = (
    "1 Mary went to the garden.\n2 Where is Mary? \tgarden\t1\n"
    "3 Mary went to the office.\n4 Where is Mary?\toffice\t3\n"
)


def real_folder() -> Path:
    places = [Path(os.environ.get("NSC_DEPLOY_DATA", "")), Path(__file__).parents[3] / "shared" / "data"]
    for place in places:
        if (place / "babi" / "en-10k.tar.xz").is_file():
            return place / "babi"
    pytest.skip("babi/en-10k.tar.xz is not here: name the folder of babi in NSC_DEPLOY_DATA")


def _archive(path: Path, files: dict[str, bytes | str], kind: str = "w:xz") -> Path:
    with tarfile.open(path, kind) as members:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            members.addfile(member, io.BytesIO(data))
    return path


def _files(stories: int = 10, folder: str = "en") -> dict[str, str]:
    return {f"{folder}/qa1_single-supporting-fact_{part}.txt": STORY * stories for part in ("train", "test")}


def test_questions_carry_what_was_told_before_them():
    [first, second] = parse(STORY * 2, 1, "file")
    assert first == second
    assert first.statements == ("Mary went to the garden.", "Mary went to the office.")
    assert [(one.after, one.question, one.answer) for one in first.asked] == [
        (1, "Where is Mary?", "garden"),
        (2, "Where is Mary?", "office"),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 Mary went.\n3 Mary slept.\n", "line 2: has the number 3 after 1"),
        ("1 Mary went.\n2 Where is Mary?\n", "line 2: asks, and has no answer"),
        ("1 Mary went.\n2 Where is Mary?\t\x1b[31mgarden\t1\n", "line 2: has an answer that is no words"),
        ("Mary went.\n", "line 1: is no numbered"),
        ("1 Where is Mary?\tgarden\t1\n", "line 1: asks before"),
        ("1 Mary went.\n2 \x00\n", "line 2: is no numbered|line 2: holds signs"),
        ("1 Mary went.\n2 Is Mary 3?\tyes\t1\n", "line 2: holds signs"),
        ("1 Mary went.\n2 \n", "line 2: is no numbered"),
    ],
)
def test_a_damaged_line_is_named(text, problem):
    with pytest.raises(DataError, match=problem):
        parse(text, 1, "file")


def test_folder_and_archive_hold_the_same(tmp_path):
    files = _files()
    archive = _archive(
        tmp_path / "set.tar.xz", {f"tasks_1-20_v1-2/{name}": text for name, text in files.items()}
    )
    _write(tmp_path / "folder", files)
    read = [
        read_babi(path, [1], size="en")
        for path in (archive, tmp_path / "folder", tmp_path / "folder" / "en", tmp_path)
    ]
    assert len({(one.texts, one.test.statements.tobytes(), one.train.answer.tobytes()) for one in read}) == 1
    assert [len(part) for part in read[0].parts.values()] == [16, 2, 20]


def test_stories_are_not_cut_between_the_parts(tmp_path):
    corpus = read_babi(_archive(tmp_path / "set.tar.xz", _files(9)), [1], size="en")
    assert [len(part) for part in corpus.parts.values()] == [14, 2, 18]


def test_links_and_other_members_are_passed_over(tmp_path):
    path = tmp_path / "set.tar"
    with tarfile.open(path, "w") as members:
        link = tarfile.TarInfo("en/qa1_single-supporting-fact_train.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(link)
        outside = tarfile.TarInfo("../../outside.txt")
        outside.size = 1
        members.addfile(outside, io.BytesIO(b"x"))
    with pytest.raises(DataError, match="holds no file of bAbI"):
        read_babi(path, [1], size="en")
    assert not (tmp_path.parent.parent / "outside.txt").exists()


def test_damaged_archives_are_refused(tmp_path, monkeypatch):
    archive = _archive(tmp_path / "set.tar.xz", _files(2000))
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match="not a valid archive"):
        read_babi(archive, [1], size="en")
    (tmp_path / "text.tar").write_text("no archive")
    with pytest.raises(DataError, match="not a valid archive"):
        read_babi(tmp_path / "text.tar", [1], size="en")
    monkeypatch.setattr(babi, "_MOST_ARCHIVE_BYTES", 1000)
    with pytest.raises(DataError, match="unpacks to more"):
        read_babi(_archive(tmp_path / "large.tar.gz", _files(), "w:gz"), [1], size="en")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_babi(tmp_path / "none", [1])
    archive = _archive(tmp_path / "set.tar.xz", _files())
    with pytest.raises(DataError, match="lacks en/qa2"):
        read_babi(archive, [2], size="en")
    with pytest.raises(DataError, match="no plain text"):
        read_babi(_archive(tmp_path / "bytes.tar.xz", {"en/qa1_x_train.txt": b"1 M\xff.\n"}), [1], size="en")


def test_the_official_files_hold_what_is_published():
    corpus = read_babi(real_folder(), [1, 8, 19])
    assert [len(part) for part in corpus.parts.values()] == [24_000, 3000, 3000]
    lists = [answer for answer in corpus.vocabulary.answers if "," in answer]
    assert len(lists) == 24
    assert corpus.note is None
    assert int(np.max(corpus.test.length)) < 60


@pytest.mark.parametrize("content", ["", STORY, "1 Mary went to the garden.\n"])
def test_a_task_with_next_to_nothing_is_named_and_not_dropped(tmp_path, content):
    files = _files() | {"en/qa2_two_train.txt": content, "en/qa2_two_test.txt": STORY}
    with pytest.raises(DataError, match="too few questions of task 2"):
        read_babi(_archive(tmp_path / "set.tar.xz", files), [1, 2], size="en")


@pytest.mark.parametrize("content", ["", "1 Mary went to the garden.\n"])
def test_a_task_that_nothing_is_asked_of_in_the_test_is_named_and_not_dropped(tmp_path, content):
    files = _files() | {"en/qa2_two_train.txt": STORY * 10, "en/qa2_two_test.txt": content}
    with pytest.raises(DataError, match=r"en/qa2_two_test\.txt: holds no question of task 2"):
        read_babi(_archive(tmp_path / "set.tar.xz", files), [1, 2], size="en")


def _write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("members", "archives"),
    [
        ({"en/qa1_x_train.txt": STORY * 20}, {}),
        ({"en/qa01_single-supporting-fact_train.txt": STORY * 20}, {}),
        ({}, {"a.tar": {"en/qa1_x_train.txt": STORY * 20}}),
        ({}, {"a.tar": _files(20), "b.tar": _files()}),
        ({}, {"a.tar": {"a/en/qa1_x_train.txt": STORY * 10, "b/en/qa1_x_train.txt": STORY * 20}}),
    ],
    ids=["another-name", "another-number", "beside-an-archive", "two-archives", "two-members"],
)
def test_a_file_that_is_there_twice_and_differs_is_refused_with_both_names(tmp_path, members, archives):
    source = _write(tmp_path / "set", _files() | members)
    for name, files in archives.items():
        _archive(source / name, files, "w")
    with pytest.raises(
        DataError, match=r"qa1_.*is the train file of task 1 in en, and so is .*qa0?1_"
    ) as told:
        read_babi(source, [1], size="en")
    one, other = (told.value.where or "", told.value.problem)
    assert one not in other


def test_the_same_file_twice_is_one(tmp_path):
    source = _write(tmp_path, _files() | {"en/qa1_x_train.txt": STORY * 10})
    _archive(source / "en.tar", _files(), "w")
    assert len(read_babi(source, [1], size="en").train) == 16


def test_a_folder_has_its_name_from_within_and_through_a_link_too(tmp_path, monkeypatch):
    source = _write(tmp_path / "set", _files())
    (source / "stories").symlink_to(source / "en")
    (tmp_path / "en").symlink_to(source / "en")
    monkeypatch.chdir(source / "en")
    for path in (Path(), Path("../en"), Path("../stories"), tmp_path / "en"):
        assert len(read_babi(path, [1], size="en").test) == 20


def test_a_member_is_no_larger_than_a_file_of_a_folder(tmp_path, monkeypatch):
    source = _archive(tmp_path / "babi.tar.xz", _files())
    monkeypatch.setattr(babi, "_MOST_FILE_BYTES", 100)
    with pytest.raises(DataError, match="is larger than 100 bytes"):
        read_babi(source, [1], size="en")
