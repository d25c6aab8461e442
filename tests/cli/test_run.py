"""What `run` prints: the sums first, then the samples that disagree."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nsc_deploy.cli.app import app
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from tests.support.small_runs import DT


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose decisions change when its weights have two bits."""
    folder = tmp_path_factory.mktemp("deployed")
    graph = GraphBuilder(DT)
    graph.input(12, Signal.EVENTS)
    graph.linear("w", np.random.default_rng(1).normal(0.15, 0.05, (5, 12)).astype(np.float32))
    graph.lif("n", 0.9, 0.5, 5)
    graph.output(5, classes=5)
    write_network(folder / "g.nir", graph.build())
    events = np.random.default_rng(0).integers(0, 2, (20, 300, 12), np.uint8)
    write_recording(folder / "g.npz", Recording(events, Signal.EVENTS, DT, labels=np.arange(300) % 5))
    answer("export", folder / "g.nir", "--inputs", folder / "g.npz", "--target", "lava", "--bits", 2,
           "--out", folder / "lava")  # fmt: skip
    return folder / "lava"


def answer(*arguments: object) -> list[str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_the_summary_comes_first_and_fits_a_screen(deployed: Path) -> None:
    lines = answer("run", deployed, "--backend", "twin")
    assert lines[0].startswith("300 samples, ")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_only_samples_that_disagree_are_listed(deployed: Path) -> None:
    lines = answer("run", deployed, "--backend", "twin")
    listed = [line.split() for line in lines[lines.index("") + 2 :] if line.endswith("differs")]
    assert len(listed) == 10
    assert all(reference != other for _, _, reference, other, _ in listed)
    everything = [line.split() for line in answer("run", deployed, "--backend", "twin", "--details")]
    each = everything[everything.index([]) + 2 :]
    assert [int(row[0]) for row in each] == list(range(300))
    disagree = [row for row in each if row[2] != row[3]]
    assert disagree[:10] == listed
    assert lines[-1] == f"and {len(disagree) - 10} more that differ (--details lists every sample)"


def test_silence_on_both_sides_is_no_agreement(tmp_path: Path) -> None:
    graph = GraphBuilder(DT)
    graph.input(4, Signal.EVENTS)
    graph.linear("w", np.full((2, 4), 0.1))
    graph.lif("n", 0.9, 1000.0, 2)
    graph.output(2, classes=2)
    write_network(tmp_path / "g.nir", graph.build())
    events = np.random.default_rng(0).integers(0, 2, (10, 6, 4), np.uint8)
    write_recording(tmp_path / "g.npz", Recording(events, Signal.EVENTS, DT))
    out = tmp_path / "lava"
    answer("export", tmp_path / "g.nir", "--inputs", tmp_path / "g.npz", "--target", "lava", "--out", out)
    lines = answer("run", out, "--backend", "twin")
    assert "no output fires on either side: silence is no agreement" in lines
    assert "every output spike is equal" not in lines
    ends = [line.split()[-1] for line in lines if line.startswith(("rate cosine", "spike coincidence"))]
    assert ends == ["-", "-"]
    told = json.loads("\n".join(answer("run", out, "--backend", "twin", "--json")))["parity"]
    assert (told["silent"], told["rate_cosine"], told["coincidence"]) == (True, None, None)
    verified = json.loads("\n".join(answer("verify", out, "--against", "reference", "--json")))
    assert verified["silent"]
    assert verified["comparison"]["output"]["rate_cosine"] is None
    limit = ("--min-rate-cosine", 0.9, "--allow-silence", "--json")
    allowed = json.loads("\n".join(answer("verify", out, "--against", "reference", *limit)))
    assert [(one["found"], one["met"]) for one in allowed["findings"]] == [(1.0, True)]


@pytest.mark.parametrize("gain", [0.0, 0.3])
def test_an_error_of_real_outputs_is_beside_what_they_are(tmp_path: Path, gain: float) -> None:
    graph = GraphBuilder(DT)
    graph.input(4, Signal.EVENTS)
    graph.linear("w", np.full((2, 4), 0.1))
    graph.lif("n", 0.9, 0.2, 2)
    graph.linear("scores", np.full((2, 2), gain))
    graph.output(2)
    write_network(tmp_path / "g.nir", graph.build())
    events = np.random.default_rng(0).integers(0, 2, (10, 6, 4), np.uint8)
    write_recording(tmp_path / "g.npz", Recording(events, Signal.EVENTS, DT))
    out = tmp_path / "onnx"
    answer("export", tmp_path / "g.nir", "--inputs", tmp_path / "g.npz", "--target", "onnx", "--out", out)
    told = answer("run", out)[-1]
    if gain:
        assert told.startswith("outputs differ by up to ")
        assert told.endswith(", of values up to 0.6")
    else:
        assert told == "every output is 0 on either side: silence is no agreement"


def test_nothing_is_listed_where_all_agree(deployed: Path) -> None:
    assert "" not in answer("run", deployed, "--backend", "reference")
