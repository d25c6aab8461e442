"""A campaign: many mutations of one kind of file, in a process that may die of them.

Run by hand for a longer one: `python -m tests.robustness.fuzz.campaign KIND|all SEED COUNT`.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.robustness.fuzz.worker import Ended

Task = tuple[str, int]
_ROOT = Path(__file__).parents[3]
# Of the clock, for a hang; the worker's own limit is on processor time.
_SILENCE = 1200.0


def campaign(tasks: list[Task], folder: Path, *, seed: str) -> list[Ended]:
    """Run mutations by kind and index; each is answered for, even where it took its process down."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Ended] = []
    while len(found) < len(tasks):
        found += _until_death(tasks[len(found) :], folder, seed)
    return found


def faults(found: list[Ended]) -> str:
    """Those that ended otherwise than they should, a paragraph each."""
    bad = [one for one in found if one.fault]
    return "\n".join(f"#{one.index} {one.label[:200]}: {one.fault}\n  {one.message[:300]!r}" for one in bad)


def _until_death(tasks: list[Task], folder: Path, seed: str) -> list[Ended]:
    found: list[Ended] = []
    begun: tuple[str, int, str] | None = None
    command = [sys.executable, "-m", "tests.robustness.fuzz.worker", seed, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(tasks).encode())
        process.stdin.close()
        for line in _lines(process):
            told = json.loads(line)
            if "code" in told:
                found.append(Ended(**told))
                begun = None
            else:
                begun = told["kind"], told["index"], told["label"]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
        process.kill()
    if begun is not None:
        kind, index, label = begun
        how = f"took the process down ({process.returncode})"
        found.append(Ended(kind, index, label, None, how, "", 0.0, 0.0))
    elif len(found) < len(tasks):
        raise RuntimeError(f"the worker ended with {process.returncode} before {tasks[len(found)]}")
    return found


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[bytes]:
    """The lines a process prints, until it ends or says nothing for too long."""
    assert process.stdout is not None
    pending = b""
    while select.select([process.stdout], [], [], _SILENCE)[0]:
        piece = os.read(process.stdout.fileno(), 2**16)
        if not piece:
            return
        *whole, pending = (pending + piece).split(b"\n")
        yield from whole


def main(kinds: list[str], seed: str, count: int) -> None:
    for kind in kinds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            found = campaign([(kind, index) for index in range(count)], Path(name), seed=seed)
        codes = {code: sum(one.code == code for one in found) for code in (0, 1, 2, None)}
        worst, most = max(one.seconds for one in found), max(one.megabytes for one in found)
        seconds = time.monotonic() - started
        print(f"== {kind}: {codes}, worst {worst:.2f} s, {most:.0f} MiB; {seconds:.0f} s in all", flush=True)
        told = faults(found)
        if told:
            print(told, flush=True)


if __name__ == "__main__":
    from tests.robustness.fuzz.kinds import KINDS

    main(list(KINDS) if sys.argv[1] == "all" else sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]))
