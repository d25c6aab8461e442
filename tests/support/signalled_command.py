"""A command that a signal hits at a stated moment: `python -P signalled_command.py JSON`.

What a process opens, makes, renames, starts and imports are its moments, counted by Python's own audit. So a
signal hits, however fast the machine is. JSON: `arguments` of nsc-deploy, `signal`, `moment` (none: just
count), `said`, a file into which the number of moments goes, or that the signal was sent.
"""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

_MOMENTS = {"open", "import", "os.mkdir", "os.rename", "os.remove", "os.fork", "subprocess.Popen"}


def main() -> None:
    told = json.loads(sys.argv[1])
    said, numbers = os.open(told["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), itertools.count(1)
    own = os.getpid()
    last = 0

    def hear(event: str, _: object) -> None:
        nonlocal last
        if event not in _MOMENTS or os.getpid() != own:
            return
        last = next(numbers)
        if last == told["moment"]:
            os.write(said, b"sent")
            os.kill(own, told["signal"])

    sys.argv[1:] = told["arguments"]
    if told["moment"] is None:
        import atexit

        atexit.register(lambda: os.write(said, str(last).encode()))
    sys.addaudithook(hear)
    from nsc_deploy.__main__ import main as command

    command()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    # A suite in the background of a script ignores it, and so would this process.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
