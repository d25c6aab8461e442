"""Kills at stated moments: they hit, however fast the machine is.

What lies on a disk changes by operations on files alone. So the moments before each of them, and those inside
a write, stand for every moment at which a process can be killed.
"""

import itertools
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_CHANGES = {"os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def before_each_change(folder: Path, call: Callable[[], object]) -> None:
    """Call before whatever this thread, from now on and in no fork, changes in a folder: a fixed number."""
    own, inside = (os.getpid(), threading.get_ident()), f"{folder}{os.sep}"

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        if own != (os.getpid(), threading.get_ident()):
            return
        if event in _CHANGES or (event == "open" and arguments[2] & _WRITING):
            name = os.fsdecode(arguments[0])
            if name.startswith(inside) or not Path(name).is_absolute():  # what goes with a folder is relative
                call()

    sys.addaudithook(hear)


def die_before_change(number: int, folder: Path) -> None:
    """Have this process killed with -9 before its change of that number in a folder; the first is 1."""
    numbers = itertools.count(1)

    def die_at_last() -> None:
        if next(numbers) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    before_each_change(folder, die_at_last)


def die_in_a_write(size: int) -> None:
    """Have this process killed by SIGXFSZ inside the first write that takes a file beyond a size in bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
