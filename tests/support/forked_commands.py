"""Commands in forks of one process that has imported all: `-m tests.support.forked_commands TASK JSON`.

Starting the interpreter for each would take the time that the tests of faults have.
"""

import contextlib
import io
import json
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.support.kill_points import before_each_change, die_before_change, die_in_a_write

Job = tuple[int, str]


def run(arguments: list[str], limit: int | None = None) -> Job:
    """Exit code and standard error of a command, in a fork, with files of at most so many bytes."""
    reading, writing = os.pipe()
    child = _fork(lambda: os.write(writing, json.dumps(_ended(arguments, limit)).encode()))
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    code, text = json.loads(said)
    return code, text


def start(arguments: list[str]) -> int:
    """A command in a fork; its process id."""
    return _fork(lambda: _ended(arguments, None))


def _fork(call: Callable[[], object]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        call()
    finally:
        os._exit(0)


def _ended(arguments: list[str], limit: int | None) -> Job:
    from nsc_deploy.cli.app import app
    from nsc_deploy.cli.exit_codes import run_to_exit_code

    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    error = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
            code = run_to_exit_code(lambda: app(arguments, prog_name="nsc-deploy"))
    except Exception as bug:
        return 70, f"Traceback: {bug!r}"
    return code, error.getvalue()


def limited(jobs: list[tuple[list[str], int | None]]) -> list[Job]:
    """Each command after the other."""
    return [run(arguments, limit) for arguments, limit in jobs]


def changes(arguments: list[str], folder: str) -> int:
    """How often a command changes something in a folder."""
    reading, writing = os.pipe()

    def count() -> None:
        before_each_change(Path(folder), lambda: os.write(writing, b"."))
        _ended(arguments, None)

    child = _fork(count)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        counted = len(stream.read())
    os.waitpid(child, 0)
    return counted


def killed(
    arguments: list[str], check: list[str], folder: str, before: list[int], beyond: list[int]
) -> list[int]:
    """The signals that ended a command, killed at one moment after the other; another looks at what it left.

    Args:
        arguments: the command to kill.
        check: the command to look with.
        folder: where changes are counted.
        before: the changes before which to kill, counted from 1.
        beyond: the sizes in bytes of a file inside whose write to kill.

    Raises:
        RuntimeError: what it left is refused.
    """
    moments = [partial(die_before_change, number, Path(folder)) for number in before]
    moments += [partial(die_in_a_write, size) for size in beyond]
    signals = []
    for choose in moments:

        def until_killed(choose: Callable[[], None] = choose) -> None:
            choose()
            _ended(arguments, None)

        _, status = os.waitpid(_fork(until_killed), 0)
        signals.append(os.WTERMSIG(status))
        code, text = run(check)
        if code:
            raise RuntimeError(text)
    return signals


def together(several: list[list[str]]) -> list[int]:
    """Commands at the same time; the status each ended with."""
    return [os.waitpid(child, 0)[1] for child in [start(arguments) for arguments in several]]


TASKS: dict[str, Callable[..., object]] = {
    "limited": limited,
    "changes": changes,
    "killed": killed,
    "together": together,
}

if __name__ == "__main__":
    told = json.loads(sys.argv[2])
    for arguments in told.pop("warm"):
        _ended(arguments, None)
    print(json.dumps(TASKS[sys.argv[1]](**told)))
