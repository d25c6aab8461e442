"""A recording beside a graph of the same name is found by itself, and said."""

from pathlib import Path

import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.cli.recordings import beside
from nsc_deploy.graphs.formats.recording import write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import events, spiking_graph


@pytest.fixture
def graphs(tmp_path: Path) -> list[Path]:
    for name in ("one", "two"):
        spiking_graph(tmp_path / f"{name}.nir", [6, 4], Signal.EVENTS)
        write_recording(tmp_path / f"{name}.npz", events(6))
    return [tmp_path / "one.nir", tmp_path / "two.nir"]


def test_what_lies_beside_all_graphs_is_taken(
    graphs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert beside([*graphs, tmp_path], None) == [tmp_path / "one.npz", tmp_path / "two.npz"]
    assert capsys.readouterr().err.count("which lies beside the graph") == 2
    assert beside(graphs, [tmp_path / "other.npz"]) == [tmp_path / "other.npz"]
    (tmp_path / "two.npz").unlink()
    assert beside(graphs, None) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [["report"], ["advise"], ["compare", "again"]])
def test_energy_counts_over_it(
    graphs: list[Path], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["energy", command[0], *[str(graphs[0])] * len(command)]
    assert run_to_exit_code(lambda: app(words, prog_name="nsc-deploy")) == 0
    assert f"inputs: {graphs[0].with_suffix('.npz')}" in capsys.readouterr().err
