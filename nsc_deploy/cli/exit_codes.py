"""How a command ends: every failure becomes one message and one exit code; only bugs keep a traceback.

At its end, each diagnostic about a graph that it read is told once.
"""

import codecs
import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeGuard

from nsc_deploy.cli.diagnostics import say, telling
from nsc_deploy.errors import UserError, missing_package
from nsc_deploy.io.files import MENDABLE
from nsc_deploy.io.text import CONTROL, printable

USER_ERROR = 2
BUG = 70
INTERRUPTED = 130
READER_GONE = 141
TERMINATED = 143


def run_to_exit_code(command: Callable[[], object]) -> int:
    """Run `command` and say how the process should end.

    Returns:
        0 done; 1 the command's own "no" (a check or a budget that fails); 2 wrong usage, or
        something the user can put right; 70 a bug of ours, with its traceback, so that no CI takes
        it for a "no"; 130 interrupted; 141 the reader of our output went away; 143 ended by SIGTERM.
    """
    _open_closed_streams()
    _take_any_text()
    try:
        code = _run(command)
        sys.stdout.flush()
    except BrokenPipeError:
        code = READER_GONE
    except Exception as error:
        # A full disk behind a redirected output shows itself only at the flush.
        code = _fail(_message(error)) if _mendable(error) else _bug()
    _settle_stdout()
    return code


def end_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does, with all that it started and wrote for a while.

    A second one ends it at once, whatever it does.
    """
    # Where the starter of this process has it ignored, it stays so.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, _: object) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(TERMINATED)


def _run(command: Callable[[], object]) -> int:
    try:
        _require_plain_arguments()
        with telling(_warn):
            command()
    except SystemExit as end:
        return _code_of(end)
    except UserError as error:
        return _fail(error.message)
    except ModuleNotFoundError as error:
        missing = missing_package(error)
        if missing is None:
            raise
        return _fail(missing.message)
    except MemoryError as error:
        return _fail(f"out of memory ({error})\n{MENDABLE[errno.ENOMEM]}")
    except KeyboardInterrupt:
        return _interrupted()
    return 0


def _require_plain_arguments() -> None:
    """Refuse names that no page, file or terminal could show, before a command does half of its work.

    Raises:
        UserError: an argument holds control characters, or bytes that are no UTF-8.
    """
    for argument in sys.argv[1:]:
        if CONTROL.search(argument):
            raise UserError(
                "holds control characters, or bytes that are no UTF-8",
                where=f"argument '{printable(argument, 80)}'",
                hint="Rename what it names.",
            )


def _code_of(end: SystemExit) -> int:
    """The exit code; typer makes plain exits of an interrupt and a broken pipe: their cause tells."""
    for cause in _causes(end):
        if isinstance(cause, BrokenPipeError):
            return READER_GONE
        if isinstance(cause, KeyboardInterrupt):
            return _interrupted()
    if isinstance(end.code, int):
        return end.code
    return 0 if end.code is None else _fail(end.code)


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__context__
    while cause is not None:
        yield cause
        cause = cause.__context__


def _interrupted() -> int:
    _tell("interrupted")
    return INTERRUPTED


def _fail(message: str) -> int:
    # Names and texts of files are in it, and files may be anybody's.
    _tell(f"error: {printable(message)}", "red")
    return USER_ERROR


def _warn(text: str) -> None:
    _tell(printable(text), "yellow")


def _tell(text: str, colour: str | None = None) -> None:
    """Write to standard error; where that is full or gone, the exit code alone tells."""
    with suppress(OSError):
        say(text, error=True, fg=None if os.environ.get("NO_COLOR") else colour)


def _mendable(error: Exception) -> TypeGuard[OSError]:
    return isinstance(error, OSError) and error.errno in MENDABLE


def _bug() -> int:
    _tell(traceback.format_exc().rstrip())
    _tell("This is a bug of nsc-deploy, not of what you gave it. Please report it.")
    return BUG


def _message(error: OSError) -> str:
    problem = error.strerror or str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{problem}\n{MENDABLE[error.errno or 0]}"


def _open_closed_streams() -> None:
    """Give a process started with `>&-` something to write to; its first file must not become its output."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115 - open until the process ends


def _take_any_text() -> None:
    """Spell out what the encoding of an output lacks, as JSON does it, so that JSON stays JSON."""
    codecs.register_error("spelt-out", _spelt_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spelt-out")


def _spelt_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(
        f"\\u{high:02x}{low:02x}" for high, low in zip(units[::2], units[1::2], strict=True)
    ), error.end


def _settle_stdout() -> None:
    """Write what is still buffered, or drop it, so that the interpreter's own last flush cannot fail."""
    try:
        sys.stdout.flush()
    except OSError:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
