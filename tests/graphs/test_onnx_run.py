"""onnxruntime is imported in one place, which keeps it from sending anything away."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nsc_deploy
from nsc_deploy.errors import BackendError
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import DenseLayer, mlp
from nsc_deploy.graphs.onnx_run import run_onnx
from tests.support.small_runs import DT, weights

PACKAGE = Path(nsc_deploy.__file__).parent
RUN = """
import sys, numpy
from pathlib import Path
from nsc_deploy.graphs.onnx_run import run_onnx
run_onnx(Path(sys.argv[1]), numpy.ones((3, 2, 4), numpy.float32))
"""


def files_of_a_run(tmp_path: Path) -> list[str]:
    """What a process that runs a graph leaves in the home, cache and temporary folders of its user."""
    model = tmp_path / "fc.onnx"
    write_onnx(model, mlp([DenseLayer(weights(3, 4))], signal=Signal.REAL, dt=DT))
    home = tmp_path / "home"
    places = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "TMPDIR": home / "tmp"}
    for place in places.values():
        place.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {name: str(place) for name, place in places.items()} | {"PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-c", RUN, str(model)]
    subprocess.run(command, env=environment, check=True, timeout=600)
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_a_run_keeps_nothing_of_its_user(tmp_path: Path) -> None:
    assert files_of_a_run(tmp_path) == []


def test_onnxruntime_is_imported_in_one_place() -> None:
    importing = re.compile(r"^\s*(import|from) onnxruntime", re.MULTILINE)
    found = [path for path in PACKAGE.rglob("*.py") if importing.search(path.read_text("utf-8"))]
    assert found == [PACKAGE / "graphs" / "onnx_run.py"]


def test_numbers_beyond_single_precision_are_told_with_their_graph(tmp_path: Path) -> None:
    model = tmp_path / "large.onnx"
    write_onnx(model, mlp([DenseLayer(100 * weights(3, 4))], signal=Signal.REAL, dt=DT))
    with pytest.raises(BackendError, match=r"large\.onnx: the model gives NaN or infinity.*\n.*too large"):
        run_onnx(model, np.full((1, 2, 4), np.finfo(np.float32).max))
