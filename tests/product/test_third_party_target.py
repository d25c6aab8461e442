"""The example of a target in a package of its own: installed, listed, checked and exported through."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nsc_deploy.graphs.build import GraphBuilder
from nsc_deploy.graphs.formats.nir import write_network
from nsc_deploy.graphs.network import Signal
from tests.support.lava import receiver

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_target"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(place), str(EXAMPLE)]
    subprocess.run(command, check=True, capture_output=True)
    return place


def nsc(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from nsc_deploy.cli.app import main; main()", *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=variables)


def test_a_package_with_an_entry_point_adds_a_target(installed: Path, tmp_path: Path) -> None:
    weight = (np.arange(12).reshape(4, 3) - 5).astype(np.float32) / 8
    build = GraphBuilder(0.1)
    build.input(3, Signal.EVENTS)
    build.linear("dense.1", weight)
    build.lif("lif", 0.9, 0.7, 4)
    build.output(4)
    write_network(tmp_path / "chain.nir", build.build())
    done = nsc(installed, "export", tmp_path / "chain.nir", "--target", "c-header", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "out" / "network.h").read_text()
    found = dict(re.findall(r"float n\d+_(\w+)\[\d+\] = \{(.*)\};", text))
    assert found.keys() == {"dense_1_weight", "lif_decay", "lif_threshold"}
    values = [float.fromhex(number.rstrip("f")) for number in found["dense_1_weight"].split(", ")]
    np.testing.assert_array_equal(np.array(values).reshape(4, 3), weight)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["target"] == "c-header"
    assert manifest["verification"]["equal"] is True
    assert manifest["verification"]["spikes"] > 100
    assert manifest["verification"]["backend"] == "nsc-deploy-c-header 0.1.0"


def test_a_wrong_artefact_of_another_s_target_never_appears(installed: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    shutil.copytree(installed, place)
    module = place / "nsc_deploy_c_header.py"
    module.write_text(
        module.read_text().replace('"threshold", numbers.threshold)', '"threshold", 2 * numbers.threshold)')
    )
    write_chain(tmp_path / "chain.nir", 0.5)
    done = nsc(place, "export", tmp_path / "chain.nir", "--target", "c-header", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "the artefact computes something else" in done.stderr
    assert not (tmp_path / "out").exists()


def write_chain(path: Path, weight: float) -> None:
    """Three neurons, each behind one input."""
    build = GraphBuilder(0.1)
    build.input(3, Signal.EVENTS)
    build.linear("w", weight * np.eye(3))
    build.lif("lif", 0.5, 0.7, 3)
    build.output(3)
    write_network(path, build.build())


UNCHECKED = """
def export(self, request):
    request.out.mkdir()
    (request.out / "manifest.json").write_text('{"target": "c-header"}')
    return request.out
CHeaderTarget.export = export
TARGET = CHeaderTarget()
"""


def test_a_target_that_checks_nothing_is_told(installed: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    shutil.copytree(installed, place)
    with (place / "nsc_deploy_c_header.py").open("a") as module:
        module.write(UNCHECKED)
    write_chain(tmp_path / "chain.nir", 1.0)
    done = nsc(place, "export", tmp_path / "chain.nir", "--target", "c-header", "--out", tmp_path / "out")
    assert done.returncode == 0
    assert "c-header did not check what it wrote" in done.stderr


def test_it_refuses_by_name_and_writes_nothing(installed: Path, tmp_path: Path) -> None:
    write_network(tmp_path / "receiver.nir", receiver())
    done = nsc(installed, "check", tmp_path / "receiver.nir", "--target", "c-header")
    assert done.returncode == 1
    assert "there is no Delay in the header" in done.stdout
    out = tmp_path / "out"
    done = nsc(installed, "export", tmp_path / "receiver.nir", "--target", "c-header", "--out", out)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not out.exists()


def test_without_the_package_the_target_is_unknown(tmp_path: Path) -> None:
    write_network(tmp_path / "receiver.nir", receiver())
    out = tmp_path / "out"
    done = nsc(tmp_path, "export", tmp_path / "receiver.nir", "--target", "c-header", "--out", out)
    assert done.returncode == 2
    assert "unknown target 'c-header'" in done.stderr
    assert "snntorch" in done.stderr
