import ast
import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import nsc_deploy
from nsc_deploy.io.progress import progress_bar

BAR = """
from nsc_deploy.io.progress import progress_bar
with progress_bar(shown={shown}, transient=False) as progress:
    task = progress.add_task("counting sheep", total=3)
    progress.advance(task, 3)
"""
WAIT = """
from nsc_deploy.io.progress import waiting
with waiting("falling asleep") as tell:
    tell("counting [3] sheep " + "z" * 200)
"""


def on_a_terminal(script: str) -> str:
    ours, theirs = pty.openpty()
    plain = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}
    subprocess.run(
        [sys.executable, "-c", script],
        stderr=theirs,
        check=True,
        env={**plain, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # all is read when nobody has the other end open
        while part := os.read(ours, 10_000):
            shown += part
    os.close(ours)
    return shown.decode()


@pytest.mark.parametrize("script", [BAR.format(shown=True), WAIT], ids=["bar", "spinner"])
def test_nothing_is_shown_where_nobody_watches(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_person_at_a_terminal_sees_it() -> None:
    assert "counting sheep" in on_a_terminal(BAR.format(shown=True))
    assert "counting [3] sheep zz" in on_a_terminal(WAIT)
    assert on_a_terminal(BAR.format(shown=False)) == ""


def test_a_hidden_bar_can_be_moved() -> None:
    with progress_bar(shown=False) as progress:
        task = progress.add_task("counting", total=2)
        progress.advance(task)
        progress.update(task, description="still counting")


def test_every_bar_is_made_in_one_place() -> None:
    """Another one would leave stray lines in the logs of those who redirect the standard error."""
    package = Path(nsc_deploy.__file__).parent
    found = [
        f"{path.relative_to(package)}:{node.lineno}"
        for path in sorted(package.rglob("*.py"))
        if path != package / "io/progress.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"Progress", "Live", "tqdm"}
    ]
    assert found == []
