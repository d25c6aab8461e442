"""The package as a user installs it: everything is in the wheel, and it works from anywhere."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    answer = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--wheel-dir", folder, ROOT)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel; what it depends on is borrowed from ours."""
    home = tmp_path_factory.mktemp("home") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", home)
    python = home / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    )
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (own / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    tracked = set(run("git", "ls-files", "nsc_deploy").split())
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "nsc_deploy/py.typed" in tracked
    assert tracked - packed == set()
    assert {name.partition("/")[0] for name in packed} == {"nsc_deploy"}


def test_the_wheel_works_from_another_directory(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(installed / "nsc-deploy", "--version", cwd=tmp_path) == f"nsc-deploy {version}\n"
    assert "Usage: nsc-deploy" in run(installed / "nsc-deploy", "--help", cwd=tmp_path)
    place = run(installed / "python", "-c", "import nsc_deploy; print(nsc_deploy.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(installed.parent)
    assert list(tmp_path.iterdir()) == []


def test_make_says_what_is_missing_where_there_is_no_python(tmp_path: Path) -> None:
    call = ["make", f"VENV={tmp_path / 'venv'}", "PYTHON=false", "check"]
    answer = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "needs Python 3.11 or later" in answer.stderr
    assert "make PYTHON=" in answer.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", ["models", "exporters", "energy"])
def test_the_rooms_are_found_at_the_top_level_too(room: str) -> None:
    assert (ROOT / room).is_symlink()
    assert (ROOT / room).resolve() == ROOT / "nsc_deploy" / room


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert headings[0] == "Unreleased" or headings[0] == version
    assert version in headings or headings == ["Unreleased"]


def test_everything_the_package_needs_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["train"],
        *extras["speech"],
        *extras["test"],
        *extras["docs"],
        *extras["check"],
    ]
    pins = {
        _normal(line.partition("==")[0])
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert {_normal(re.split(r"[\[>=<;~! ]", name)[0]) for name in wanted} - pins == set()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
