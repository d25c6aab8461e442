"""A command on a terminal of its own, and what is left on the screen when it has ended."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

COLUMNS = 80
_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]")


def on_terminal(
    arguments: Sequence[object], *, interrupt_at: Callable[[str], bool] | None = None
) -> tuple[int, list[str]]:
    """Run `nsc-deploy` with a terminal as its output and error.

    Args:
        arguments: of the command.
        interrupt_at: told what was written so far; Ctrl-C is sent when it first says yes.

    Returns:
        The exit code and the lines of the screen.
    """
    here, there = pty.openpty()
    # A slow pipe of a terminal must not hold the command up.
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(COLUMNS), "LINES": "50", "NO_COLOR": "1"}
    environment.pop("CI", None)
    command = [sys.executable, "-m", "nsc_deploy", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=there, stdout=there, stderr=there, env=environment)
    os.close(there)
    written = ""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(here, 65536):
            written += part.decode(errors="replace")
            if interrupt_at is not None and interrupt_at(written):
                interrupt_at = None
                process.send_signal(signal.SIGINT)
    os.close(here)
    return process.wait(timeout=60), screen(written)


def screen(written: str) -> list[str]:
    """The lines that stand on a screen, without those that were erased; trailing blanks are left out."""
    lines: list[list[str]] = [[]]
    row = column = 0
    for match in _CONTROL.finditer(written):
        text, numbers, kind = match.group(0), match.group(1), match.group(2)
        if text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            lines += [[] for _ in range(row + 1 - len(lines))]
        elif kind == "A":
            row = max(0, row - int(numbers or 1))
        elif kind == "K" and numbers in {"", "0"}:
            del lines[row][column:]
        elif kind == "K":
            lines[row] = [] if numbers == "2" else [" "] * column + lines[row][column:]
        elif kind is None:
            lines[row] += [" "] * (column + 1 - len(lines[row]))
            lines[row][column] = text
            column += 1
    return ["".join(line).rstrip() for line in lines]
