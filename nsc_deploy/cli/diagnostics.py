"""Warnings on the standard error: told once a command is done, below its answer and off its progress bars.

What is wrong with a file is told in full by the commands that ask about the file (`inspect`, `check`,
`mend`), with `--details`, and where a command fails; the others, which come upon it each time, name it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nsc_deploy.diagnostics import Diagnostic, asking_for_length, listening, tell_in_full
from nsc_deploy.errors import UserError
from nsc_deploy.io.text import counted


@contextmanager
def telling(tell: Callable[[str], None]) -> Iterator[None]:
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
                tell(text)


def _told(found: list[Diagnostic], *, in_full: bool) -> Iterator[str]:
    short = [one for one in found if one.in_file and not in_full]
    yield from (f"warning: {one.message}" for one in found if one not in short)
    for where in dict.fromkeys(one.where for one in short):
        names = [one.name for one in short if one.where == where]
        whole = f"nsc-deploy inspect {where}" if where and Path(where).is_file() else "--json"
        many = counted(len(names), "warning about the file", "warnings about the file")
        yield f"warning: {where or 'graph'}: {many} ({', '.join(names)}), in full: {whole}"
