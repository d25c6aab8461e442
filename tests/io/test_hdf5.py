import io
import sys
from typing import Any

import h5py
import numpy as np
import pytest

from nsc_deploy.errors import GraphError
from nsc_deploy.io.hdf5 import read_tree
from nsc_deploy.io.sandbox import read_apart, receive_answer, send_answer

VALUES: dict[str, Any] = {
    "matrix": np.arange(6, dtype=">f4").reshape(2, 3),
    "nothing": np.zeros((0, 3)),
    "flags": np.array([True, False]),
    "number": np.float32(0.5),
    "flag": np.True_,
    "name": "a name, ü",
    "widths": np.array([b"in", b"out"]),
    "edges": np.array([["a", "b"], ["b", "ü"]], dtype=h5py.string_dtype()),
    "bytes": np.array([b"\xff"], dtype=h5py.string_dtype("ascii")),
}


@pytest.fixture
def path(tmp_path):
    with h5py.File(tmp_path / "tree.nir", "w") as stream:
        for name, value in VALUES.items():
            stream[f"node/inner/{name}"] = value
        stream.create_group("node/empty")
        packed = {"data": np.eye(40), "compression": "gzip", "chunks": (7, 9)}
        stream.create_dataset("node/packed", **packed)
    return tmp_path / "tree.nir"


def same(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(value, two[name]) for name, value in one.items())
    alike = type(one) is type(two) and getattr(one, "dtype", None) == getattr(two, "dtype", None)
    return alike and np.array_equal(one, two)


def test_a_tree_is_what_h5py_reads(path):
    tree = read_tree(path)
    with h5py.File(path) as stream:
        wanted = {name: stream[f"node/inner/{name}"][()] for name in VALUES}
        assert same(tree["packed"], stream["node/packed"][()])
    assert same(tree["inner"], {**wanted, "name": VALUES["name"]})
    assert tree["empty"] == {}


def test_another_process_reads_the_same(path, monkeypatch):
    assert same(read_apart(path, read_tree), read_tree(path))
    monkeypatch.setattr("nsc_deploy.io.sandbox._LONGEST_FORK", -1.0)
    assert same(read_apart(path, read_tree), read_tree(path))


def test_code_in_the_working_folder_is_not_run(path, tmp_path, monkeypatch):
    """Neither by the fork nor by the process started anew, whatever they import."""
    wanted = read_tree(path)
    for name in ("json", "h5py", "numpy", "importlib", "nsc_deploy"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["", *sys.path])  # as in a notebook, and with python -c
    for longest in (20.0, -1.0):
        monkeypatch.setattr("nsc_deploy.io.sandbox._LONGEST_FORK", longest)
        assert same(read_apart(path, read_tree), wanted)
    assert not (tmp_path / "run").exists()


def test_a_file_without_nodes_and_edges(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "empty.nir", "w") as stream:
        stream.create_group("node")
    assert read_apart(tmp_path / "empty.nir", read_tree) == {}
    monkeypatch.setattr("nsc_deploy.io.sandbox._LONGEST_FORK", -1.0)
    assert read_apart(tmp_path / "empty.nir", read_tree) == {}


def sent(answer: Any) -> bytes:
    stream = io.BytesIO()
    send_answer(answer, stream)
    return stream.getvalue()


def test_an_answer_that_is_cut_short_is_none(path):
    tree, refusal = read_tree(path), GraphError("is damaged", where="a file", hint="Mend it.")
    for content in (sent(tree["inner"]), sent(refusal)):
        assert all(receive_answer(io.BytesIO(content[:length])) is None for length in range(len(content)))
    assert same(receive_answer(io.BytesIO(sent(tree))), tree)
    assert vars(receive_answer(io.BytesIO(sent(refusal)))) == vars(refusal)
