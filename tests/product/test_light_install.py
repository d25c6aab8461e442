"""What an install without a training framework does, and what it says where it cannot."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nsc_deploy
from nsc_deploy.errors import EXTRAS
from tests.support.small_runs import small_graph

ROOT = Path(__file__).parents[2]
ABSENT = sorted({*EXTRAS, "numba"})
# Python treats a module that is None as one that is not there.
LIGHT = "import json, sys; sys.modules.update(dict.fromkeys(json.loads(sys.argv.pop(1)))); " + (
    "from nsc_deploy.__main__ import main; main()"
)


def light(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command where nothing is installed but what every install has."""
    return subprocess.run(
        [sys.executable, "-P", "-c", LIGHT, json.dumps(ABSENT), *command.split()],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(nsc_deploy.__file__).parents[1]), "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    small_graph(folder)
    return folder


@pytest.mark.slow
def test_graphs_are_checked_exported_run_verified_and_counted_without_it(folder: Path) -> None:
    for command in (
        "inspect g.nir",
        "check g.nir --target lava",
        "check g.nir --target loihi1",
        "export g.nir --inputs g.npz --target lava --out lava",
        "export g.nir --inputs g.npz --target onnx --out onnx",
        "run lava --backend twin",
        "verify onnx --against reference",
        "energy report g.nir --inputs g.npz --out report",
        "energy advise g.nir --inputs g.npz",
    ):
        done = light(folder, command)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_a_picture_says_what_to_install(folder: Path) -> None:
    done = light(folder, "inspect g.nir --picture g.svg")
    assert done.returncode == 2, done.stderr
    assert "pip install 'nsc-deploy[pictures]'" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "train --system fc --out run",
        "evaluate run",
        "attention run",
        "demo --out demo",
        "data fetch shd --folder data",
        "export g.nir --inputs g.npz --target snntorch --out module",
        "export g.nir --inputs g.npz --target norse --out module",
    ],
)
def test_what_needs_it_says_what_to_install(folder: Path, command: str) -> None:
    done = light(folder, command)
    assert done.returncode == 2, done.stderr
    assert re.search(r"error: \w+ is not installed, and this needs it", done.stderr)
    assert "pip install 'nsc-deploy[train]'" in done.stderr
    assert not {path.name for path in folder.iterdir()} & {"run", "demo", "module", "data"}


def test_each_extra_brings_what_the_messages_say() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {
        (re.split(r"[>=<]", need)[0].replace("-", "_"), extra)
        for extra in set(EXTRAS.values())
        for need in extras[extra]
    }
    packages = {"PIL": "pillow", "sionna": "sionna_no_rt", "sklearn": "scikit_learn"}
    assert {(packages.get(module, module), extra) for module, extra in EXTRAS.items()} <= brought
