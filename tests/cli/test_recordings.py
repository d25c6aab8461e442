"""A recording beside a graph of the same name is found by itself, and said."""

from pathlib import Path

import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.graphs.formats.recording import recordings_beside, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import events, spiking_graph


@pytest.fixture
def graphs(tmp_path: Path) -> list[Path]:
    for name in ("one", "two"):
        spiking_graph(tmp_path / f"{name}.nir", [6, 4], Signal.EVENTS)
        write_recording(tmp_path / f"{name}.npz", events(6))
    return [tmp_path / "one.nir", tmp_path / "two.nir"]


def test_what_lies_beside_all_graphs_is_taken(graphs: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    found = [tmp_path / "one.npz", tmp_path / "two.npz"]
    assert recordings_beside([*graphs, tmp_path], None, said.append) == found
    assert len(said) == 2
    assert recordings_beside(graphs, [tmp_path / "other.npz"], said.append) == [tmp_path / "other.npz"]
    (tmp_path / "two.npz").unlink()
    assert recordings_beside(graphs, None, said.append) == []
    assert len(said) == 2


@pytest.mark.parametrize("command", [["report"], ["advise"], ["compare", "again"]])
def test_energy_counts_over_it(
    graphs: list[Path], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["energy", command[0], *[str(graphs[0])] * len(command)]
    assert run_to_exit_code(lambda: app(words, prog_name="nsc-deploy")) == 0
    assert f"inputs: {graphs[0].with_suffix('.npz')}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["check"], ["export", "--out", "deployed"]])
def test_check_and_export_take_it(
    graphs: list[Path],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [words[0], "one.nir", "--target", "lava", *words[1:]]
    assert run_to_exit_code(lambda: app(command, prog_name="nsc-deploy")) == 0
    assert "inputs: one.npz, which lies beside the graph" in capsys.readouterr().err
