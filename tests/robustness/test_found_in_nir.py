"""Faults that mutations of NIR files brought to light, each in its smallest form."""

import struct
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from nsc_deploy.errors import GraphError
from nsc_deploy.graphs.assemble import assemble
from nsc_deploy.graphs.formats.nir import read_network, write_network
from nsc_deploy.graphs.network import Reset, Signal
from nsc_deploy.io.hdf5 import read_tree
from nsc_deploy.io.sandbox import read_apart
from tests.robustness.fuzz.judges import sealed_anew
from tests.robustness.fuzz.worker import run_command
from tests.support.lava import receiver

TEXT = h5py.string_dtype()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "graph.nir"
    nir.write(path, receiver(6, 5, 4))
    return path


@pytest.mark.parametrize("value", [np.zeros((2, 2)), np.array([]), 3.0, np.array([b"LIF", b"LIF"])])
def test_a_type_that_is_no_text(graph: Path, value: Any) -> None:
    with h5py.File(graph, "r+") as stream:
        del stream["node/nodes/lif1/type"]
        stream["node/nodes/lif1/type"] = value
    with pytest.raises(GraphError, match="no NIR primitive"):
        read_network(graph)


@pytest.mark.parametrize("name", [b"\x1b[2J", b"caf\xe9", b"a\nb\x7f", "\u202e".encode()])
def test_names_that_no_terminal_should_show(graph: Path, name: bytes) -> None:
    with h5py.File(graph, "r+") as stream:
        stream["node/nodes"][name] = stream["node/nodes/lif1"]
        del stream["node/nodes/lif1"]
    with pytest.raises(GraphError, match="no text that can be shown"):
        read_network(graph)


def test_texts_that_no_terminal_should_show(graph: Path) -> None:
    with h5py.File(graph, "r+") as stream:
        stream["node/metadata/units"][()] = "\x1b]0;title\x07"
    with pytest.raises(GraphError, match="control characters in /node/metadata/units"):
        read_network(graph)


@pytest.mark.parametrize("shape", [b"other", np.nan, np.inf, 1.5, np.zeros((2, 2)), True])
@pytest.mark.parametrize("node", ["input", "output"])
def test_a_shape_that_is_none(graph: Path, node: str, shape: Any) -> None:
    with h5py.File(graph, "r+") as stream:
        del stream[f"node/nodes/{node}/shape"]
        stream[f"node/nodes/{node}/shape"] = shape
    with pytest.raises(GraphError, match="where whole numbers are wanted") as caught:
        read_network(graph)
    assert caught.value.where == f"{graph}: node '{node}'"


def test_a_time_step_of_many_rows_is_told_on_one_line(graph: Path) -> None:
    with h5py.File(graph, "r+") as stream:
        del stream["node/metadata/dt"]
        stream["node/metadata/dt"] = np.zeros((30, 30, 30))
    with pytest.raises(GraphError, match="where a number is wanted") as caught:
        read_network(graph)
    assert len(caught.value.problem) < 200
    assert "\n" not in caught.value.message


def test_hundreds_of_thousands_of_edges(graph: Path) -> None:
    with h5py.File(graph, "r+") as stream:
        del stream["node/edges"]
        stream.create_dataset("node/edges", data=np.full((200_000, 2), b"input"))
    with pytest.raises(GraphError, match="more than 100000 edges"):
        read_network(graph)


def test_a_checksum_does_not_spare_a_hostile_file_the_trial(tmp_path: Path) -> None:
    """A superblock whose every address leads back to it: what the library does with it is its own affair."""
    content = bytearray(
        b"\x89HDF\r\n\x1a\n" + b"\x02\x08\x08\x00" + struct.pack("<QQQQ", 0, 2**64 - 1, 2**20, 48)
    )
    path = tmp_path / "hostile.nir"
    path.write_bytes(sealed_anew(bytes(content) + b"OHDR\x02\x20" + b"\xff" * 4000))
    with pytest.raises(GraphError, match="HDF5"):
        read_network(path)


def test_a_fork_that_gets_stuck_is_answered_for_by_a_new_process(
    graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsc_deploy.io.sandbox._LONGEST_FORK", -1.0)
    read_apart(graph, read_tree)
    graph.write_bytes(graph.read_bytes()[:3000])
    with pytest.raises(GraphError, match="HDF5"):
        read_apart(graph, read_tree)


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, graph = tmp_path / "graph.nir", receiver(6, 5, 4)
    called = {"lif1": "[bold]", "dense1": "[red]x"}
    nodes = {called.get(name, name): node for name, node in graph.nodes.items()}
    edges = [(called.get(source, source), called.get(target, target)) for source, target in graph.edges]
    write_network(path, nir.NIRGraph(nodes, edges, metadata=graph.metadata))
    code, out, err = run_command(
        [command, str(path), *(["--target", "lava", "--details"] if command == "check" else [])]
    )
    assert (code, err) == (0, "")
    assert "[bold]" in out
    assert "[red]x" in out


@pytest.mark.parametrize("field", ["kernel_size", "stride", "padding"])
def test_a_window_of_infinite_size(field: str) -> None:
    sizes = {"kernel_size": [2.0, 2.0], "stride": [2.0, 2.0], "padding": [0.0, 0.0]}
    sizes[field] = [np.inf, 2.0]
    pool = nir.SumPool2d(**{name: np.array(value) for name, value in sizes.items()})
    nodes = {
        "in": nir.Input(input_type={"input": np.array([1, 4, 4])}),
        "pool": pool,
        "out": nir.Output(output_type={"output": np.array([1, 2, 2])}),
    }
    graph = nir.NIRGraph(nodes, [("in", "pool"), ("pool", "out")], type_check=False)
    with pytest.raises(GraphError, match="whole numbers are wanted"):
        assemble(graph, dt=1e-3, reset=Reset.ZERO, signal=Signal.EVENTS)
