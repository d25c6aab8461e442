"""Faults that mutations brought to light, each in its smallest form and refused by name."""

import io
import json
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_onnx
import h5py
import nir
import numpy as np
import onnx
import pytest
from fuzz_judges import sealed_anew
from fuzz_worker import run_command
from onnx import TensorProto, helper
from pydantic import ValidationError

from nsc_deploy.errors import DataError, GraphError, UserError
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.lava.manifest import Source
from nsc_deploy.exporters.onnx.runner import SequenceRunner
from nsc_deploy.exporters.plan import export_all
from nsc_deploy.files import load_npz, read_json
from nsc_deploy.graphs.hdf5_probe import probe
from nsc_deploy.graphs.nir_file import read_network, write_network
from nsc_deploy.graphs.onnx_build import DenseLayer, mlp
from nsc_deploy.graphs.onnx_file import read_onnx
from nsc_deploy.graphs.onnx_guard import refuse_unbounded
from nsc_deploy.graphs.onnx_run import run_onnx
from nsc_deploy.graphs.recording import read_recording
from nsc_deploy.graphs.signal import Signal
from nsc_deploy.plain_text import refuse_control
from nsc_deploy.printable import printable
from nsc_deploy.records import Record, checked, read_toml
from tests.lava_support import receiver

TEXT = h5py.string_dtype()

# NIR


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


@pytest.mark.parametrize("shape", [b"other", np.nan, 1.5, np.zeros((2, 2)), True])
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
    monkeypatch.setattr("nsc_deploy.graphs.hdf5_probe._LONGEST_FORK", -1.0)
    probe(graph)
    graph.write_bytes(graph.read_bytes()[:3000])
    with pytest.raises(GraphError, match="HDF5"):
        probe(graph)


# ONNX


def model() -> Any:
    grid = np.arange(24, dtype=np.float32).reshape(4, 6) / 8
    return mlp([DenseLayer(grid, np.ones(4, np.float32))], signal=Signal.EVENTS, dt=0.03)


def written(tmp_path: Path, changed: Any) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(changed.SerializeToString())
    return path


def _short_data(changed: Any) -> None:
    changed.graph.initializer[0].raw_data = changed.graph.initializer[0].raw_data[:-4]


def _huge_dims(changed: Any) -> None:
    changed.graph.initializer[0].dims[:] = [2**40, 2**20]


def _no_data(changed: Any) -> None:
    changed.graph.initializer[0].ClearField("raw_data")


def _negative(changed: Any) -> None:
    changed.graph.initializer[0].dims[:] = [-6, -4]


def _elsewhere(changed: Any) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=TensorProto(data_type=1, dims=[3]))
    constant.attribute[0].t.external_data.add(key="location", value="/etc/passwd")
    changed.graph.node.insert(0, constant)


def _function(changed: Any) -> None:
    node = helper.make_node("Relu", ["a"], ["b"])
    changed.functions.append(helper.make_function("", "Relu", ["a"], ["b"], [node], changed.opset_import))


def _sparse(changed: Any) -> None:
    values, places = helper.make_tensor("thin", 1, [1], [1.0]), helper.make_tensor("at", 7, [1], [0])
    changed.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2**40]))


def _control(changed: Any) -> None:
    changed.graph.node[0].name = "\x1b[2J"


def _metadata(changed: Any) -> None:
    changed.metadata_props.add(key="title", value="\x1b]0;x\x07")


def _not_a_number(changed: Any) -> None:
    changed.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full((4, 6), np.nan, np.float32), changed.graph.initializer[0].name)
    )


def _endless(changed: Any) -> None:
    values = helper.make_tensor("c", TensorProto.BFLOAT16, [1], [np.inf])
    changed.graph.node.insert(0, helper.make_node("Constant", [], ["c"], value=values))


REFUSED: dict[str, tuple[Callable[[Any], None], str]] = {
    "short data": (_short_data, "does not hold that much"),
    "huge dims": (_huge_dims, "does not hold that much"),
    "no data": (_no_data, "does not hold that much"),
    "negative dims": (_negative, "does not hold that much"),
    "a constant elsewhere": (_elsewhere, "in another file"),
    "a function of its own": (_function, "functions of its own"),
    "a huge sparse one": (_sparse, "for the sparse 'thin'"),
    "weights that are no numbers": (_not_a_number, "NaN or infinity"),
    "an endless constant": (_endless, "NaN or infinity"),
    "a name with control characters": (_control, "no text that can be shown"),
    "metadata with control characters": (_metadata, "no text that can be shown"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_onnx_files_that_are_refused(tmp_path: Path, case: str) -> None:
    edit, problem = REFUSED[case]
    changed = model()
    edit(changed)
    with pytest.raises(GraphError, match=problem):
        read_onnx(written(tmp_path, changed))


def _named(changed: Any) -> None:
    changed.graph.node[0].name = "abcdefgh"


def _sized(changed: Any) -> None:
    changed.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "abcdefgh"


def _produced(changed: Any) -> None:
    changed.producer_name = "abcdefgh"


@pytest.mark.parametrize("place", [_named, _sized, _produced])
def test_onnx_texts_that_are_not_utf_8(tmp_path: Path, place: Callable[[Any], None]) -> None:
    changed = model()
    place(changed)
    path = written(tmp_path, changed)
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"abc\xff\xfefgh"))
    with pytest.raises(GraphError, match="no text that can be shown"):
        read_onnx(path)


def test_an_onnx_comment_may_have_any_signs(tmp_path: Path) -> None:
    changed = model()
    changed.graph.node[0].doc_string = "File \x1b[1mmodule.py\x1b[0m"
    assert read_onnx(written(tmp_path, changed)).graph.node[0].doc_string.startswith("File")


@pytest.mark.parametrize("seed", range(12))
def test_operators_that_make_much_of_little_are_not_run(tmp_path: Path, seed: int) -> None:
    changed = model()
    fuzz_onnx.make_huge(random.Random(seed), changed)
    with pytest.raises(UserError):
        run_onnx(written(tmp_path, changed), np.zeros((5, 2, 6), np.float32))


def test_a_loop_without_end_is_not_run(tmp_path: Path) -> None:
    changed = model()
    fuzz_onnx.loop_for_ever(random.Random(0), changed)
    with pytest.raises(GraphError, match="any number of times"):
        run_onnx(written(tmp_path, changed), np.zeros((5, 2, 6), np.float32))


def _scan(body: Any, name: str) -> Any:
    return helper.make_node("Scan", ["rows"], [name], body=body, num_scan_inputs=1)


def test_scans_within_scans_are_bounded() -> None:
    """Each walks along a few megabytes; together they would turn 10^12 times."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "inner", [value], [out])
    outer_value = helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1])
    outer_out = helper.make_tensor_value_info("y2", TensorProto.FLOAT, None)
    body = helper.make_graph([_scan(inner, "y2")], "outer", [outer_value], [outer_out])
    rows = helper.make_tensor("rows", TensorProto.FLOAT, [10**6, 1], np.zeros(10**6, np.float32))
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    graph = helper.make_graph([_scan(body, "z")], "graph", [], [result], initializer=[rows])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    with pytest.raises(GraphError, match=r"Scan within a Scan|more than this tool lets"):
        refuse_unbounded(whole)


def test_what_this_tool_writes_is_not_refused() -> None:
    for entering in (None, (100, 256, 6)):
        refuse_unbounded(model(), entering)


# Archives and tables


def npz(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(value: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, value)
    return stream.getvalue()


def test_archives_that_unpack_to_far_more_than_they_are(tmp_path: Path) -> None:
    bomb = npz(tmp_path / "bomb.npz", [("a.npy", npy(np.zeros(2**24, np.float64)))])
    assert bomb.stat().st_size < 2**20
    with pytest.raises(DataError, match="more than the"):
        load_npz(bomb)


def test_events_that_unpack_to_far_more_than_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = {"shape": np.array([2**20, 1, 8]), "signal": np.frombuffer(b"events", np.uint8)}
    stored |= {"dt": np.array(0.1), "events": np.zeros(2**20, np.uint8)}
    path = npz(tmp_path / "bomb.npz", [(f"{name}.npy", npy(value)) for name, value in stored.items()])
    assert read_recording(path).values.size == 2**23  # a few megabytes do no harm
    monkeypatch.setattr("nsc_deploy.graphs.recording._PLAIN_EVENTS", 2**20)
    with pytest.raises(DataError, match="far more than its size"):
        read_recording(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_has_no_one_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a name twice"):
        load_npz(npz(tmp_path / "twice.npz", [("a.npy", npy(1)), ("a.npy", npy(2))]))


def test_a_signal_of_a_million_letters_is_not_printed(tmp_path: Path) -> None:
    stored = {"shape": np.array([1, 1, 1]), "dt": np.array(0.1), "signal": np.zeros(10**6, np.uint8)}
    path = npz(tmp_path / "long.npz", [(f"{name}.npy", npy(value)) for name, value in stored.items()])
    with pytest.raises(DataError, match="not a recording") as caught:
        read_recording(path)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "text", ['{"a": "\\u001b[2J"}', '{"a": ["\\ud800"]}', '{"\\u0007": 1}', '{"a": "\\b"}']
)
def test_json_whose_texts_a_terminal_would_obey(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(DataError, match="control characters"):
        read_json(path)


@pytest.mark.parametrize("value", ["caf\u00e9", "a\nb\tc", "\U0001f600", "\u65e5\u672c", "\\u001b as text"])
def test_json_with_ordinary_texts_is_read(tmp_path: Path, value: str) -> None:
    path = tmp_path / "table.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps({"a": [value]}, ensure_ascii=ascii_only), encoding="utf-8")
        assert read_json(path) == {"a": [value]}


def test_toml_whose_texts_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text('[one]\ntwo = ["fine", "a\\u001b[2J"]')
    with pytest.raises(UserError, match=r"field one\.two\.1: holds control characters"):
        read_toml(path, "a table")
    refuse_control({"a": ["fine\n", 3, None]}, where=path, kind=DataError)


@pytest.mark.parametrize("text", ["a." * 100_000, "[" + "a." * 100_000 + "a]", "a." * 101 + "a = 3"])
def test_toml_names_that_are_nested_deep(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.toml"
    path.write_text(text)
    with pytest.raises(UserError, match="more than 100 deep"):
        read_toml(path, "a table")


def test_toml_with_a_long_row_of_numbers_is_read(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text("a = [\n" + "0.5, " * 300 + "\n]\nb.c.d = " + "0.5" + "\n")
    assert read_toml(path, "a table")["b"] == {"c": {"d": 0.5}}


@pytest.mark.parametrize(
    ("field", "given"),
    [("samples", True), ("size", False), ("kept", 1), ("kept", "yes"), ("kept", 0.0), ("flag", 1)],
)
def test_true_is_no_number_and_no_number_is_true(field: str, given: Any) -> None:
    class Table(Record):
        samples: int = 1
        size: float | None = None
        kept: bool = True
        flag: bool | int = False

    if field == "flag":
        assert Table.model_validate({field: given}).flag == 1
    else:
        with pytest.raises(DataError, match=rf"field {field}: .*\(given: {given!r}\)"):
            checked(Table, {field: given}, "a table", where="here", kind=DataError)


def test_a_manifest_that_names_fewer_layers_than_there_are(tmp_path: Path) -> None:
    write_network(tmp_path / "own.nir", receiver(6, 5, 4))
    [folder] = export_all(tmp_path / "own.nir", "lava", tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    layers = manifest["layers"]
    manifest["layers"] = layers[:-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        DataError, match=f"holds {len(layers)} layers where the manifest names {len(layers) - 1}"
    ):
        read_lava_deployment(folder)
    layers[0]["groups"][0]["late"] = 2**63
    (folder / "manifest.json").write_text(json.dumps(manifest | {"layers": layers}))
    with pytest.raises(DataError, match="late: should be less than"):
        read_lava_deployment(folder)


def test_a_deployed_onnx_graph_without_its_output(tmp_path: Path) -> None:
    write_network(tmp_path / "own.nir", receiver(6, 5, 4))
    [folder] = export_all(tmp_path / "own.nir", "onnx", tmp_path / "out")
    changed = onnx.load(folder / "sequence.onnx")
    output = changed.graph.output[0]
    changed.graph.node.append(helper.make_node("Identity", [output.name], ["renamed"]))
    output.name = "renamed"
    path = written(tmp_path, without_digest(changed))
    network = read_network(tmp_path / "own.nir")
    with pytest.raises(UserError, match="has no output 'output'"):
        SequenceRunner(path, network).run(np.zeros((3, 2, 6), np.float32))


def without_digest(changed: Any) -> Any:
    kept = [prop for prop in changed.metadata_props if prop.key != "digest"]
    del changed.metadata_props[:]
    changed.metadata_props.extend(kept)
    return changed


@pytest.mark.parametrize("command", ["inspect", "check"])
def test_names_that_look_like_markup_are_shown_as_they_are(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path, graph = tmp_path / "graph.nir", receiver(6, 5, 4)
    called = {"lif1": "[bold]", "dense1": "[red]x"}
    nodes = {called.get(name, name): node for name, node in graph.nodes.items()}
    edges = [(called.get(source, source), called.get(target, target)) for source, target in graph.edges]
    write_network(path, nir.NIRGraph(nodes, edges, metadata=graph.metadata))
    code, out, err = run_command([command, str(path), *(["--target", "lava"] if command == "check" else [])])
    assert (code, err) == (0, "")
    assert "[bold]" in out
    assert "[red]x" in out


def test_an_onnx_name_may_look_like_the_end_of_markup(tmp_path: Path) -> None:
    changed = model()
    changed.graph.node[0].name = "[/]"
    code, out, err = run_command(["inspect", str(written(tmp_path, changed))])
    assert (code, err) == (0, "")
    assert "[/]" in out


@pytest.mark.parametrize("name", ["a\nb.npz", "a\tb.npz", "a/b.npz", "\x7f.npz", ""])
def test_a_run_names_no_file_that_breaks_a_line(name: str) -> None:
    with pytest.raises(ValidationError):
        Source(file=name, sha256="0" * 64, path="graph.nir")


def test_messages_are_short_and_show_no_control_characters() -> None:
    assert printable("a\xa0b\u200b") == "a\\xa0b\\u200b"
    shown = printable("a\x1b[2J\udcff" + "b" * 10_000)
    assert shown.startswith("a\\x1b[2J\\udcff")
    assert len(shown) < 1300
    code, _, told = run_command(["inspect", "\x1b[2J.nir"])
    assert code == 2
    assert "\x1b" not in told


def test_a_network_file_that_has_changed(graph: Path, tmp_path: Path) -> None:
    write_network(tmp_path / "own.nir", receiver(6, 5, 4))
    export_all(tmp_path / "own.nir", "lava", tmp_path / "out")
    path = tmp_path / "out" / "network.net"
    read_lava_deployment(tmp_path / "out")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="hash differs") as caught:
        read_lava_deployment(tmp_path / "out")
    assert caught.value.where == str(path)


def test_a_path_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nsc_deploy", "inspect", bytes(tmp_path) + b"/caf\xe9.nir"]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"error: ")
    assert b"Traceback" not in ended.stderr


def test_onnx_itself_accepts_what_is_refused_here(tmp_path: Path) -> None:
    """Else the guard would guard nothing."""
    changed = model()
    fuzz_onnx.loop_for_ever(random.Random(0), changed)
    onnx.checker.check_model(changed, full_check=True)
