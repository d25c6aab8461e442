"""HDF5 read with distrust: nothing is allocated before its claimed size, type and place were looked at.

Whether an HDF5 file can be read at all, tried out in a process of its own.

The HDF5 library runs without end, takes all memory or ends the process on some damaged files. The
process that tries has a limit on memory and on processor time, so that none of it reaches the caller.

It is a fork of the caller, which takes milliseconds. A fork can inherit a lock that a thread of the caller
held and then waits for ever, or die of what else it inherited: only an answer of it counts, or that it used
up its processor time. Where it gives none, a process started anew, which inherits nothing, has the last word.

A checksum behind the last byte of a file, so that a flipped bit does not pass for a weight.

HDF5 readers stop at the end that the file's own header states and never see it. A tool that writes the
file anew leaves it out, and the file is then one of another tool.
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
from nsc_deploy.io.files import unreadable
from nsc_deploy.io.text import control, printable

MAX_FILE_BYTES = 4 * 1024**3
MAX_UNPACKED_BYTES = 4 * 1024**3
MAX_OBJECTS = 400_000
MAX_DEPTH = 40
# Deflate packs 1032 bytes into one at best; the rest is for the frame of a small chunk.
_BEST_COMPRESSION = 1100
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, UnicodeError, MemoryError)


def check_size(path: Path) -> None:
    """Look at a file before anything reads it.

    Raises:
        GraphError: missing, not an ordinary file, or larger than 4 GiB.
    """
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
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        GraphError: not HDF5, or damaged anywhere the caller looks.
    """
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


def read_file(path: Path) -> dict[str, Any]:
    """The graph of a NIR file, its "node" group, as `read_tree` gives it.

    Raises:
        GraphError: as `opened` and `read_tree` do, or there is no such group.
    """
    with opened(path) as stream:
        if not isinstance(stream.get("node"), h5py.Group):
            raise GraphError("is an HDF5 file but holds no NIR graph", where=path)
        try:
            return read_tree(stream["node"])
        except GraphError as error:
            raise GraphError(error.problem, where=path, hint=error.hint) from error


@dataclass
class _Budget:
    """What may still be read of one file."""

    objects: int
    bytes: int


def read_tree(group: h5py.Group) -> dict[str, Any]:
    """A group as nested dictionaries of numpy arrays, numpy scalars and text.

    Raises:
        GraphError: links out of the tree or back into it, too deep, too large, or types that are neither
            numbers nor text.
    """
    return _read(group, _Budget(MAX_OBJECTS, MAX_UNPACKED_BYTES), set(), 0)


def _read(group: h5py.Group, budget: _Budget, seen: set[Any], depth: int) -> dict[str, Any]:
    address = h5py.h5o.get_info(group.id).addr
    if depth > MAX_DEPTH or address in seen:
        raise GraphError(f"holds the group {group.name} inside itself or nested too deep")
    seen.add(address)
    tree: dict[str, Any] = {}
    for name in group:
        # h5py gives out as bytes what is not UTF-8.
        if not isinstance(name, str) or control(name):
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
    if control(read):
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


_SECONDS = 0.7
# A file of nothing but small objects is read at 3 MB/s; the rest is for slower machines.
_BYTES_PER_SECOND = 1e6
_MEMORY = 1024**3
_MEMORY_PER_BYTE = 64
# Of the clock, and not of the processor: a busy machine may let a process wait.
_LONGEST_FORK = 20.0
_LONGEST_WAIT = 60.0
_DAMAGED = "is not a readable HDF5 file (the HDF5 library does not get to its end)"
_HINT = "It is damaged or of another format."


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
        raise GraphError(_DAMAGED, where=path, hint=_HINT) from error
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


_MARK = b"\nnsc-deploy sha256 "
_LENGTH = len(_MARK) + 64
_PIECE = 2**20


def sealed(content: bytes) -> bytes:
    """The content of a file with its checksum behind it."""
    return content + _MARK + hashlib.sha256(content).hexdigest().encode()


def refuse_broken_seal(path: Path) -> None:
    """Hold a file that ends in a checksum against it; a file without one passes.

    Raises:
        GraphError: missing, or its content is not what the checksum was made of.
    """
    try:
        stated, found = _digests(path)
    except OSError as error:
        raise unreadable(path, error, GraphError) from error
    if stated is not None and stated != found:
        raise GraphError(
            "is damaged: its content and its checksum differ",
            where=path,
            hint="Take it from its source again; to keep a deliberate edit, write it anew with nir.write.",
        )


def _digests(path: Path) -> tuple[bytes | None, bytes]:
    """The checksum behind a file's content, or None, and that of its content, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        left = max(stream.seek(0, os.SEEK_END) - _LENGTH, 0)
        stream.seek(left)
        end = stream.read(_LENGTH)
        if not end.startswith(_MARK):
            return None, b""
        stream.seek(0)
        while left > 0 and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
    return end[len(_MARK) :], digest.hexdigest().encode()
