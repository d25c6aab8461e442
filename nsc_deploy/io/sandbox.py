"""Reading apart: what a library that can hang or crash reads of a file, another process reads for us.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. So another
process reads, with a limit on memory and on processor time, and sends what it found. That is a fork of the
caller, which takes milliseconds. A fork can inherit a lock that a thread of the caller held and then waits
for ever, or die of what else it inherited: only an answer of it counts, or that it used up its processor
time. Where it gives none, a process started anew, which inherits nothing, has the last word.
"""

import contextlib
import faulthandler
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BufferedIOBase
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError, UserError

Tree = dict[str, Any]
"""Nested dictionaries of numpy arrays, numpy scalars and text."""
Read = Callable[[Path], Tree]
_SECONDS = 0.7
# A file of nothing but small objects is read at 3 MB/s; the rest is for slower machines.
_BYTES_PER_SECOND = 1e6
_MEMORY = 1024**3
_MEMORY_PER_BYTE = 64
# Of the clock, and not of the processor: a busy machine may let a process wait.
_LONGEST_FORK = 20.0
_LONGEST_WAIT = 60.0


def read_apart(path: Path, read: Read, kind: type[UserError] = GraphError) -> Tree:
    """What `read` makes of a file, in another process.

    Args:
        path: the file; its size sets the limits.
        read: a function of a module; it may raise `UserError` alone.
        kind: the error to raise.

    Raises:
        UserError: of `kind`; what `read` said, or that it did not come to an end.
    """
    answer = _ask_fork(path, read) if sys.platform == "linux" else None
    if answer is None:
        answer = _ask_new_process(path, read)
    if isinstance(answer, UserError):
        raise kind(answer.problem, where=answer.where, hint=answer.hint)
    return answer


def _ask_fork(path: Path, read: Read) -> Tree | UserError | None:
    """What a fork of this process reads in a file; None where it died or got stuck."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: what if there are other threads
        child = os.fork()
    if child == 0:
        _be_the_fork(path, read, writing)
    os.close(writing)
    answer = None
    try:
        with os.fdopen(reading, "rb") as stream:
            # A fork that begins to answer holds no lock of ours, and comes to an end.
            if select.select([stream], [], [], max(0.0, _LONGEST_FORK + _share(path)))[0]:
                answer = receive_answer(stream)
    finally:
        out_of_time = _wait_for(child, stuck=answer is None)
    return _not_read(path) if answer is None and out_of_time else answer


def _share(path: Path) -> float:
    """Seconds that the size of a file earns it."""
    return path.stat().st_size / _BYTES_PER_SECOND


def _wait_for(child: int, *, stuck: bool) -> bool:
    """Wait for a fork, which dies first if it is stuck; whether it ended for its processor time."""
    if stuck:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:  # whoever ignores SIGCHLD has no children to wait for
        return False
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF


def _be_the_fork(path: Path, read: Read, writing: int) -> None:
    """The rest of the fork's life; nothing of the caller's runs on in it."""
    try:
        faulthandler.disable()
        gc.disable()  # it would go through all that the caller holds, and copy it
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        with os.fdopen(writing, "wb") as stream:
            _answer(path, read, stream)
    finally:
        os._exit(0)


def _ask_new_process(path: Path, read: Read) -> Tree | UserError:
    # -P: what lies in the working folder is no module of ours.
    start = f"from {__name__} import main; main()"
    command = [sys.executable, "-P", "-c", start, str(path.absolute()), read.__module__, read.__name__]
    places = os.pathsep.join(place for place in sys.path if place)
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            command, env=environment, capture_output=True, timeout=_LONGEST_WAIT + _share(path), check=False
        )
        answer = receive_answer(io.BytesIO(ended.stdout))
        return _not_read(path) if answer is None else answer
    return _not_read(path)


def main() -> None:
    """The new process: what is in a file, or what is wrong with it, to the standard output."""
    path, module, name = sys.argv[1:]
    _answer(Path(path), getattr(importlib.import_module(module), name), sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)


def _answer(path: Path, read: Read, stream: BinaryIO) -> None:
    """Read a file within limits that end this process, and send what is in it or what is wrong with it."""
    size = path.stat().st_size
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, _at_most(_resident() + memory))
    signal.setitimer(signal.ITIMER_PROF, _SECONDS + _share(path))
    try:
        answer: Tree | UserError = read(path)
    except UserError as error:
        answer = error
    signal.setitimer(signal.ITIMER_PROF, 0)  # what is to be sent has an end
    send_answer(answer, stream)


def _not_read(path: Path) -> UserError:
    return UserError(
        "is not a readable HDF5 file (the HDF5 library does not get to its end)",
        where=path,
        hint="It is damaged or of another format.",
    )


def _at_most(memory: int) -> tuple[int, int]:
    """A limit that does not go beyond the one there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return (memory if hard == resource.RLIM_INFINITY else min(memory, hard)), hard


def _resident() -> int:
    """Address space in use, or nothing where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0


def send_answer(answer: Tree | UserError, stream: BinaryIO) -> None:
    """Send a tree, or why there is none: JSON with the form of each array, then the arrays in a row."""
    if isinstance(answer, UserError):
        complaint = {"problem": answer.problem, "where": answer.where, "hint": answer.hint}
        return _send_head(complaint, stream, complaint=True)
    numbers: list[NDArray[Any]] = []

    def head(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: head(one) for name, one in value.items()}
        if isinstance(value, str):
            return value
        if value.dtype.hasobject:  # texts of any length, which may be no UTF-8
            return value.shape, [text.decode("latin-1") for text in value.flat]
        numbers.append(np.asarray(value))
        return value.shape, value.dtype.str

    _send_head(head(answer), stream, complaint=False)
    for array in numbers:
        stream.write(array.data)
    return None


def _send_head(head: dict[str, Any], stream: BinaryIO, *, complaint: bool) -> None:
    content = json.dumps([complaint, head]).encode()
    stream.write(len(content).to_bytes(8, "little") + content)


def receive_answer(stream: BufferedIOBase) -> Tree | UserError | None:
    """What `send_answer` sent; None where its process died before the end."""

    def made(head: Any) -> Any:
        if isinstance(head, dict):
            return {name: made(one) for name, one in head.items()}
        if isinstance(head, str):
            return head
        shape, content = head
        if isinstance(content, list):
            return np.array([text.encode("latin-1") for text in content], object).reshape(shape)
        array = np.empty(shape, content)
        if stream.readinto(array.reshape(-1).view(np.uint8).data) != array.nbytes:
            raise EOFError
        return array if shape else array[()]

    try:
        complaint, head = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        return UserError(**head) if complaint else made(head)
    except (EOFError, ValueError):
        return None
