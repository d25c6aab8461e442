"""HDF5 files read with distrust: sizes, types and links are looked at before anything is allocated.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. So a file is
first read by another process with a limit on memory and on processor time. That is a fork of the caller,
which takes milliseconds. A fork can inherit a lock that a thread of the caller held and then waits for ever,
or die of what else it inherited: only an answer of it counts, or that it used up its processor time. Where
it gives none, a process started anew, which inherits nothing, has the last word.

Files of this tool end in a seal, the SHA-256 of what lies before, so that a flipped bit does not pass for a
weight. HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes
the file anew leaves it out, and the file is then one of another tool. Anybody can make a seal, so it spares
no file the trial; but content that this process has tried out, or written itself, is known by its digest.
"""

import contextlib
import faulthandler
import gc
import hashlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py

from nsc_deploy.errors import GraphError
from nsc_deploy.io.files import unreadable, write_bytes
from nsc_deploy.io.text import CONTROL, printable

Tree = dict[str, Any]
MAX_FILE_BYTES = 4 * 1024**3
MAX_UNPACKED_BYTES = 4 * 1024**3
MAX_OBJECTS = 400_000
MAX_DEPTH = 40
# Deflate packs 1032 bytes into one at best; the rest is for the frame of a small chunk.
_BEST_COMPRESSION = 1100
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, UnicodeError, MemoryError)
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
    """The "node" group of a NIR file, after its size, its seal and a trial in another process.

    Returns:
        Nested dictionaries of numpy arrays, numpy scalars and text.

    Raises:
        GraphError: missing, larger than 4 GiB, damaged, without such a group, or holding links out of the
            tree or back into it, too many or too large objects, or types that are neither numbers nor text.
    """
    _check_size(path)
    digest = sealed_digest(path)
    if digest not in _harmless:
        probe(path)
    if digest is not None:
        _harmless.add(digest)
    return _read_unprobed(path)


def write_sealed(path: Path, content: bytes) -> None:
    """Write an HDF5 file that this process made, sealed, whole or not at all; it needs no trial here.

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


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; damage anywhere the caller looks is a `GraphError`."""
    try:
        with h5py.File(path, "r") as stream:
            yield stream
    except _DAMAGE as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise GraphError(
            f"is not a readable HDF5 file ({reason})",
            where=path,
            hint="It is damaged or of another format: name a NIR file, or write this one again.",
        ) from error


def _read_unprobed(path: Path) -> Tree:
    with _open(path) as stream:
        if not isinstance(stream.get("node"), h5py.Group):
            raise GraphError("is an HDF5 file but holds no NIR graph", where=path)
        try:
            return _read(stream["node"], _Budget(MAX_OBJECTS, MAX_UNPACKED_BYTES), set(), 0)
        except GraphError as error:
            raise GraphError(error.problem, where=path, hint=error.hint) from error


@dataclass
class _Budget:
    """What may still be read of one file."""

    objects: int
    bytes: int


def _read(group: h5py.Group, budget: _Budget, seen: set[Any], depth: int) -> Tree:
    address = h5py.h5o.get_info(group.id).addr
    if depth > MAX_DEPTH or address in seen:
        raise GraphError(f"holds the group {group.name} inside itself or nested too deep")
    seen.add(address)
    tree: Tree = {}
    for name in group:
        # h5py gives out as bytes what is not UTF-8.
        if not isinstance(name, str) or CONTROL.search(name):
            raise GraphError(
                f"holds the name {printable(repr(name), 60)}, which is no text that can be shown"
            )
        budget.objects -= 1
        if budget.objects < 0:
            raise GraphError(f"holds more than {MAX_OBJECTS} objects")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise GraphError(f"holds the link {group.name}/{name} to another place, which is never followed")
        item = group[name]
        if isinstance(item, h5py.Group):
            tree[name] = _read(item, budget, seen, depth + 1)
        elif isinstance(item, h5py.Dataset):
            tree[name] = _value(item, budget)
        else:
            raise GraphError(f"holds {group.name}/{name}, neither a group nor a data set")
    return tree


def _value(dataset: h5py.Dataset, budget: _Budget) -> Any:
    text = h5py.check_string_dtype(dataset.dtype)
    if text is None and dataset.dtype.kind not in "fiubS":
        raise GraphError(f"holds {dataset.dtype} in {dataset.name}, neither numbers nor text")
    if dataset.external or dataset.is_virtual:
        raise GraphError(f"keeps {dataset.name} in another file, which is never opened")
    if dataset.shape is None:
        raise GraphError(f"holds nothing in {dataset.name}")
    claimed = prod((*dataset.shape, dataset.dtype.itemsize))
    budget.bytes -= claimed
    if budget.bytes < 0:
        raise GraphError(f"claims the shape {dataset.shape} for {dataset.name}, more than this tool reads")
    _refuse_missing_data(dataset, claimed)
    value = dataset[()]
    if not isinstance(value, bytes):
        return value
    read = value.decode("utf-8")
    if CONTROL.search(read):
        raise GraphError(f"holds control characters in {dataset.name}")
    return read


def _refuse_missing_data(dataset: h5py.Dataset, claimed: int) -> None:
    """A shape that its stored bytes cannot fill: HDF5 would allocate it and put zeros in."""
    stored = dataset.id.get_storage_size()
    packed = dataset.id.get_create_plist().get_nfilters() > 0
    missing = claimed > stored * (_BEST_COMPRESSION if packed else 1)
    if dataset.chunks is not None and not missing:
        chunk = prod((*dataset.chunks, dataset.dtype.itemsize))
        wanted = prod(-(-size // width) for size, width in zip(dataset.shape, dataset.chunks, strict=True))
        missing = chunk > max(claimed, 1) * 4 or dataset.id.get_num_chunks() != wanted
    if missing:
        raise GraphError(f"claims the shape {dataset.shape} for {dataset.name} but does not hold that much")


_DAMAGED = "is not a readable HDF5 file (the HDF5 library does not get to its end)"
_HINT = "It is damaged or of another format."


def probe(path: Path) -> None:
    """Read all of a file once in another process.

    Raises:
        GraphError: what the reader there said, or that it did not come to an end.
    """
    answer = _ask_fork(path) if sys.platform == "linux" else None
    if answer is None:
        answer = _ask_new_process(path)
    try:
        complaint = json.loads(answer)
    except ValueError as error:
        raise GraphError(_DAMAGED, where=path, hint=_HINT) from error
    if complaint is not None:
        raise GraphError(**complaint)


def _ask_fork(path: Path) -> bytes | None:
    """What a fork of this process says of a file: nothing in time, or None where it died or got stuck."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: what if there are other threads
        child = os.fork()
    if child == 0:
        _be_the_fork(path, writing)
    os.close(writing)
    answer = None
    try:
        answer = _listen(reading, time.monotonic() + _LONGEST_FORK + path.stat().st_size / _BYTES_PER_SECOND)
    finally:
        os.close(reading)
        out_of_time = _wait_for(child, stuck=answer is None)
    return answer or (b"" if out_of_time else None)


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
        os.write(writing, _answer(path).encode())
    finally:
        os._exit(0)


def _listen(reading: int, deadline: float) -> bytes | None:
    answer = b""
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reading], [], [], left)[0]:
            piece = os.read(reading, 2**16)
            if not piece:
                return answer
            answer += piece
    return None


def _ask_new_process(path: Path) -> bytes:
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
    signal.setitimer(signal.ITIMER_PROF, _PROBE_SECONDS + size / _BYTES_PER_SECOND)
    try:
        _read_unprobed(path)
    except GraphError as error:
        return json.dumps({"problem": error.problem, "where": error.where, "hint": error.hint})
    return json.dumps(None)


def _at_most(memory: int) -> tuple[int, int]:
    """A limit that does not go beyond the one there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    return (memory if hard == resource.RLIM_INFINITY else min(memory, hard)), hard


def _resident() -> int:
    """Address space in use, or nothing where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else 0
