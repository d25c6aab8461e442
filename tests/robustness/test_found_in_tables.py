"""Faults that mutations of archives, tables and folders brought to light, each in its smallest form."""

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from nsc_deploy.errors import DataError, UserError
from nsc_deploy.exporters.export import export_all
from nsc_deploy.exporters.lava.deployment import read_lava_deployment
from nsc_deploy.exporters.lava.manifest import Source
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import read_recording
from nsc_deploy.io.files import read_json
from nsc_deploy.io.npz import load_npz
from nsc_deploy.io.records import Record, read_toml, to_record
from nsc_deploy.io.text import printable, refuse_control
from tests.robustness.fuzz.worker import run_command
from tests.support.lava import receiver


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
    monkeypatch.setattr("nsc_deploy.graphs.formats.recording._PLAIN_EVENTS", 2**20)
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
            to_record(Table, {field: given}, "a table", where="here", kind=DataError)


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


def test_a_network_file_that_has_changed(tmp_path: Path) -> None:
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
