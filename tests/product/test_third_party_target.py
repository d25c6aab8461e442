"""The example of a target in a package of its own: installed, listed, checked, exported to, run, verified."""

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
from nsc_deploy.graphs.formats.recording import Recording, write_recording
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
    places = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    variables = {**os.environ, "PYTHONPATH": places}
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


def test_its_folders_are_run_and_verified_like_any_other(installed: Path, tmp_path: Path) -> None:
    graph, recording, out = tmp_path / "chain.nir", tmp_path / "inputs.npz", tmp_path / "out"
    write_chain(graph, 0.5)
    events = (np.random.default_rng(0).random((20, 6, 3)) < 0.5).astype(np.uint8)
    write_recording(recording, Recording(events, Signal.EVENTS, 0.1))
    given = ["--inputs", recording]
    done = nsc(installed, "export", graph, *given, "--target", "c-header", "--out", out)
    assert done.returncode == 0, done.stderr

    ran = json.loads(nsc(installed, "run", out, "--json").stdout)
    assert (ran["backend"], ran["samples"], ran["output_error"]) == ("c-header", list(range(6)), None)
    assert ran["parity"]["other_spikes"] == ran["parity"]["reference_spikes"] > 0
    assert ran["parity"]["first_divergence"] is None
    refused = nsc(installed, "run", out, "--backend", "lava")
    assert refused.returncode == 2
    assert "Choose one of: c-header, reference." in refused.stderr

    sides = ((out, "reference", "reference"), (out, "twin", "twin"), (graph, "c-header", "reference"))
    for subject, against, beside in sides:
        verified = nsc(installed, "verify", subject, *given, "--against", against, "--json")
        assert verified.returncode == 0, verified.stderr
        found = json.loads(verified.stdout)["comparison"]
        assert {found["reference"], found["other"]} == {"c-header", beside}
        assert [layer["node"] for layer in found["layers"]] == ["lif"]
        assert found["output"]["equal"] or beside == "twin"
    exact = nsc(installed, "verify", out, "--against", "reference", "--exact")
    assert "met     every spike and output equal" in exact.stdout

    without = nsc(tmp_path, "verify", out, "--against", "reference")
    assert without.returncode == 2
    assert "was exported to 'c-header', which this tool cannot run" in without.stderr


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
