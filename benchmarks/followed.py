"""One call of the package, followed: which of its modules it loads, and which of its files it enters.

Run as a program in a process of its own, so that nothing is loaded before: `followed.py ANSWER.json WORDS`
follows the command `nsc-deploy WORDS`, and `followed.py ANSWER.json read_network FILE.nir` that function.
What a command prints is left alone; the answer goes into the file.
"""

import inspect
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

import nsc_deploy

PACKAGE = Path(nsc_deploy.__file__).parent
READING = "read_network"


@dataclass(frozen=True)
class Followed:
    """What a call went through.

    Attributes:
        loaded: names of the modules of the package that were loaded when it ended.
        entered: files of the package, relative to it, of which the call ran a function. What a module runs
            while it is imported does not count: it makes its tables, and nobody reads it on the way.
    """

    loaded: tuple[str, ...]
    entered: tuple[str, ...]


def followed(call: Callable[[], object]) -> Followed:
    """Follow a call through this process and all threads it starts; forks and new processes are not seen."""
    inside = f"{PACKAGE}/"
    entered: set[str] = set()

    def notice(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event != "call" or file in entered or not file.startswith(inside):
            return
        if _is_of_a_function(frame) and not _is_importing(frame, inside):
            entered.add(file)

    threading.setprofile(notice)
    sys.setprofile(notice)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    loaded = (name for name in sys.modules if name.partition(".")[0] == nsc_deploy.__name__)
    return Followed(tuple(sorted(loaded)), tuple(sorted(file.removeprefix(inside) for file in entered)))


def _is_of_a_function(frame: FrameType) -> bool:
    """Bodies of modules and classes run as frames too; their variables are not optimised."""
    return bool(frame.f_code.co_flags & inspect.CO_OPTIMIZED)


def _is_importing(frame: FrameType, inside: str) -> bool:
    """Whether the body of a module of the package is what called, at any distance."""
    caller = frame.f_back
    while caller is not None:
        code = caller.f_code
        if code.co_name == "<module>" and code.co_filename.startswith(inside):
            return True
        caller = caller.f_back
    return False


def command(words: list[str]) -> None:
    """Run a command, without what starts and ends the process around all of them alike.

    Raises:
        RuntimeError: the command says no.
    """
    from nsc_deploy.cli.app import app

    code = app(words, prog_name="nsc-deploy", standalone_mode=False)
    if code:
        raise RuntimeError(f"nsc-deploy {' '.join(words)} ends with exit code {code}")


def reading(file: Path) -> None:
    """Read one NIR file, as a notebook does."""
    from nsc_deploy.graphs.formats.nir import read_network

    read_network(file)


def main() -> None:
    answer, *words = sys.argv[1:]
    found = followed(lambda: reading(Path(words[1])) if words[0] == READING else command(words))
    Path(answer).write_text(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
