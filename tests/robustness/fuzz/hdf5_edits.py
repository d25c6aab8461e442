"""Edits of an HDF5 file by its own library: links, shapes, types and names that nobody should write."""

import itertools
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np

from tests.robustness.fuzz.byte_edits import NASTY_TEXTS

TEXT = h5py.string_dtype()
PRIMITIVES = (
    "Affine", "AvgPool2d", "Conv1d", "Conv2d", "CubaLI", "CubaLIF", "Delay", "Flatten", "I", "IF", "Input",
    "LI", "LIF", "Linear", "NIRGraph", "NIRNode", "Output", "Scale", "SumPool2d", "Threshold", "Softmax", "",
)  # fmt: skip

Edit = Callable[[random.Random, h5py.File], str]


def edit_file(chance: random.Random, source: Path, target: Path) -> str:
    """Copy a file and edit the copy; says what was done."""
    shutil.copyfile(source, target)
    labels = []
    with h5py.File(target, "r+") as stream:
        for _ in range(chance.choice([1, 1, 1, 2])):
            edit = chance.choice(EDITS)
            try:
                labels.append(f"{edit.__name__}: {edit(chance, stream)}")
            except (KeyError, ValueError, OSError, TypeError, RuntimeError) as error:
                labels.append(f"{edit.__name__} failed ({error!s:.40})")  # an earlier edit left no place
    return "; ".join(labels)


def _names(stream: h5py.File, kind: type) -> list[str]:
    found: list[str] = []
    stream.visititems(lambda name, item: found.append(name) if isinstance(item, kind) else None)
    return found


def _dataset(chance: random.Random, stream: h5py.File) -> str:
    return chance.choice(_names(stream, h5py.Dataset))


def _node(chance: random.Random, stream: h5py.File) -> str:
    return f"node/nodes/{chance.choice(list(stream['node/nodes']))}"


def take_out(chance: random.Random, stream: h5py.File) -> str:
    name = chance.choice(_names(stream, h5py.Dataset) + _names(stream, h5py.Group))
    del stream[name]
    return name


def replace_value(chance: random.Random, stream: h5py.File) -> str:
    name = _dataset(chance, stream)
    old = stream[name][()]
    values: list[Any] = [
        np.nan, np.inf, -np.inf, 0, -1, 1, 2**62, 1e300, -1e300, 1e-300, True, 1j, np.float16(2), b"\xff\xfe",
        np.array([]), np.zeros((0, 3)), np.zeros((1,) * 32), np.array(b"caf\xe9"), np.full(3, b"\xff"),
        np.zeros(3, dtype=[("a", "f4"), ("b", "i8")]), np.array([1, 2], dtype="i1"), h5py.Empty("f4"),
        np.float128(1) / 3, np.zeros((3, 3, 3, 3)), -np.ones(5), np.arange(5, dtype="u8") + 2**63,
    ]  # fmt: skip
    if isinstance(old, np.ndarray) and old.dtype.kind in "fiu" and old.size:
        spoilt = np.array(old, dtype=np.float64)
        spoilt.flat[chance.randrange(old.size)] = chance.choice([np.nan, np.inf, 1e308, -1e308, 0.0, -1.0])
        other = np.array(old)
        other.flat[chance.randrange(old.size)] += 1
        shapes = [old[..., None], old[:-1], old.T, old.reshape(-1), np.concatenate([old, old])]
        values += [spoilt, other, spoilt, other, *shapes, -old, old * 0, old.astype("f2"), old.astype("i8")]
    value = chance.choice(values)
    del stream[name]
    stream[name] = value
    return f"{name} is {value!r:.60}"


def replace_text(chance: random.Random, stream: h5py.File) -> str:
    name, text = _dataset(chance, stream), chance.choice(NASTY_TEXTS)
    del stream[name]
    raw = text.replace("\x00", "").encode("utf-8", errors="surrogatepass")
    stream.create_dataset(name, data=raw, dtype=TEXT)
    return f"{name} is {text!r:.40}"


def claim_much(chance: random.Random, stream: h5py.File) -> str:
    name = _dataset(chance, stream)
    shape = chance.choice([(2**40,), (2**14, 2**14), (2**20, 2**20, 2**20), (2**31,), (2**26,)])
    chunked = chance.choice([{}, {"chunks": (1024,) * len(shape)} if len(shape) < 3 else {}])
    packed = {"compression": "gzip"} if chunked else {}
    del stream[name]
    stream.create_dataset(name, shape=shape, dtype=chance.choice(["f8", "i1", "f4"]), **chunked, **packed)
    return f"{name} has the shape {shape}"


def pack_a_bomb(chance: random.Random, stream: h5py.File) -> str:
    name, size = _dataset(chance, stream), chance.choice([2**22, 2**25])
    del stream[name]
    zeros = np.zeros((size // 2**11, 2**11), np.float32)
    stream.create_dataset(name, data=zeros, chunks=(zeros.shape[0] // 4, 2**11), compression="gzip")
    return f"{name} unpacks to {4 * size} bytes"


def odd_type(chance: random.Random, stream: h5py.File) -> str:
    name = _dataset(chance, stream)
    del stream[name]
    kind = chance.randrange(5)
    if kind == 0:
        stream.create_dataset(name, data=[stream.ref, stream.ref], dtype=h5py.ref_dtype)
    elif kind == 1:
        many = stream.create_dataset(name, shape=(2,), dtype=h5py.vlen_dtype(np.float32))
        many[0] = [1, 2, 3]
    elif kind == 2:
        stream.create_dataset(name, data=np.array([1, 0]), dtype=h5py.enum_dtype({"a": 0, "b": 1}))
    elif kind == 3:
        stream[name] = np.dtype("f8")
    else:
        stream.create_dataset(name, data=np.array([b"abc"]).astype("V3"))
    return f"{name} ({kind})"


def link_away(chance: random.Random, stream: h5py.File) -> str:
    name = chance.choice(_names(stream, h5py.Dataset) + _names(stream, h5py.Group))
    del stream[name]
    link = chance.choice(
        [h5py.ExternalLink("/etc/passwd", "/x"), h5py.ExternalLink("nothing.h5", "/"), h5py.SoftLink("/node")]
    )
    stream[name] = link
    return f"{name} is {link}"


def link_back(chance: random.Random, stream: h5py.File) -> str:
    name, goal = _node(chance, stream), chance.choice(["node", "node/nodes", "/"])
    stream[f"{name}/{chance.choice(['again', 'nodes', 'type', 'metadata'])}"] = stream[goal]
    return f"{name} holds {goal}"


def same_node_twice(chance: random.Random, stream: h5py.File) -> str:
    name = _node(chance, stream)
    stream[f"{name}_too"] = stream[name]
    return name


def data_elsewhere(chance: random.Random, stream: h5py.File) -> str:
    name = _dataset(chance, stream)
    del stream[name]
    if chance.random() < 0.5:
        stream.create_dataset(name, shape=(4,), dtype="u1", external=[("/etc/hostname", 0, 4)])
        return f"{name} in a file"
    layout = h5py.VirtualLayout(shape=(4,), dtype="u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    stream.create_virtual_dataset(name, layout)
    return f"{name} is virtual"


def nest_deep(chance: random.Random, stream: h5py.File) -> str:
    depth = chance.choice([10, 45, 800])
    name = _node(chance, stream)
    group = stream[name]
    group["type"][()] = "NIRGraph"
    for _ in range(depth):
        group = group.create_group("nodes").create_group("x")
        group.create_dataset("type", data="NIRGraph", dtype=TEXT)
    return f"{name}, {depth} deep"


def nest_itself(chance: random.Random, stream: h5py.File) -> str:
    """A valid nested graph: the whole one in the place of a node."""
    name, times = _node(chance, stream), chance.choice([1, 2, 6])
    for _ in range(times):
        inner = stream.create_group("spare")
        stream.copy("node", inner, "graph")
        del stream[name]
        stream.copy("spare/graph", stream, name)
        del stream["spare"]
    return f"{name}, {times} times"


def odd_name(chance: random.Random, stream: h5py.File) -> str:
    name = _node(chance, stream)
    text = chance.choice([*NASTY_TEXTS, "input", "output.x", "a.b", "x" * 60_000]).replace("\x00", "0")
    raw = chance.choice([text.encode("utf-8", errors="surrogatepass"), b"\xff\xfe\xe9", b"caf\xe9"])
    raw = raw.replace(b"/", b"|") or b"."
    stream["node/nodes"][raw] = stream[name]
    del stream[name]
    if chance.random() < 0.5:  # consistently, so that the graph is whole
        old = name.rsplit("/", 1)[1].encode()
        edges = [[raw if end == old else end for end in edge] for edge in stream["node/edges"][()].tolist()]
        _set_edges(stream, edges)
    return f"{name} is {raw!r:.60}"


def _set_edges(stream: h5py.File, edges: list[Any]) -> None:
    del stream["node/edges"]
    stream.create_dataset("node/edges", data=np.array(edges, dtype=object), dtype=TEXT)


def change_edges(chance: random.Random, stream: h5py.File) -> str:
    edges = stream["node/edges"][()].tolist()
    # What an earlier edit named in no UTF-8 comes as bytes.
    names = [name.encode() if isinstance(name, str) else name for name in stream["node/nodes"]]
    kind = chance.randrange(8)
    if kind == 0:
        edges.pop(chance.randrange(len(edges)))
    elif kind == 1:
        edges.append(chance.choice(edges))
    elif kind == 2:
        edges.append([chance.choice(names), chance.choice(names)])
    elif kind == 3:
        edges.append([*reversed(chance.choice(edges))])
    elif kind == 4:
        edges.append([b"nowhere", chance.choice(names)])
    elif kind == 5:
        edges = [[one, other] for one in names for other in names]
    elif kind == 6:
        chance.shuffle(edges)
    else:
        edges = [edge * 2 for edge in edges]
    _set_edges(stream, edges)
    return str(kind)


def change_type(chance: random.Random, stream: h5py.File) -> str:
    name, kind = _node(chance, stream), chance.choice(PRIMITIVES)
    del stream[f"{name}/type"]
    stream.create_dataset(f"{name}/type", data=kind, dtype=TEXT)
    return f"{name} is {kind}"


def change_metadata(chance: random.Random, stream: h5py.File) -> str:
    group = stream.require_group("node/metadata")
    key = chance.choice(["dt", "reset", "reset_delay", "units", "extra", "signal"])
    if key in group:
        del group[key]
    value = chance.choice(
        [
            np.nan,
            0.0,
            -1.0,
            1e308,
            1e-300,
            "zero",
            "subtract",
            "",
            "\x1b[2J",
            np.ones(3),
            True,
            2**63,
            b"\xff",
        ]
    )
    group[key] = value
    return f"{key} is {value!r:.30}"


def many_nodes(chance: random.Random, stream: h5py.File) -> str:
    kind, count = chance.choice(["chain", "loose", "fan"]), chance.choice([300, 1500])
    nodes = stream["node/nodes"]
    for index in range(count):
        group = nodes.create_group(f"more{index}")
        group.create_dataset("type", data="Scale", dtype=TEXT)
        group["scale"] = np.ones(2)
    if kind != "loose":
        chain = [[f"more{i}", f"more{i + 1}"] for i in range(count - 1)]
        fan = [[f"more{i}", f"more{count - 1}"] for i in range(count - 1)]
        edges = stream["node/edges"][()].tolist()
        _set_edges(stream, edges + (chain if kind == "chain" else fan))
    return f"{count} in a {kind}"


def odd_padding(chance: random.Random, stream: h5py.File) -> str:
    fields = [
        name
        for name in _names(stream, h5py.Dataset)
        if name.rsplit("/", 1)[-1] in {"stride", "padding", "dilation", "groups", "kernel_size", "start_dim",
                                       "end_dim", "input_shape", "shape", "delay"}
    ]  # fmt: skip
    name = chance.choice(fields)
    value = chance.choice(
        [0, -1, 1.5, 2**40, [1, 2, 3], [0, 0], [-1, 2], "same", "other", np.nan, [2**20] * 2]
    )
    del stream[name]
    stream[name] = value
    return f"{name} is {value}"


EDITS: tuple[Edit, ...] = (
    take_out, take_out, replace_value, replace_value, replace_value, replace_text, claim_much, pack_a_bomb,
    odd_type, link_away, link_back, same_node_twice, data_elsewhere, nest_deep, nest_itself, odd_name,
    change_edges, change_edges, change_type, change_type, change_metadata, many_nodes, odd_padding,
    odd_padding,
)  # fmt: skip


def convolutional() -> nir.NIRGraph:
    """A graph of what the receiver does not have: convolution, pools, a nested graph, recurrence."""
    chance = np.random.default_rng(3)

    def grid(*shape: int) -> Any:
        return np.round(chance.normal(size=shape) * 16) / 16

    ones = np.ones(4)
    inner = nir.NIRGraph(
        {
            "input": nir.Input(np.array([4])),
            "cuba": nir.CubaLIF(ones * 0.1, ones * 0.2, ones * 6, ones * 0, ones * 0.5, ones * 0),
            "back": nir.Linear(grid(4, 4)),
            "output": nir.Output(np.array([4])),
        },
        [("input", "cuba"), ("cuba", "back"), ("back", "cuba"), ("cuba", "output")],
        type_check=False,
    )
    nodes = {
        "input": nir.Input(np.array([2, 6, 6])),
        "conv": nir.Conv2d((6, 6), grid(3, 2, 3, 3), 1, 1, 1, 1, grid(3)),
        "if": nir.IF(np.ones((3, 6, 6)), np.ones((3, 6, 6))),
        "pool": nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flatten": nir.Flatten({"input": np.array([3, 3, 3])}, 0, 2),
        "dense": nir.Affine(grid(4, 27), grid(4)),
        "inner": inner,
        "late": nir.Delay(ones * 0.02),
        "scale": nir.Scale(ones * 0.5),
        "li": nir.LI(ones * 0.1, ones, ones * 0),
        "output": nir.Output(np.array([4])),
    }
    names = list(nodes)
    edges = list(itertools.pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={"dt": 0.01, "reset": "subtract"}, type_check=False)
