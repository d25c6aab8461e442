"""Archives of arrays as nobody should write them: bombs, pickles, false headers, names twice."""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.robustness.fuzz.byte_edits import NASTY_TEXTS, flip_bytes

Arrays = dict[str, Any]
Edit = Callable[[random.Random, dict[str, bytes]], str]


def change_npz(chance: random.Random, content: bytes) -> tuple[str, bytes]:
    """Bytes changed, an array exchanged, or the archive written in an odd way."""
    how = chance.random()
    if how < 0.3:
        return flip_bytes(chance, content)
    with np.load(io.BytesIO(content)) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    members = {f"{name}.npy": _npy(value) for name, value in arrays.items()}
    if how < 0.7:
        label = _exchange(chance, arrays, members)
        return label, _zipped(list(members.items()))
    if how < 0.8:
        name = chance.choice(sorted(members))
        label, members[name] = flip_bytes(chance, members[name])
        return f"{name}: {label}", _zipped(list(members.items()))
    return _odd_archive(chance, members)


def _npy(value: Any) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(value), allow_pickle=True)
    return stream.getvalue()


def _zipped(members: list[tuple[str, bytes]], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


def _exchange(chance: random.Random, arrays: Arrays, members: dict[str, bytes]) -> str:
    name = chance.choice(sorted(arrays))
    old = arrays[name]
    kind = chance.randrange(12)
    if kind == 0:
        del members[f"{name}.npy"]
        return f"{name} taken out"
    values: list[Any] = [
        np.nan, np.inf, -1, 0, 2**62, np.array([]), np.array("text"), np.array(b"\xff"), np.array([None, {}]),
        np.zeros((0, 3, 4)), np.array([5, 3, -6]), np.array([2**40, 2**40, 2**40]), np.array([5, 0, 6]),
        np.array([1, 1, 1, 1, 1]), 1j, np.zeros(3, "M8[s]"), np.zeros(3, [("a", "f4")]), np.float16(1), True,
        np.array(chance.choice([text for text in NASTY_TEXTS if "\ud800" not in text and "\0" not in text])),
    ]  # fmt: skip
    if isinstance(old, np.ndarray) and old.size:
        spoilt = old.astype(np.float64) if old.dtype.kind in "iuf" else old
        spoilt = np.array(spoilt)
        if spoilt.dtype.kind == "f":
            spoilt.flat[chance.randrange(old.size)] = chance.choice([np.nan, np.inf, 1e300, -1.0])
        other = np.array(old)
        other.flat[chance.randrange(old.size)] += 1
        low = np.array(old)
        low.flat[chance.randrange(old.size)] = np.iinfo(old.dtype).min if old.dtype.kind in "iu" else -1e30
        values += [
            spoilt,
            other,
            other,
            low,
            old[None],
            old.reshape(-1)[:-1],
            old.astype("f8"),
            old.astype("i8"),
        ]
        values += [old.astype(old.dtype.newbyteorder(">")), np.asfortranarray(old), old.astype("i2"), -old]
    value = chance.choice(values)
    members[f"{name}.npy"] = _npy(value)
    return f"{name} is {value!r:.60}"


def _odd_archive(chance: random.Random, members: dict[str, bytes]) -> tuple[str, bytes]:  # noqa: PLR0911
    name = chance.choice(sorted(members))
    listed = list(members.items())
    kind = chance.randrange(12)
    if kind == 0:
        return f"{name} twice", _zipped([*listed, (name, _npy(np.zeros(2)))])
    if kind == 1:
        bomb = (name, _npy(np.zeros(chance.choice([2**22, 2**25]), np.float64)))
        return "a bomb", _zipped([one for one in listed if one[0] != name] + [bomb])
    if kind == 2:
        return "a false header", _zipped(
            [(one, _header(chance) if one == name else data) for one, data in listed]
        )
    if kind == 3:
        odd = chance.choice(["../../evil.npy", "/etc/evil.npy", "x" * 5000, "\x1b[2J.npy", " ", "folder/"])
        return f"the member {odd[:20]!r}", _zipped([*listed, (odd, _npy(np.zeros(2)))])
    if kind == 4:
        return "packed otherwise", _zipped(listed, chance.choice([zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    if kind == 5:
        return "empty", _zipped([])
    if kind == 6:
        return "within itself", _zipped([(name, _zipped(listed))])
    if kind == 7:
        return "many members", _zipped(listed + [(f"m{i}.npy", _npy(i)) for i in range(3000)])
    whole = bytearray(_zipped(listed))
    directory = whole.rfind(b"PK\x01\x02")
    if kind == 8:  # encrypted, by the flag
        whole[directory + 8] |= 1
        return "encrypted", bytes(whole)
    if kind == 9:  # a size that the data do not have
        offset = chance.choice([20, 24])
        whole[directory + offset : directory + offset + 4] = struct.pack(
            "<I", chance.choice([0, 2**31, 2**32 - 2])
        )
        return f"a false size at {offset}", bytes(whole)
    if kind == 10:
        whole[directory + 42 : directory + 46] = struct.pack("<I", chance.choice([0, 7, 2**31]))
        return "a false offset", bytes(whole)
    return "something before and behind", b"#!/bin/sh\n" + bytes(whole) + b"\0" * 300


def _header(chance: random.Random) -> bytes:
    dtype = chance.choice(["'<f4'", "'|O'", "[('a','<f4')]", "'<f999'", "'<U1000000000'"])
    shapes = [
        "(3,)",
        "(-1,)",
        "(1099511627776, 1099511627776)",
        "(3.0,)",
        "3",
        "()",
        "(0, 9223372036854775807)",
    ]
    shape = chance.choice(shapes)
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    text = chance.choice(
        [text, text, "(" * 3000, "__import__('os').system('x')", "9**9**9", "{'a': 'b' * 9}"]
    )
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 12
