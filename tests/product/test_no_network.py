"""No command but those that fetch something opens a connection, or leaves anything about its user."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import nsc_deploy
from nsc_deploy.graphs.formats.onnx import write_onnx
from nsc_deploy.graphs.formats.recording import Recording, write_recording
from nsc_deploy.graphs.network import Signal
from nsc_deploy.graphs.onnx_build import DenseLayer, mlp
from tests.support.small_runs import DT, small_graph, weights

COMMANDS = (
    "inspect g.nir",
    "inspect fc.onnx",
    "check g.nir --target lava",
    "check g.nir --target loihi2",
    "export g.nir --inputs g.npz --target lava --out lava",
    "export g.nir --inputs g.npz --target onnx --out onnx",
    "run lava --backend twin",
    "verify onnx --against reference",
    "energy report g.nir --inputs g.npz --out report",
    "energy report fc.onnx --inputs fc.npz",
)
WATCHED = """
import json, sys
opened = []
WATCHED = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}
sys.addaudithook(lambda event, values: opened.append(event) if event in WATCHED else None)
from nsc_deploy.cli.app import app
for command in json.loads(sys.argv[1]):
    app(command.split(), standalone_mode=False)
print("opened:", opened)
"""


def test_commands_open_no_connection_and_leave_nothing_behind(tmp_path: Path) -> None:
    events = small_graph(tmp_path)
    write_onnx(tmp_path / "fc.onnx", mlp([DenseLayer(weights(3, 4))], signal=Signal.REAL, dt=DT))
    write_recording(tmp_path / "fc.npz", Recording(events.astype(np.float32), Signal.REAL, DT))
    home = tmp_path / "home"
    places = {"HOME": home, "XDG_CACHE_HOME": home / "cache", "TMPDIR": home / "tmp"}
    for place in places.values():
        place.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment |= {name: str(place) for name, place in places.items()}
    environment["PYTHONPATH"] = str(Path(nsc_deploy.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCHED, json.dumps(COMMANDS)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "opened: []"
    # Numba keeps what it compiled, and matplotlib a list of fonts: nothing about the user or the files.
    left = [path for path in home.rglob("*") if path.is_file()]
    assert [
        path for path in left if path.suffix not in {".nbi", ".nbc"} and "matplotlib" not in path.parts
    ] == []
