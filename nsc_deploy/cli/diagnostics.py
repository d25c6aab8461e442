"""Warnings on the standard error: told once a command is done, below its answer and off its progress bars.

What is wrong with a file is told in full by the commands that ask about the file (`inspect`, `check`,
`mend`), with `--details`, and where a command fails; the others, which come upon it each time, name it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from nsc_deploy.diagnostics import Diagnostic, asking_for_length, listening, tell_in_full
from nsc_deploy.errors import UserError
from nsc_deploy.io.text import counted


def say(text: str, *, error: bool = False, **style: Any) -> None:
    """Print lines, folded between words where a terminal has no room for them.

    A width that is set elsewhere does not count: readline sets one for what a Python program starts, and a
    log is searched line by line.

    Args:
        text: what to print; spaces that a line starts with are kept in front of what is folded.
        error: to the standard error.
        style: of `typer.secho`.
    """
    if (sys.stderr if error else sys.stdout).isatty():
        import shutil

        text = folded(text, shutil.get_terminal_size().columns)
    typer.secho(text, err=error, **style)


def tell(text: str) -> None:
    """Print lines beside the answer, to the standard error."""
    say(text, error=True)


def folded(text: str, width: int) -> str:
    """Lines of at most so many characters, but for words that are longer."""
    import textwrap

    lines = []
    for line in text.split("\n"):
        start = line[: len(line) - len(line.lstrip(" "))] + "  "
        lines += (
            [line]
            if len(line) <= width
            else textwrap.wrap(
                line, width, subsequent_indent=start, break_long_words=False, break_on_hyphens=False
            )
        )
    return "\n".join(lines)


@contextmanager
def telling(warn: Callable[[str], None]) -> Iterator[None]:
    """Tell the warnings that a command comes upon when it is done, before the error that it ends with."""
    found: list[Diagnostic] = []
    with asking_for_length() as asked_in_full:
        try:
            with listening(found.append):
                yield
        except UserError:
            tell_in_full()
            raise
        finally:
            for text in _told(found, in_full=asked_in_full()):
                warn(text)


def _told(found: list[Diagnostic], *, in_full: bool) -> Iterator[str]:
    short = [one for one in found if one.in_file and not in_full]
    yield from (f"warning: {one.message}" for one in found if one not in short)
    for where in dict.fromkeys(one.where for one in short):
        names = [one.name for one in short if one.where == where]
        whole = f"nsc-deploy inspect {where}" if where and Path(where).is_file() else "--json"
        many = counted(len(names), "warning about the file", "warnings about the file")
        yield f"warning: {where or 'graph'}: {many} ({', '.join(names)}), in full: {whole}"
