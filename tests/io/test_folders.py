"""A folder is replaced only where this tool wrote all that is in it."""

from pathlib import Path

import pytest

from nsc_deploy.errors import ConfigError
from nsc_deploy.io.folders import MARK, replacing_folder, require_folder


def write(folder: Path, *names: str) -> None:
    with replacing_folder(folder) as building:
        for name in names:
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_text("ours")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_earlier_folder_of_this_tool_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "out", "manifest.json", "parts/a.nir")
    write(tmp_path / "out", "manifest.json")
    assert names(tmp_path / "out") == {"manifest.json", MARK}


def test_what_python_leaves_beside_a_module_is_no_file_of_the_user(tmp_path: Path) -> None:
    write(tmp_path / "out", "network.py")
    (tmp_path / "out" / "__pycache__").mkdir()
    (tmp_path / "out" / "__pycache__" / "network.cpython-311.pyc").touch()
    write(tmp_path / "out", "network.py")
    assert names(tmp_path / "out") == {"network.py", MARK}


@pytest.mark.parametrize(
    "mark",
    [None, "", "[]", "{}", '{"written by nsc-deploy": ["manifest.json"]}', '{"written by nsc-deploy": {}}'],
)
def test_a_folder_of_another_program_is_let_be(tmp_path: Path, mark: str | None) -> None:
    out = tmp_path / "webapp"
    out.mkdir()
    (out / "manifest.json").write_text('{"name": "web app"}')
    if mark is not None:
        (out / MARK).write_text(mark)
    for attempt in (lambda: require_folder(out), lambda: write(out, "manifest.json")):
        with pytest.raises(Exception, match=r"not a deployment this tool wrote|did not write|not valid JSON"):
            attempt()
    assert (out / "manifest.json").read_text() == '{"name": "web app"}'


@pytest.mark.parametrize("what", ["file", "folder", "link", "deep"])
def test_something_of_the_user_inside_is_not_lost(tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    write(out, "manifest.json", "parts/a.nir")
    place = out / ("parts/week.csv" if what == "deep" else "week.csv")
    if what == "folder":
        place.mkdir()
    elif what == "link":
        place.symlink_to(tmp_path)
    else:
        place.write_text("mine")
    with pytest.raises(ConfigError, match=r"holds .*week\.csv, which this tool did not write"):
        write(out, "manifest.json")
    assert place.exists()


def test_what_the_user_wrote_into_a_file_is_not_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "main.c", "parts/a.nir")
    (out / "main.c").write_text("mine")
    for attempt in (lambda: require_folder(out), lambda: write(out, "main.c")):
        with pytest.raises(ConfigError, match=r"holds main\.c, which was changed"):
            attempt()
    assert (out / "main.c").read_text() == "mine"
    (out / "main.c").rename(tmp_path / "main.c")
    write(out, "main.c")
    assert names(out) == {"main.c", MARK}


def test_a_mark_that_is_a_link_marks_nothing(tmp_path: Path) -> None:
    write(tmp_path / "ours", "a")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MARK).symlink_to(tmp_path / "ours" / MARK)
    with pytest.raises(ConfigError, match="not a deployment this tool wrote"):
        require_folder(tmp_path / "other")
