"""Every `nsc-deploy train` that a page shows is an experiment that can be begun."""

import re
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
import typer

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)
SHOWN = 'nsc-deploy() { printf "%s\\0" "$@" >> "$LOG"; printf "\\n" >> "$LOG"; }\n'
"""In place of the tool: its words, as the shell makes them of loops and variables."""
LEFT_OUT = {"--resume", "--from", "..."}
"""The first two take the experiment of a run, which is not here."""

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="pages are written for bash")


def commands(page: Path, folder: Path) -> list[list[str]]:
    """The `train` commands of a page; nothing else that it shows is found, let alone run."""
    log = folder / "log"
    log.touch()
    blocks = "\n".join(BLOCK.findall(page.read_text(encoding="utf-8")))
    subprocess.run(
        [str(shutil.which("bash")), "-c", SHOWN + blocks],
        cwd=folder,
        env={"PATH": "/nowhere", "LOG": str(log)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    words = [line.split("\0")[:-1] for line in log.read_text(encoding="utf-8").splitlines()]
    return [[*one] for one in words if one[:1] == ["train"] and not LEFT_OUT & set(one)]


def test_every_training_that_a_page_shows_can_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begin(*_arguments: object, **_options: object) -> None:
        raise typer.Exit(0)

    monkeypatch.setattr("nsc_deploy.training.run.train", begin)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    refused, found = [], 0
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        folder = tmp_path / page.stem
        folder.mkdir(exist_ok=True)
        for number, words in enumerate(commands(page, folder)):
            found += 1
            if "--out" in words:
                words[words.index("--out") + 1] = str(folder / f"run{number}")
            if run_to_exit_code(partial(app, words, prog_name="nsc-deploy")) == 0:
                continue
            refused.append(f"{page.name}: nsc-deploy {' '.join(words)}\n{capsys.readouterr().err}")
    assert not refused, "\n".join(refused)
    assert found > 80
