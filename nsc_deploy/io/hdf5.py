"""HDF5 read with distrust: nothing is allocated before its claimed size, type and place were looked at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import h5py

from nsc_deploy.errors import GraphError
from nsc_deploy.io.text import control, printable
from nsc_deploy.refusals import unreadable

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
        raise GraphError("is not a file", where=path, remedy="Name a NIR file, RUN/receiver.nir for example.")
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
            remedy="It is damaged or of another format: name a NIR file, or write this one again.",
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
            raise GraphError(error.problem, where=path, remedy=error.remedy) from error


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
