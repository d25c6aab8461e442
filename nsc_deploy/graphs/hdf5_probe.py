"""Whether an HDF5 file can be read at all, tried out in a process of its own.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. The
process that tries has a limit on memory and on processor time, so that none of it reaches the caller.

It is a fork of the caller, which takes milliseconds. A fork can inherit a lock that a thread of the caller
held and then waits for ever, or die of what else it inherited: only an answer of it counts, or that it used
up its processor time. Where it gives none, a process started anew, which inherits nothing, has the last word.
"""

import contextlib
import faulthandler
import gc
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from nsc_deploy.errors import GraphError
from nsc_deploy.io.hdf5 import read_file

_SECONDS = 0.7
# A file of nothing but small objects is read at 3 MB/s; the rest is for slower machines.
_BYTES_PER_SECOND = 1e6
_MEMORY = 1024**3
_MEMORY_PER_BYTE = 64
# Of the clock, and not of the processor: a busy machine may let a process wait.
_LONGEST_FORK = 20.0
_LONGEST_WAIT = 60.0
_DAMAGED = "is not a readable HDF5 file (the HDF5 library does not get to its end)"
_REMEDY = "It is damaged or of another format."


def probe(path: Path) -> None:
    """Read all of a file once in another process.

    Raises:
        GraphError: what the reader there said, or that it did not come to an end.
    """
    answer = _of_a_fork(path) if sys.platform == "linux" else None
    if answer is None:
        answer = _of_a_new_process(path)
    try:
        complaint = json.loads(answer)
    except ValueError as error:
        raise GraphError(_DAMAGED, where=path, remedy=_REMEDY) from error
    if complaint is not None:
        raise GraphError(**complaint)


def _of_a_fork(path: Path) -> bytes | None:
    """What a fork of this process says of a file: nothing in time, or None where it died or got stuck."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: what if there are other threads
        child = os.fork()
    if child == 0:
        _be_the_fork(path, writing)
    os.close(writing)
    said = None
    try:
        said = _listened(reading, time.monotonic() + _LONGEST_FORK + path.stat().st_size / _BYTES_PER_SECOND)
    finally:
        os.close(reading)
        out_of_time = _ended(child, stuck=said is None)
    return said or (b"" if out_of_time else None)


def _ended(child: int, *, stuck: bool) -> bool:
    """Wait for a fork, which dies first if it is stuck; whether it ended for its processor time."""
    if stuck:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # whoever ignores SIGCHLD has no children to wait for
        return False
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF


def _be_the_fork(path: Path, writing: int) -> None:
    """The rest of the fork's life; nothing of the caller's runs on in it."""
    try:
        faulthandler.disable()
        gc.disable()  # it would go through all that the caller holds, and copy it
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        os.write(writing, _answer(path).encode())
    finally:
        os._exit(0)


def _listened(reading: int, deadline: float) -> bytes | None:
    said = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            piece = os.read(reading, 2**16)
            if not piece:
                return said
            said += piece
    return None


def _of_a_new_process(path: Path) -> bytes:
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=_LONGEST_WAIT, check=False
        ).stdout
    except subprocess.TimeoutExpired:
        return b""


def main() -> None:
    """The new process: print null, or what is wrong as JSON."""
    sys.stdout.write(_answer(Path(sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)


def _answer(path: Path) -> str:
    """Null, or what is wrong with a file, as JSON; within limits that end this process."""
    size = path.stat().st_size
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, _at_most(_resident() + memory))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + size / _BYTES_PER_SECOND)
    try:
        read_file(path)
    except GraphError as error:
        return json.dumps({"problem": error.problem, "where": error.where, "remedy": error.remedy})
    return json.dumps(None)


def _at_most(memory: int) -> tuple[int, int]:
    """A limit that does not go beyond the one there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return (memory if hard == resource.RLIM_INFINITY else min(memory, hard)), hard


def _resident() -> int:
    """Address space in use, or nothing where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0
