"""What the README tells people to type exists, with the options it names."""

import contextlib
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from nsc_deploy.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
SHELL_BLOCK = re.compile(r"```(?:sh|bash|console)\n(.*?)```", re.DOTALL)
OF_THE_ROOT = {"--help", "--version", "--install-completion"}
INLINE_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def shell_lines(text: str) -> Iterator[str]:
    for block in SHELL_BLOCK.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").partition(" # ")[0].strip()


def commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in [*shell_lines(text), *INLINE_CODE.findall(text)]:
            if line.startswith("nsc-deploy ") and "..." not in line:
                yield page.name, line


def targets() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for line in [*shell_lines(text), *INLINE_CODE.findall(text)]:
            if re.fullmatch(r"make [a-z-]+", line):
                yield page.name, line.removeprefix("make ")


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that `words` name, and the arguments that are left for it."""
    command: Any = get_command(app)
    while getattr(command, "commands", None) and words:
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_every_command_exists_with_its_options(page: str, line: str) -> None:
    if line.startswith("nsc-deploy --"):
        assert line.split()[1] in OF_THE_ROOT
        return
    command, arguments = resolve(shlex.split(line)[1:])
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    named = {word.partition("=")[0] for word in arguments if word.startswith("-")}
    assert named - known == set(), f"{page}: {line}"


@pytest.mark.parametrize(("page", "line"), sorted({pair for pair in commands() if pair[0] == "README.md"}))
def test_the_readme_s_commands_parse(page: str, line: str) -> None:
    """Everything but the doing: types, choices and missing arguments."""
    if not OF_THE_ROOT & set(shlex.split(line)):
        command, arguments = resolve(shlex.split(line)[1:])
        command.make_context(page, arguments)


@pytest.mark.parametrize(("page", "target"), sorted(set(targets())))
def test_every_make_target_exists(page: str, target: str) -> None:
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), page


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patterns")
    with contextlib.chdir(folder):
        runpy.run_path(str(ROOT / "examples" / "patterns.py"), run_name="__main__")
    (budget,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "does-it-fit.md").read_text(), re.DOTALL)
    (folder / "budget.toml").write_text(budget)
    return folder


def answers() -> Iterator[tuple[str, str, str]]:
    """Commands with the answers that pages show: page, command, answer."""
    for page in ("README.md", "docs/does-it-fit.md"):
        text = (ROOT / page).read_text(encoding="utf-8")
        for block in re.findall(r"```text\n(\$ .*?)```", text, re.DOTALL):
            for shown in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                yield page, *shown.split("\n", 1)
        for command, shown in re.findall(
            r"```sh\n(nsc-deploy [^\n]*)\n```\n\n```text\n(?!\$)(.*?)```", text, re.DOTALL
        ):
            yield page, command, shown


@pytest.mark.parametrize(("page", "command", "shown"), sorted(set(answers())))
def test_the_answers_on_the_pages_are_the_real_ones(
    patterns: Path, monkeypatch: pytest.MonkeyPatch, page: str, command: str, shown: str
) -> None:
    """As on a terminal of 80 columns, where lines are folded; the standard error may be left out."""
    monkeypatch.chdir(patterns)
    done = CliRunner().invoke(app, shlex.split(command)[1:], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    said, page = (" ".join(text.split()) for text in (done.output, shown))
    assert [line for line in done.stdout.splitlines() if " ".join(line.split()) not in page] == []
    assert [line for line in shown.splitlines() if " ".join(line.split()) not in said] == []


def test_the_pages_say_something_to_type() -> None:
    assert len(set(commands())) > 8
    assert {"demo", "test", "check"} <= {target for _, target in targets()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_is_torn(page: Path) -> None:
    """Rows after an empty line are a new table, and without a head no table at all."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    tables = [part.strip().splitlines() for part in text.split("\n\n") if part.strip().startswith("|")]
    assert [rows[0] for rows in tables if len(rows) < 2 or not rows[1].startswith("|---")] == []


@pytest.mark.parametrize("page", PAGES + sorted(ROOT.glob("docs/decisions/*.md")), ids=lambda page: page.name)
def test_links_to_our_own_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
