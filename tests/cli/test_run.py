"""What `run` prints: the sums first, then the samples that disagree."""

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


def test_nothing_is_listed_where_all_agree(deployed: Path) -> None:
    assert "" not in answer("run", deployed, "--backend", "reference")
