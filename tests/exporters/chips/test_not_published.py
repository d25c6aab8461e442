"""What is not published of a chip is no refusal, in the verdicts, the text and the JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.cli.app import app
from nsc_deploy.cli.exit_codes import run_to_exit_code
from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Reset, Signal


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    build = GraphBuilder(1e-3, Reset.SUBTRACT)
    build.input(4, Signal.EVENTS)
    build.linear("dense", np.ones((3, 4)) / 2)
    build.lif("cells", 0.5, 1.0, 3)
    build.output(3)
    write_network(tmp_path / "it.nir", build.build())
    return tmp_path / "it.nir"


def check(graph: Path, chip: str, *more: str) -> int:
    words = ["check", str(graph), "--target", chip, *more]
    return run_to_exit_code(lambda: app(words, prog_name="nsc-deploy"))


def test_a_reset_that_nobody_published_is_a_verdict_of_its_own(
    graph: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(graph, "loihi2") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "not published resets by 'subtract'" in told
    assert "fits loihi2 as far as is published: 1 node is not published" in told
    assert check(graph, "loihi2", "--json") == 0
    (cells,) = [node for node in json.loads(capsys.readouterr().out)["nodes"] if node["node"] == "cells"]
    assert cells["status"] == "not published"
    assert "none that does has been published" in cells["hint"]


def test_a_reset_that_a_chip_cannot_do_is_refused(graph: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(graph, "loihi1") == 1
    assert "refused  resets by 'subtract', and the chip by 'zero'" in capsys.readouterr().out
