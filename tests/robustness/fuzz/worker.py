"""One process of a campaign: `-m tests.robustness.fuzz.worker SEED FOLDER`, [kind, index] pairs on its input.

Each pair is one mutation. The commands run in this process, with the limits a user's machine would have,
and a line of JSON tells how each ended. The parent sees this process die where a library takes it down.
"""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support.speed import scaled

SECONDS = 2.0
SECONDS_PER_MEGABYTE = 1.5
"""What is valid is read twice, and a file of nothing but small objects at 3 MB/s."""
MEMORY = 768 * 2**20
_ADDRESS_SPACE = 6 * 2**30
_LONGEST_MESSAGE = 3000


@dataclass
class Ended:
    """How one mutation ended.

    Attributes:
        kind: of the file.
        index: of the mutation.
        label: what was done to the file.
        code: exit code of the command; None where it did not end by itself.
        fault: what was wrong with that, in words; empty where nothing was.
        message: what stood on the standard error.
        seconds: processor time, children included.
        megabytes: by which the process grew at its peak.
    """

    kind: str
    index: int
    label: str
    code: int | None
    fault: str
    message: str
    seconds: float
    megabytes: float


def main(seed: str, folder: Path, tasks: list[tuple[str, int]]) -> None:
    from nsc_deploy.io import sandbox
    from tests.robustness.fuzz.kinds import KINDS

    sandbox._SECONDS *= scaled()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    corpora = {
        name: _ready(KINDS[name], folder / f"{name}.corpus") for name in dict.fromkeys(n for n, _ in tasks)
    }
    _limit_memory()
    work = folder / f"work.{os.getpid()}"
    with tempfile.TemporaryFile() as native:
        for descriptor in (1, 2):
            os.dup2(native.fileno(), descriptor)
        for name, index in tasks:
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            for told in _mutated(KINDS[name], name, index, seed, corpora[name], work, native):
                print(json.dumps(told), file=answers, flush=True)
    shutil.rmtree(work, ignore_errors=True)


def _ready(kind: Any, corpus: Path) -> Path:
    """Whole files of a kind, read by every command once: that imports what it needs."""
    kind.prepare(corpus)
    for command in kind.warm(corpus):
        code, _, err = run_command(command)
        if code == 2:
            raise RuntimeError(f"a file that is whole is refused: {err}")
    return corpus


def _mutated(
    kind: Any, name: str, index: int, seed: str, corpus: Path, work: Path, native: Any
) -> Iterator[dict[str, Any]]:
    chance = random.Random(f"{name}/{seed}/{index}")
    try:
        case = kind.mutate(chance, corpus, work)
    except Exception:
        fault = f"the mutation itself failed: {_told()}"
        yield asdict(Ended(name, index, "none", None, fault, "", 0.0, 0.0))
        return
    yield {"kind": name, "index": index, "label": case.label}
    signal.setitimer(signal.ITIMER_PROF, 3 * _allowed(work))
    ended = _try(name, index, case, work, native)
    signal.setitimer(signal.ITIMER_PROF, 0)
    yield asdict(ended)


def run_command(command: "list[str] | Callable[[], None]") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in this process."""
    from nsc_deploy.cli.app import app
    from nsc_deploy.cli.exit_codes import run_to_exit_code

    call = command if callable(command) else lambda: app(list(command), prog_name="nsc-deploy")
    # Encoding strictly, as a terminal or a file would.
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_to_exit_code(call)
    for stream in (out, err):
        stream.flush()
    return code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode()


def fault_of(code: int, out: str, err: str) -> str:  # noqa: PLR0911
    """What is wrong with the ending of a command, whatever its input was."""
    if code not in {0, 1, 2}:
        return f"exit code {code}: {err[-2000:]}"
    if code != 2:
        return "a traceback" if "Traceback" in err else ""
    # What a command tells of its steps comes before.
    lines = err[max(err.find("error: "), 0) :].rstrip("\n").split("\n")
    if "Usage:" in err or out:
        return "usage or output beside an error"
    if sum(line.startswith("error: ") for line in lines) != 1 or not 1 <= len(lines) <= 3:
        return "not one message"
    if "Traceback" in err or "out of memory" in err:
        return "not a clear message"
    if len(err) > _LONGEST_MESSAGE or any(not sign.isprintable() for sign in err.replace("\n", "")):
        return "a message that no terminal should show"
    return ""


def _try(kind: str, index: int, case: Any, work: Path, native: Any) -> Ended:
    native.seek(0)
    native.truncate()
    before, started = _begin_peak(), _processor_time()
    code, fault, err = None, "", ""
    try:
        code, out, err = run_command(case.command)
        seconds, grown = _processor_time() - started, _peak() - before
        fault = fault_of(code, out, err)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if not fault and code != 2:
            fault = case.judge(code, out) or ""
    except BaseException:
        seconds, grown = _processor_time() - started, _peak() - before
        fault = _told()
    native.seek(0)
    noise = native.read().decode(errors="replace")
    if not fault and noise.strip():
        fault = f"a library wrote by itself: {noise[:300]}"
    if not fault and seconds > _allowed(work):
        fault = f"{seconds:.1f} s of processor time"
    if not fault and grown > MEMORY:
        fault = f"{grown / 2**20:.0f} MiB of memory"
    return Ended(kind, index, case.label, code, fault, err[:_LONGEST_MESSAGE], seconds, grown / 2**20)


def _allowed(work: Path) -> float:
    """Seconds of processor time for what lies in a folder, on this machine."""
    megabytes = sum(file.stat().st_size for file in work.rglob("*") if file.is_file()) / 1e6
    return scaled() * (SECONDS + SECONDS_PER_MEGABYTE * megabytes)


def _told() -> str:
    """The exception being handled, with the last places it came through."""
    _, error, trace = sys.exc_info()
    places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(trace)]
    return f"{type(error).__name__}: {error!s:.200} at {' '.join(places[-6:])}"


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESS_SPACE, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _begin_peak() -> int:
    """Forget the peak so far (Linux) and say how much memory is in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _processor_time() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.stdin.read()))
