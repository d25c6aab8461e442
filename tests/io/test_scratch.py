"""Temporaries of killed processes are removed by the next one, those of living ones are not."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from nsc_deploy.io.scratch import MARK, scratch_file, scratch_folder


def test_both_are_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder("a", tmp_path) as folder, scratch_file("b.txt", tmp_path) as file:
        (folder / "inside").write_text("something")
        assert file.exists()
    assert not list(tmp_path.iterdir())


def test_both_are_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="why"), scratch_folder("a", tmp_path) as folder:
        (folder / "inside").write_text("something")
        raise ValueError("why")
    assert not list(tmp_path.iterdir())


def test_what_was_moved_away_stays(tmp_path: Path) -> None:
    with scratch_folder("a", tmp_path) as folder:
        folder.rename(tmp_path / "kept")
    with scratch_file("b.txt", tmp_path) as file:
        file.rename(tmp_path / "kept.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.txt"]


def _hold(place: Path) -> None:
    with scratch_folder("a", place) as folder, scratch_file("b.txt", place):
        (folder / "held").touch()
        signal.pause()


def test_only_what_nobody_holds_is_swept(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob(f"{MARK}*-a/held")):
        assert process.is_alive()
    with scratch_folder("a", tmp_path), scratch_file("b.txt", tmp_path):
        assert len(list(tmp_path.iterdir())) == 4
    assert len(list(tmp_path.iterdir())) == 2
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert len(list(tmp_path.iterdir())) == 2
    with scratch_folder("a", tmp_path), scratch_file("b.txt", tmp_path):
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_other_names_and_links_are_let_be(tmp_path: Path) -> None:
    others = [".a.12345678", f"{MARK}short-a", f"{MARK}longer-than-8-a", f"{MARK}1234567*-a"]
    others += [f"{MARK}12345678-ab", f"{MARK}12345678-b.csv", f"{MARK[1:]}12345678-a", f"{MARK}ABCDEFGH-a"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / f"{MARK}12345678-a").symlink_to(tmp_path / others[0])
    with scratch_folder("a", tmp_path), scratch_file("b.txt", tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {*others, f"{MARK}12345678-a"}


def test_a_purpose_is_a_name_and_no_pattern(tmp_path: Path) -> None:
    mine = tmp_path / f"{MARK}12345678-outX.npz"
    mine.touch()
    for name in ("out?.npz", "out*.npz", "out[X].npz", "out..npz"):
        with scratch_file(name, tmp_path):
            assert mine.exists()


def test_the_longest_name_of_a_file_still_has_a_temporary_beside_it(tmp_path: Path) -> None:
    name = "\N{GREEK SMALL LETTER OMEGA}" * 125 + ".npz"
    with scratch_file(name, tmp_path) as file:
        file.rename(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
