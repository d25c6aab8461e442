"""A tree of groups and arrays, read from an HDF5 file with distrust.

Sizes, types and links are looked at before anything is allocated. A damaged file can still make the HDF5
library run without end, take all memory or end the process: see `nsc_deploy.io.sandbox`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g, h5l, h5o, h5p, h5s, h5t
from numpy.typing import NDArray

from nsc_deploy.errors import GraphError
from nsc_deploy.io.sandbox import Tree
from nsc_deploy.io.text import CONTROL, printable

MAX_UNPACKED_BYTES = 4 * 1024**3
MAX_OBJECTS = 400_000
MAX_DEPTH = 40
# Deflate packs 1032 bytes into one at best; the rest is for the frame of a small chunk.
_BEST_COMPRESSION = 1100
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError, OverflowError, UnicodeError, MemoryError)


def read_tree(path: Path) -> Tree:
    """The "node" group of a NIR file as nested dictionaries of numpy arrays, numpy scalars and text.

    Raises:
        GraphError: damaged, without such a group, or holding links out of the tree or back into it, too many
            or too large objects, or types that are neither numbers nor text.
    """
    with _open(path) as stream:
        if not isinstance(stream.get("node"), h5py.Group):
            raise GraphError("is an HDF5 file but holds no NIR graph", where=path)
        try:
            return _read(stream["node"].id, _Budget(MAX_OBJECTS, MAX_UNPACKED_BYTES), set(), "/node", 0)
        except GraphError as error:
            raise GraphError(error.problem, where=path, hint=error.hint) from error


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; damage anywhere the caller looks is a `GraphError`."""
    try:
        # Every chunk is read once, so a cache of chunks, made anew for each data set, is only in the way.
        with h5py.File(path, "r", rdcc_nslots=1, rdcc_nbytes=0) as stream:
            yield stream
    except _DAMAGE as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise GraphError(
            f"is not a readable HDF5 file ({reason})",
            where=path,
            hint="It is damaged or of another format: name a NIR file, or write this one again.",
        ) from error


@dataclass
class _Budget:
    """What may still be read of one file, and the types met in it, each of which takes long to translate."""

    objects: int
    bytes: int
    types: list[tuple[h5t.TypeID, NDArray[Any], h5t.TypeID]] = field(default_factory=list)

    def empty_of(self, stored: h5t.TypeID, place: str) -> tuple[NDArray[Any], h5t.TypeID]:
        """An array of a stored type, of no size, and the type that HDF5 writes into such an array."""
        for known, empty, written in self.types:
            if known.equal(stored):
                return empty, written
        dtype = stored.dtype
        if h5py.check_string_dtype(dtype) is None and dtype.kind not in "fiubS":
            raise GraphError(f"holds {dtype} in {place}, neither numbers nor text")
        empty, written = np.empty(0, dtype), h5t.py_create(dtype)
        self.types.append((stored, empty, written))
        return empty, written


def _read(group: h5g.GroupID, budget: _Budget, seen: set[Any], place: str, depth: int) -> Tree:
    # Through h5py's lower interface: a deep network is many small objects, and its upper one takes twice
    # as long for each.
    address = h5o.get_info(group).addr
    if depth > MAX_DEPTH or address in seen:
        raise GraphError(f"holds the group {place} inside itself or nested too deep")
    seen.add(address)
    links: list[tuple[bytes, int]] = []
    group.links.iterate(lambda key, info: links.append((key, info.type)), info=True)
    tree: Tree = {}
    for key, kind in links:
        name = _name(key)
        budget.objects -= 1
        if budget.objects < 0:
            raise GraphError(f"holds more than {MAX_OBJECTS} objects")
        here = f"{place}/{name}"
        if kind != h5l.TYPE_HARD:
            raise GraphError(f"holds the link {here} to another place, which is never followed")
        item = h5o.open(group, key)
        if isinstance(item, h5g.GroupID):
            tree[name] = _read(item, budget, seen, here, depth + 1)
        elif isinstance(item, h5d.DatasetID):
            tree[name] = _value(item, budget, here)
        else:
            raise GraphError(f"holds {here}, neither a group nor a data set")
    return tree


def _name(key: bytes) -> str:
    try:
        name: str | bytes = key.decode("utf-8")
    except UnicodeDecodeError:
        name = key
    if isinstance(name, bytes) or CONTROL.search(name):
        raise GraphError(f"holds the name {printable(repr(name), 60)}, which is no text that can be shown")
    return name


def _value(dataset: h5d.DatasetID, budget: _Budget, place: str) -> Any:
    empty, written = budget.empty_of(dataset.get_type(), place)
    created = dataset.get_create_plist()
    layout = created.get_layout()
    if created.get_external_count() or layout == h5d.VIRTUAL:
        raise GraphError(f"keeps {place} in another file, which is never opened")
    space = dataset.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        raise GraphError(f"holds nothing in {place}")
    shape = space.get_simple_extent_dims()
    claimed = prod((*shape, empty.itemsize))
    budget.bytes -= claimed
    if budget.bytes < 0:
        raise GraphError(f"claims the shape {shape} for {place}, more than this tool reads")
    if _lacks_data(dataset, created, layout, shape, empty.itemsize):
        raise GraphError(f"claims the shape {shape} for {place} but does not hold that much")
    array = np.empty(shape, empty.dtype)
    if array.size:
        dataset.read(h5s.ALL, h5s.ALL, array, written)
    value: Any = array if shape else array[()]
    if not isinstance(value, bytes):
        return value
    read = value.decode("utf-8")
    if CONTROL.search(read):
        raise GraphError(f"holds control characters in {place}")
    return read


def _lacks_data(
    dataset: h5d.DatasetID, created: h5p.PropDCID, layout: int, shape: tuple[int, ...], item: int
) -> bool:
    """Whether stored bytes cannot fill the shape: HDF5 would allocate it and put zeros in."""
    claimed = prod((*shape, item))
    packing = _BEST_COMPRESSION if created.get_nfilters() else 1
    if claimed > dataset.get_storage_size() * packing:
        return True
    if layout != h5d.CHUNKED:
        return False
    chunk = created.get_chunk()
    wanted = prod(-(-size // width) for size, width in zip(shape, chunk, strict=True))
    return prod((*chunk, item)) > max(claimed, 1) * 4 or dataset.get_num_chunks() != wanted
