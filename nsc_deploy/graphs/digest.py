"""A fingerprint of a graph, kept in its metadata so that a flipped bit does not pass for a weight."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

KEY = "digest"


def graph_digest(tree: Mapping[str, Any]) -> str:
    """SHA-256 over a graph as `NIRGraph.to_dict` gives it, the digest itself left out.

    The same before a file is written and after it is read: independent of the order of names, and of
    whether a number is kept as Python's or as numpy's.
    """
    state = hashlib.sha256()
    _feed(state, tree, "")
    return state.hexdigest()


def _feed(state: Any, value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            if not (name == KEY and path == "/metadata"):
                _feed(state, value[name], f"{path}/{name}")
        return
    array = _canonical(value)
    if array.size:
        state.update(f"{path}|{array.dtype.str}|{array.shape}|".encode())
        state.update(np.ascontiguousarray(array).tobytes())


def _canonical(value: Any) -> np.ndarray[Any, Any]:
    """Text as UTF-8 bytes; numbers without regard to the container and the byte order."""
    if isinstance(value, str | bytes):
        return np.frombuffer(value.encode() if isinstance(value, str) else value, dtype=np.uint8)
    array = np.asarray(value)
    if array.dtype.kind in "OSU":
        text = "\0".join(
            item.decode() if isinstance(item, bytes) else str(item) for item in array.reshape(-1)
        )
        return np.frombuffer(text.encode(), dtype=np.uint8)
    if array.dtype.kind in "iub":
        return array.astype("<i8")
    return array.astype(array.dtype.newbyteorder("<"))
