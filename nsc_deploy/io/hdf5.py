"""NIR files read with distrust, in another process, and written with a seal.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. So another
process reads a file, with a limit on memory and on processor time, and sends what it holds. That is a fork
of the caller, which takes milliseconds. A fork can inherit a lock that a thread of the caller held and then
waits for ever, or die of what else it inherited: only an answer of it counts, or that it used up its
processor time. Where it gives none, a process started anew, which inherits nothing, has the last word.

Files of this tool end in a seal, the SHA-256 of what lies before, so that a flipped bit does not pass for a
weight. HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes
the file anew leaves it out, and the file is then one of another tool. Anybody can make a seal, so it spares
no file the other process; but content that has been read there, or written here, is known by its digest.
"""

import contextlib
import faulthandler
import gc
import hashlib
import io
import os
import resource
import select
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import BinaryIO

from nsc_deploy.errors import GraphError
from nsc_deploy.io.files import unreadable, write_bytes
from nsc_deploy.io.tree import Tree, read_tree, receive_answer, send_answer

MAX_FILE_BYTES = 4 * 1024**3
_PROBE_SECONDS = 0.7
# A file of nothing but small objects is read at 3 MB/s; the rest is for slower machines.
_BYTES_PER_SECOND = 1e6
_MEMORY = 1024**3
_MEMORY_PER_BYTE = 64
# Of the clock, and not of the processor: a busy machine may let a process wait.
_LONGEST_FORK = 20.0
_LONGEST_WAIT = 60.0
_SEAL = b"\nnsc-deploy sha256 "
_SEAL_BYTES = len(_SEAL) + 64
_PIECE = 2**20
# Digests of sealed contents that the library is known to read to their end.
_harmless: set[bytes] = set()


def read_graph_group(path: Path) -> Tree:
    """The "node" group of a NIR file, after a look at its size and its seal, read in another process.

    Returns:
        Nested dictionaries of numpy arrays, numpy scalars and text.

    Raises:
        GraphError: missing, larger than 4 GiB, damaged, without such a group, or holding links out of the
            tree or back into it, too many or too large objects, or types that are neither numbers nor text.
    """
    _check_size(path)
    digest = sealed_digest(path)
    if digest in _harmless:
        return read_tree(path)
    tree = read_apart(path)
    if digest is not None:
        _harmless.add(digest)
    return tree


def write_sealed(path: Path, content: bytes) -> None:
    """Write an HDF5 file that this process made, sealed, whole or not at all; it is read as it is.

    Raises:
        UserError: the place cannot be written.
    """
    write_bytes(path, sealed(content))
    _harmless.add(_hexdigest(content))


def sealed(content: bytes) -> bytes:
    """The content of a file with its checksum behind it."""
    return content + _SEAL + _hexdigest(content)


def _hexdigest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def sealed_digest(path: Path) -> bytes | None:
    """The checksum that a file ends in, after a comparison with its content; None for a file without one.

    Raises:
        GraphError: missing, or its content is not what the checksum was made of.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            left = max(stream.seek(0, os.SEEK_END) - _SEAL_BYTES, 0)
            stream.seek(left)
            end = stream.read(_SEAL_BYTES)
            if not end.startswith(_SEAL):
                return None
            stream.seek(0)
            while left > 0 and (piece := stream.read(min(_PIECE, left))):
                digest.update(piece)
                left -= len(piece)
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    found = digest.hexdigest().encode()
    if end[len(_SEAL) :] != found:
        raise GraphError(
            "is damaged: its content and its checksum differ",
            where=path,
            hint="Take it from its source again; to keep a deliberate edit, write it anew with nir.write.",
        )
    return found


def _check_size(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    if not path.is_file():
        raise GraphError("is not a file", where=path, hint="Name a NIR file, RUN/receiver.nir for example.")
    if status.st_size > MAX_FILE_BYTES:
        raise GraphError(
            f"has {status.st_size} bytes, more than the {MAX_FILE_BYTES} this tool reads", where=path
        )


def read_apart(path: Path) -> Tree:
    """The "node" group of a file, read in another process.

    Raises:
        GraphError: what the reader there said, or that it did not come to an end.
    """
    answer = _ask_fork(path) if sys.platform == "linux" else None
    if answer is None:
        answer = _ask_new_process(path)
    if isinstance(answer, GraphError):
        raise answer
    return answer


def _ask_fork(path: Path) -> Tree | GraphError | None:
    """What a fork of this process reads in a file; None where it died or got stuck."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: what if there are other threads
        child = os.fork()
    if child == 0:
        _be_the_fork(path, writing)
    os.close(writing)
    answer = None
    try:
        with os.fdopen(reading, "rb") as stream:
            # A fork that begins to answer holds no lock of ours, and comes to an end.
            if select.select([stream], [], [], _longest_fork(path))[0]:
                answer = receive_answer(stream)
    finally:
        out_of_time = _wait_for(child, stuck=answer is None)
    return _not_read(path) if answer is None and out_of_time else answer


def _longest_fork(path: Path) -> float:
    return max(0.0, _LONGEST_FORK + path.stat().st_size / _BYTES_PER_SECOND)


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


def _be_the_fork(path: Path, writing: int) -> None:
    """The rest of the fork's life; nothing of the caller's runs on in it."""
    try:
        faulthandler.disable()
        gc.disable()  # it would go through all that the caller holds, and copy it
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        with os.fdopen(writing, "wb") as stream:
            _answer(path, stream)
    finally:
        os._exit(0)


def _ask_new_process(path: Path) -> Tree | GraphError:
    command = [sys.executable, "-c", f"from {__name__} import main; main()", str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            command, env=environment, capture_output=True, timeout=_LONGEST_WAIT, check=False
        )
        answer = receive_answer(io.BytesIO(ended.stdout))
        return _not_read(path) if answer is None else answer
    return _not_read(path)


def main() -> None:
    """The new process: what is in a file, or what is wrong with it, to the standard output."""
    _answer(Path(sys.argv[1]), sys.stdout.buffer)
    sys.stdout.flush()
    os._exit(0)


def _answer(path: Path, stream: BinaryIO) -> None:
    """Read a file within limits that end this process, and send what is in it or what is wrong with it."""
    size = path.stat().st_size
    memory = _MEMORY + _MEMORY_PER_BYTE * size
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, _at_most(_resident() + memory))
    signal.setitimer(signal.ITIMER_PROF, _PROBE_SECONDS + size / _BYTES_PER_SECOND)
    try:
        answer: Tree | GraphError = read_tree(path)
    except GraphError as error:
        answer = error
    signal.setitimer(signal.ITIMER_PROF, 0)  # what is to be sent has an end
    send_answer(answer, stream)


def _not_read(path: Path) -> GraphError:
    return GraphError(
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
